"""Names that would like to be code, or to look like something else, in every field that a study has."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from tests.browser.reader import Reader
from tests.browser.studies import attribution

from tunescope.study.report import report
from tunescope.study.study import Study
from tunescope.table import Table

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

NAMES = (
    "</script><script>window.ran = 1</script>",
    "<img src=x onerror=window.ran=1>",
    '" onmouseover="window.ran=1" x="',
    "a\nb\tc\x00d",
    "\u202egpj.exe",
    "عربي" * 5,
    "${policy} $$ `${window.ran = 1}`",
    "x" * 10_000,
    "__proto__",
    "=HYPERLINK(1)",
)


def hostile(name: str) -> Study:
    """An attribution in which every text is this name."""
    study = attribution("cpp", layers=2)
    table = study.table
    texts = [
        column for column, dtype in table.frame.schema.items() if dtype == pl.String and column != "data"
    ]
    named = name.replace("\x00", "")
    # What tells weights apart still does: every cell is one weight.
    apart = ("module_type", "component_name")
    frame = table.frame.with_columns(
        (pl.lit(named) + pl.col(column) if column in apart else pl.lit(named)).alias(column)
        for column in texts
    )
    finding = {**study.readout["findings"][0], "text": name, "models": [name], "components": [name]}
    document = {
        **study.readout, "findings": [finding], "tuned": name, "description": {"code": [name], name: [name]},
    }  # fmt: skip
    sources = [{**study.sources[0], "label": name, "location": name}]
    tables = {"attribution": Table(frame, "attribution", table.meta)}
    return Study(study.question, tables, document, {**study.arguments, "tuned": name, "base": name}, sources)


def test_no_name_runs_breaks_the_page_or_widens_it(browser: "Chrome", tmp_path: Path) -> None:
    for i, name in enumerate(NAMES):
        path = tmp_path / f"{i}.html"
        path.write_text(report([hostile(name)]), encoding="utf-8")
        reader = Reader(browser, path)
        reader.open()
        assert reader.run("return window.ran") is None, name[:40]
        assert reader.run("return document.querySelectorAll('img').length") == 0
        assert reader.run("return document.documentElement.scrollWidth <= innerWidth"), name[:40]
        assert reader.run("return document.querySelectorAll('#panel-attribution canvas').length") > 0
        reader.run("document.querySelector('#panel-attribution .ranked button').click()")
        assert reader.one("#drawer").is_displayed(), name[:40]
        assert reader.errors() == [], name[:40]


def test_a_lone_surrogate_of_a_json_document_can_be_shown(browser: "Chrome", tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    study = hostile("plain")
    finding = {**study.readout["findings"][0], "text": "a\ud800b", "models": ["a\ud800b"]}
    document = {**study.readout, "findings": [finding]}
    path.write_text(
        report([Study(study.question, study.tables, document, {}, study.sources)]), encoding="utf-8"
    )
    reader = Reader(browser, path)
    reader.open()
    assert "a\\ud800b" in reader.text(".answer")
    assert reader.errors() == []


def test_no_spreadsheet_runs_a_name_of_a_csv_file_from_the_page(browser: "Chrome", tmp_path: Path) -> None:
    for i, name in enumerate(("=HYPERLINK(1)", "@SUM(1)", "-2+3", "+cmd|' /C calc'!A0")):
        path = tmp_path / f"{i}.html"
        path.write_text(report([hostile(name)]), encoding="utf-8")
        reader = Reader(browser, path)
        reader.open()
        text = reader.saved("button[data-csv]")
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        assert f"'{name}" in cells
        assert not [cell for cell in cells if cell[:1] in tuple("=+-@") and not _is_number(cell)]
        assert [cell for cell in cells if cell[:1] == "-"], "numbers stay as they are"


def _is_number(text: str) -> bool:
    try:
        return float(text) is not None
    except ValueError:
        return False
