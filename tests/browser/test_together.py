"""Several studies on one page: one figure of each kind, one drawer of each weight."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from tests.browser.reader import Reader
from tests.browser.studies import attribution

import tunescope
from tunescope.demo.family import made_family
from tunescope.questions.attribution.summary import PUT_BACK
from tunescope.study.report import report
from tunescope.study.study import Study
from tunescope.table import Table, described, dtypes

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> list[Study]:
    """Norms of two adapters and of a merge, each asked for by itself, and a gain with weights put back."""
    made = made_family(tmp_path_factory.mktemp("family"))
    base = str(made["base"])
    return [
        tunescope.norms(f"seed-0={made['seed-0']}"),
        tunescope.norms(f"seed-1={made['seed-1']}"),
        tunescope.norms(f"merged={made['merged']}", base=base, spectra="top"),
        with_put_back(attribution("seed-0", layers=12)),
    ]


def with_put_back(study: Study) -> Study:
    """The study, with the first of its weights put back."""
    first = study.table.frame.row(0, named=True)
    row = {name: first.get(name) for name in dtypes(PUT_BACK)}
    row |= {"attribution_stderr": 0.001, "measured": -0.0123, "measured_stderr": 0.0004}
    keys = {"model_id": "seed-0", "data": first["data"]}
    frame = pl.DataFrame([keys | row], schema_overrides=dtypes(PUT_BACK))
    tables = {**study.tables, "put_back": Table(frame, "put_back", {"columns": described(PUT_BACK)})}
    return Study(study.question, tables, study.readout, study.arguments, study.sources)


@pytest.fixture
def together(browser: "Chrome", apart: list[Study], tmp_path: Path) -> Iterator[Reader]:
    path = tmp_path / "report.html"
    path.write_text(report(apart), encoding="utf-8")
    reader = Reader(browser, path)
    reader.open()
    yield reader
    assert reader.errors() == []


def test_models_of_three_studies_stand_in_one_figure_on_one_scale(together: Reader) -> None:
    assert [h.text for h in together.every("#pane-much h3")].count("How much each weight changed") == 1
    described = [
        canvas.get_attribute("aria-label") for canvas in together.every("#panel-norms .sheet canvas")
    ]
    assert [str(text).split(":")[0] for text in described] == ["seed-0", "seed-1", "merged"]


def test_the_drawer_shows_singular_values_of_a_whole_weight(together: Reader, apart: list[Study]) -> None:
    values = apart[2].tables["low_rank"].frame.filter(pl.col("component_name") == "L5_ATTN_V")
    together.open("cell=merged␟model␟L5_ATTN_V")
    label = together.run(
        "return [...document.querySelectorAll('#drawer canvas')].map((c) => c.getAttribute('aria-label'))"
        ".find((text) => text.startsWith('σ_k'))"
    )
    first = re.fullmatch(r"σ_k of ΔW from (\S+) at k 1 to \S+ at k 32", label)
    assert first is not None
    assert float(first[1]) == pytest.approx(values["singular_value"][0], rel=1e-3)


def test_the_drawer_shows_what_putting_a_weight_back_measured(together: Reader) -> None:
    together.open("cell=seed-0␟model␟L0_ATTN_Q")
    text = together.text("#drawer")
    assert "How much each weight changed" in text
    assert "Does the attribution hold?" in text
    assert "−0.01230 ± 0.00040" in text
