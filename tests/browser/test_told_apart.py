"""What a reader cannot misread: lists of like weights, terms that are explained, names that are found."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr
from tests.browser.reader import Reader

from tunescope.questions.importance.views import MEANING
from tunescope.study.report import report
from tunescope.study.study import Study

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


def frame(studies: list[Study], kind: str) -> pl.DataFrame:
    return next(study for study in studies if study.kind == kind).table.frame


def found(reader: Reader, words: str) -> list[str]:
    """The names of weights that the search lists."""
    reader.run(
        "const field = document.querySelector('#search'); field.focus(); field.value = arguments[0];"
        "field.dispatchEvent(new Event('input'))", words
    )  # fmt: skip
    script = "[...document.querySelectorAll('#found [role=option]:not(.further)')]"
    return list(reader.run(f"return {script}.map((item) => item.querySelector('bdi').textContent)"))


def test_kinds_of_weight_that_do_not_compare_are_listed_one_by_one(
    reader: Reader, studies: list[Study]
) -> None:
    reader.tab("matter")
    reader.open("tab=matter&importance.m=score")
    cells = [cell.text for cell in reader.every("#panel-importance .ranked tbody tr:first-child td")]
    scores = frame(studies, "importance").filter(pl.col("method") == "taylor")
    each = scores.group_by("parameter").agg(
        (pl.col("score").max() / pl.col("score").median()).alias("ratio"), pl.col("score").max()
    )
    top = each.sort("ratio", descending=True).row(0, named=True)
    assert "of each kind of weight" in reader.text("#panel-importance .ranked summary")
    assert len(reader.every("#panel-importance .ranked tbody tr")) == each.height
    assert float(cells[3].split(" ± ")[0]) == pytest.approx(top["score"], rel=0.1)
    assert float(cells[4].rstrip("×")) == pytest.approx(top["ratio"], rel=1e-2)


def test_the_method_chosen_is_explained_where_it_is_chosen(reader: Reader) -> None:
    reader.open("tab=matter")
    assert MEANING["taylor"] in reader.text("#panel-importance .means")
    reader.open("tab=matter&importance.s.method=curvature")
    assert MEANING["curvature"] in reader.text("#panel-importance .means")


def test_ranks_of_change_and_effect_are_told_within_kinds_as_scipy_has_them(
    reader: Reader, studies: list[Study]
) -> None:
    reader.open("tab=matter")
    said = reader.text("#panel-effect .small")
    rows = frame(studies, "attribution").filter(pl.col("data") == "code")
    for kind, part in [(None, rows), *((k[0], p) for k, p in rows.group_by("module_type"))]:
        sizes = part["frobenius_norm_normalized"].to_numpy(), np.abs(part["attribution"].to_numpy())
        rank = f"{spearmanr(*sizes).statistic:.2f}".replace("-", "−")
        name = "of both sizes:" if kind is None else str(kind).split(".")[-1]
        assert f"{name} {rank}" in said, (kind, said)


def test_a_whole_name_is_found_before_names_that_hold_it(reader: Reader) -> None:
    assert found(reader, "l0_attn_q")[0] == "L0_ATTN_Q"
    assert set(found(reader, "layer 3 q")) == {"L3_ATTN_Q"}


def test_what_is_found_beyond_the_first_can_be_shown(reader: Reader, studies: list[Study]) -> None:
    several = frame(studies, "norms")
    count = several.filter(pl.col("module_type").str.contains("q_proj")).height
    assert len(found(reader, "attn_q")) == 12 < count
    while reader.run("return document.querySelector('#found .further') !== null"):
        reader.run("document.querySelector('#found .further').dispatchEvent(new MouseEvent('mousedown'))")
    shown = reader.run("return document.querySelectorAll('#found [role=option]').length")
    assert shown >= count


def test_a_scale_that_is_fixed_can_be_read_from_the_data(reader: Reader) -> None:
    reader.tab("directions")
    assert "0 to 1" in reader.text("#panel-directions .controls")
    reader.open("tab=directions&directions.lim=data")
    limits = reader.run(
        "navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); };"
        "[...document.querySelectorAll('#panel-directions .tools button')]"
        ".find((button) => button.textContent === 'caption').click(); return window.copied"
    )
    assert "0 to 1" not in str(limits).split("Colour:")[1]


def test_the_page_is_headed_by_what_it_was_given(
    browser: "Chrome", studies: list[Study], tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(report(studies[:1], title="A <title>", about="What x means."), encoding="utf-8")
    reader = Reader(browser, path)
    reader.open()
    assert reader.text("h1") == "A <title>"
    assert reader.text(".about") == "What x means."
    assert browser.title == "A <title> · tunescope"


def test_rows_of_models_that_do_not_fit_can_be_unfolded(
    browser: "Chrome", studies: list[Study], tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(report(studies), encoding="utf-8")
    reader = Reader(browser, path)
    browser.set_window_size(500, 900)
    try:
        reader.open()
        row = "document.querySelector('.top .chips')"
        reader.run(f"{row}.style.maxHeight = '20px'; dispatchEvent(new Event('resize'))")
        assert reader.run("return !document.querySelector('.all-chips').hidden")
        reader.run(f"{row}.style.maxHeight = ''; document.querySelector('.all-chips').click()")
        assert reader.run(f"return {row}.scrollHeight <= {row}.clientHeight + 4")
    finally:
        browser.set_window_size(1300, 1000)
