"""What axes, bars of colours and maps are called: units beside measures, titles that tell maps apart."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from tests.browser.reader import Reader
from tests.browser.studies import attribution

import tunescope
from tunescope.demo.family import made_family
from tunescope.study.report import report
from tunescope.study.study import Study
from tunescope.table import Table

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


@pytest.mark.parametrize(
    ("panel", "tab", "told"),
    [
        ("norms", "much", "‖ΔW‖_F / √d_out [unit of the weights]"),
        ("attribution", "matter", "change of the loss [nats/token]"),
        ("effect", "matter", "change of the loss [nats/token]"),
        ("effect", "matter", "‖ΔW‖_F / √d_out [unit of the weights]"),
        ("motion", "when", "‖ΔW‖_F [unit of the weights]"),
    ],
)
def test_a_measure_has_its_unit_at_bars_and_axes(reader: Reader, panel: str, tab: str, told: str) -> None:
    reader.tab(tab)
    assert f">{told}</text>" in reader.svg(panel)


def test_a_range_is_no_unit(reader: Reader) -> None:
    reader.tab("directions")
    assert ">overlap above chance, output</text>" in reader.svg("directions")
    assert "at most 1" not in reader.text("#pane-directions .ranked thead")


def test_a_score_has_the_unit_of_its_method(reader: Reader) -> None:
    reader.open("tab=matter&importance.m=score")
    assert re.search(r">score \[nats/token[^\]]*\]</text>", reader.svg("importance"))


def test_maps_of_heads_are_told_apart_by_their_titles(browser: "Chrome", tmp_path: Path) -> None:
    made = made_family(tmp_path / "family")
    labels = ("a-model-of-a-long-name-0", "a-model-of-a-long-name-1")
    sources = [f"{label}={made[seed]}" for label, seed in zip(labels, ("seed-0", "seed-1"), strict=True)]
    path = tmp_path / "report.html"
    path.write_text(report([tunescope.norms(sources, heads="4/2")]), encoding="utf-8")
    heads = Reader(browser, path)
    heads.open()
    maps = heads.svg("heads").split("<g ")[1:-1]
    titles = [re.findall(r'font-size="12"[^>]*>([^<]+)</text>', one) for one in maps]
    assert len(titles) > 1
    assert all(len(lines) == 2 for lines in titles)
    assert len({tuple(lines) for lines in titles}) == len(titles)
    assert not any("…" in lines[1] for lines in titles)


def test_of_many_models_one_kind_of_head_is_shown_at_a_time_queries_first(
    browser: "Chrome", tmp_path: Path
) -> None:
    made = made_family(tmp_path / "family")
    sources = [f"{label}={made['seed-0']}" for label in "abcd"]
    path = tmp_path / "report.html"
    path.write_text(report([tunescope.norms(sources, heads="4/2")]), encoding="utf-8")
    page = Reader(browser, path)
    page.open()
    assert len(page.every("#panel-heads .sheet canvas")) == 4
    assert page.one("#panel-heads .choice:nth-child(2) select").get_attribute("value").endswith("q_proj")


def test_a_few_marks_that_dwarf_the_rest_leave_these_apart(browser: "Chrome", tmp_path: Path) -> None:
    study = attribution("tuned", layers=12)
    frame = study.table.frame.sort(pl.col("attribution").abs(), descending=True)
    far = pl.when(pl.int_range(pl.len()) == 0).then(-40 * frame["attribution"].abs().max())
    planted = frame.with_columns(attribution=far.otherwise(pl.col("attribution")))
    table = Table(planted, "attribution", study.table.meta)
    path = tmp_path / "report.html"
    tables = {**study.tables, "attribution": table}
    changed = Study(study.question, tables, study.readout, study.arguments, study.sources)
    said = {}
    for name, shown in (("plain", study), ("planted", changed)):
        path.write_text(report([shown]), encoding="utf-8")
        page = Reader(browser, path)
        page.open()
        said[name] = page.svg("effect")
    assert "symlog" not in said["plain"]
    assert ">change of the loss [nats/token], symlog</text>" in said["planted"]
    heights = sorted(float(y) for y in re.findall(r'<circle [^>]*cy="([0-9.]+)"', said["planted"]))[1:-1]
    # On an even axis all marks but one would lie within a fortieth of its 282 pixels.
    assert heights[-1] - heights[0] > 30


def test_paper_keeps_the_models_apart_that_a_tab_lacks_on_the_screen(reader: Reader) -> None:
    reader.tab("matter")
    assert reader.every(".chip.absent")
    reader.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        styles = reader.run(
            "return [...document.querySelectorAll('.chip')].map((c) => getComputedStyle(c).borderStyle)"
        )
    finally:
        reader.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert set(styles) == {"solid"}
