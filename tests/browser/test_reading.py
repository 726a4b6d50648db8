"""What a reader meets: colours that no single cell sets, links that lead to the cell, whole tables."""

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from tests.browser.reader import Reader

from tunescope.study.report import report
from tunescope.study.study import Study

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

METRIC = "frobenius_norm_normalized"


@pytest.fixture
def outlier(browser: "Chrome", studies: list[Study], tmp_path: Path) -> Reader:
    """A norms study in which one cell is twenty times the largest of the others."""
    study = next(study for study in studies if study.kind == "norms")
    table = study.table
    most = pl.col(METRIC).max()
    first = pl.int_range(pl.len()) == 5
    frame = table.frame.with_columns(pl.when(first).then(20 * most).otherwise(METRIC).alias(METRIC))
    changed = Study(
        study.question, {**study.tables, "norms": table.with_rows(frame)}, study.readout, study.arguments, []
    )
    path = tmp_path / "report.html"
    path.write_text(report([changed]), encoding="utf-8")
    opened = Reader(browser, path)
    opened.open()
    return opened


def caption(reader: Reader, panel: str) -> str:
    """What the caption button copies, which names the limits of the colours."""
    reader.run(
        "navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); };"
        "[...document.querySelectorAll(`#panel-${arguments[0]} .tools button`)]"
        ".find((button) => button.textContent === 'caption').click()", panel
    )  # fmt: skip
    return str(reader.run("return window.copied"))


def test_one_large_cell_does_not_set_the_colours_of_all_others(outlier: Reader) -> None:
    said = caption(outlier, "norms")
    assert "1 value beyond" in said
    assert "marked by a triangle" in said
    assert "from zero, the few largest marked ▲" in outlier.text("#panel-norms .controls")


def test_a_head_that_bought_most_points_down_and_is_divided_by_nothing(
    browser: "Chrome", studies: list[Study], tmp_path: Path
) -> None:
    """A part of the gain outside the layers, far beyond all others, below zero."""
    study = next(study for study in studies if study.kind == "attribution")
    row = {"layer": None, "module_type": "lm_head", "component_name": "LM_HEAD", "attribution": -6.0}
    first = pl.int_range(pl.len()) == 0
    changes = [pl.when(first).then(pl.lit(value)).otherwise(name).alias(name) for name, value in row.items()]
    table = study.table.with_rows(study.table.frame.with_columns(changes))
    tables = {**study.tables, "attribution": table}
    path = tmp_path / "report.html"
    path.write_text(
        report([Study(study.question, tables, study.readout, study.arguments, [])]), encoding="utf-8"
    )
    reader = Reader(browser, path)
    reader.open("tab=matter")
    assert "1 value beyond, to -6" in caption(reader, "attribution").replace("−", "-")
    assert "▼" in reader.text("#panel-attribution .controls")
    assert "▲" not in reader.text("#panel-attribution .controls")
    listed = reader.text("#panel-attribution .ranked")
    assert "LM_HEAD" in listed
    assert "divides by" not in listed


def test_the_colours_reach_the_largest_where_that_is_chosen(outlier: Reader) -> None:
    outlier.open("norms.lim=zero")
    assert "beyond" not in caption(outlier, "norms").split("Colour:")[1]


def test_where_no_cell_lies_apart_the_colours_end_at_the_largest(reader: Reader) -> None:
    assert "beyond" not in caption(reader, "norms")


def test_show_brings_the_figure_with_the_cells_into_view(reader: Reader) -> None:
    reader.press("a.show")
    inside = (
        "const box = document.querySelector('.meant')?.getBoundingClientRect();"
        "return box && box.bottom > 0 && box.top < innerHeight"
    )
    assert reader.until(inside)


def test_the_table_under_the_squares_lists_pairs(reader: Reader) -> None:
    reader.tab("directions")
    head, *rows = reader.rows("panel-shared")
    assert head[:2] == ["model_a", "model_b"]
    assert len({tuple(sorted(row[:2])) for row in rows}) == len(rows)
    assert {name for row in rows for name in row[:2]} == {"chat", "cpp", "python"}


def test_pressing_another_tab_closes_the_weight(reader: Reader) -> None:
    reader.press("#panel-norms .ranked tbody button")
    assert reader.one("#drawer").is_displayed()
    reader.run("document.querySelector('#tab-directions').click()")
    assert not reader.one("#drawer").is_displayed()


def test_a_long_table_can_be_shown_whole(reader: Reader, studies: list[Study]) -> None:
    norms = next(study for study in studies if study.kind == "norms").table.frame
    reader.press("#panel-norms .tools button")
    while reader.run("return [...document.querySelectorAll('#panel-norms .rest button')].length") > 1:
        reader.run("document.querySelector('#panel-norms .rest button').click()")
    assert (
        reader.run("return document.querySelectorAll('#panel-norms .behind tbody tr').length") == norms.height
    )


def test_the_drawer_compares_a_weight_with_every_model(reader: Reader) -> None:
    reader.press("#panel-norms .ranked tbody button")
    listed = reader.run(
        "return document.querySelector('#drawer .beside-models').querySelectorAll('tr').length"
    )
    assert listed == 3


def test_the_why_of_a_finding_is_in_words(reader: Reader) -> None:
    terms = set(
        reader.run("return [...document.querySelectorAll('.why dt')].map((term) => term.textContent)")
    )
    assert "measured" in terms
    assert not {term for term in terms if "_" in term}
    known = {"measured", "threshold", "tested against", "p, corrected for all places looked at"}
    assert terms <= known | {"n, independent values tested", "models", "cells", "step"}


def test_what_most_cells_share_is_not_ranked(reader: Reader) -> None:
    reader.open("norms.m=scale")
    said = reader.text("#panel-norms .ranked")
    assert "nothing to rank" in said or "share the largest value" in said
