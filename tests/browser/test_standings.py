"""Ranks, medians and means of layers on the page count the weights that the readout counts."""

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from tests.browser.reader import Reader

from tunescope.questions.norms.compared import moved_kinds
from tunescope.study.report import report
from tunescope.study.study import Study

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

METRIC = "frobenius_norm_normalized"
SIZES = [METRIC, "frobenius_norm", "unscaled_frobenius_norm"]


@pytest.fixture
def half(studies: list[Study]) -> Study:
    """The norms of one model whose attention did not move."""
    norms = next(study for study in studies if study.kind == "norms")
    frame = norms.table.frame.filter(pl.col("model_id") == "cpp")
    still = pl.col("module_type").str.starts_with("self_attn")
    zeroed = frame.with_columns(pl.when(still).then(0.0).otherwise(pl.col(SIZES)).name.keep())
    models = {"cpp": norms.readout["models"]["cpp"]}
    tables = {"norms": norms.table.with_rows(zeroed)}
    return replace(norms, tables=tables, readout={**norms.readout, "models": models, "findings": []})


@pytest.fixture
def opened(browser: "Chrome", half: Study, tmp_path: Path) -> Reader:
    path = tmp_path / "report.html"
    path.write_text(report([half]), encoding="utf-8")
    reader = Reader(browser, path)
    reader.open()
    return reader


def test_kinds_of_which_nothing_moved_count_in_no_rank_and_no_median(opened: Reader, half: Study) -> None:
    from selenium.webdriver.common.keys import Keys

    moved = moved_kinds(half.table.frame)
    assert 0 < moved.height < half.table.frame.height
    opened.focus("#panel-norms canvas[tabindex]")
    told = []
    for _ in range(7):
        opened.keys(Keys.ARROW_RIGHT)
        told.append(opened.said())
    assert any("no weight of this kind moved" in said and "rank" not in said for said in told)
    said = next(said for said in told if "rank" in said)
    found = re.match(r"(L\d+_\w+) of .*rank (\d+) of the (\d+) in this map, ([\d.]+) × their median", said)
    assert found is not None, said
    value = moved.filter(pl.col("component_name") == found[1])[METRIC].item()
    assert int(found[2]) == int((moved[METRIC] > value).sum()) + 1
    assert int(found[3]) == moved.height
    assert float(found[4]) == pytest.approx(value / moved[METRIC].median(), rel=1e-2)


def test_the_list_of_the_largest_compares_with_the_median_of_what_moved(opened: Reader, half: Study) -> None:
    moved = moved_kinds(half.table.frame)
    shown = opened.text("#panel-norms .ranked tbody tr td:nth-child(5)")
    top = moved[METRIC].max()
    assert float(shown.rstrip("×")) == pytest.approx(top / moved[METRIC].median(), rel=1e-2)


def test_the_caption_says_what_counts(opened: Reader) -> None:
    assert "of which none moved" in opened.text("#panel-norms figcaption")


def test_changes_below_zero_rank_by_their_size_as_the_list_of_the_largest_has_them(
    browser: "Chrome", studies: list[Study], tmp_path: Path
) -> None:
    from selenium.webdriver.common.keys import Keys

    path = tmp_path / "report.html"
    path.write_text(report([study for study in studies if study.kind == "attribution"]), encoding="utf-8")
    reader = Reader(browser, path)
    reader.open("tab=matter")
    first = reader.text("#panel-attribution .ranked tbody tr td:nth-child(2)")
    assert f" at {first}." in reader.one("#panel-attribution canvas[tabindex]").get_attribute("aria-label")
    reader.focus("#panel-attribution canvas[tabindex]")
    told = []
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_LEFT):
        for _ in range(8):
            reader.keys(key)
            told.append(reader.said())
        reader.keys(Keys.ARROW_DOWN)
    ranks = {
        int(m[2]): float(m[1].replace("−", "-"))
        for s in told
        if (m := re.search(r": ([−\d.e-]+).*rank (\d+) of", s))
    }
    assert len(ranks) > 4, told
    sizes = [abs(value) for _, value in sorted(ranks.items())]
    assert sizes == sorted(sizes, reverse=True)
    assert min(ranks.values()) < 0
