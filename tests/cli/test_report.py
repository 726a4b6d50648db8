"""`tunescope report` and the page that `-o` writes."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunescope
from tunescope.demo.adapters import made_adapters

Run = Callable[..., Any]


@pytest.fixture
def study(run: Run, tmp_path: Path) -> Path:
    """A norms study of two made adapters."""
    made = made_adapters(tmp_path / "made")
    for label, path in zip(("one", "two"), made.values(), strict=False):
        path.rename(tmp_path / label)
    assert (
        run("norms", tmp_path / "one", tmp_path / "two", "-o", tmp_path / "s", "--figures", "none").code == 0
    )
    return tmp_path / "s"


def test_a_study_holds_its_page_and_lists_its_hash(study: Path) -> None:
    assert "report.html" in json.loads((study / "study.json").read_text())["files"]
    assert (study / "report.html").read_text().startswith("<!doctype html>")


def test_the_trust_row_and_the_methods_say_what_was_read(study: Path) -> None:
    found = json.loads((study / "study.json").read_text())["sources"]
    text = (study / "report.html").read_text()
    for source in found:
        read = f"{source['label']} (peft, sha256 {source['digest']['value'][:12]})"
        assert text.count(read) == 2
    assert "norms: every source is named and hashed. tunescope" in text


def test_no_report_leaves_the_page_out_and_stays_out_when_saved_again(run: Run, tmp_path: Path) -> None:
    out, made = tmp_path / "bare", made_adapters(tmp_path / "made")
    assert run("norms", made["cpp"], "-o", out, "--figures", "none", "--no-report").code == 0
    assert not (out / "report.html").exists()
    tunescope.read(out).save(tmp_path / "again")
    assert not (tmp_path / "again" / "report.html").exists()


def test_read_and_saved_again_a_page_has_the_same_bytes(study: Path, tmp_path: Path) -> None:
    tunescope.read(study).save(tmp_path / "again")
    assert (tmp_path / "again" / "report.html").read_bytes() == (study / "report.html").read_bytes()


def test_a_changed_page_is_refused_as_any_other_file_of_a_study(
    run: Run, study: Path, tmp_path: Path
) -> None:
    (study / "report.html").write_text("other")
    found = run("report", study, "-o", tmp_path / "page.html")
    assert found.code == 3
    assert "study-changed" in found.err


def test_report_writes_the_same_page_as_the_study_has(run: Run, study: Path, tmp_path: Path) -> None:
    found = run("report", study, "-o", tmp_path / "page.html")
    assert found.code == 0
    assert found.out == ""
    assert (tmp_path / "page.html").read_bytes() == (study / "report.html").read_bytes()


def test_an_existing_page_is_replaced_only_when_asked_and_a_foreign_file_never(
    run: Run, study: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    assert run("report", study, "-o", page).code == 0
    assert run("report", study, "-o", page).code == 2
    assert run("report", study, "-o", page, "--overwrite").code == 0
    page.write_text("<p>mine</p>")
    found = run("report", study, "-o", page, "--overwrite")
    assert (found.code, "not-ours" in found.err) == (2, True)
    assert page.read_text() == "<p>mine</p>"


def test_a_folder_that_is_no_study_is_named(run: Run, tmp_path: Path) -> None:
    found = run("report", tmp_path, "-o", tmp_path / "page.html")
    assert (found.code, "no-study" in found.err) == (4, True)


def test_the_policy_allows_one_script_and_one_style_by_hash_and_no_connection(study: Path) -> None:
    text = (study / "report.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    assert " style=" not in text.partition("<script")[0].partition("</style>")[2]
    assert not re.findall(r'(?:src|href)="(?!#)', text)


def test_a_tab_that_was_not_run_shows_the_command_with_the_sources_filled_in(
    study: Path, tmp_path: Path
) -> None:
    text = (study / "report.html").read_text()
    assert f"tunescope subspace one={tmp_path}/one two={tmp_path}/two -o directions/" in text


def test_two_studies_make_one_page_in_which_a_model_stands_once(
    run: Run, study: Path, tmp_path: Path
) -> None:
    shutil.copytree(study, tmp_path / "copy")
    run("subspace", tmp_path / "one", tmp_path / "two", "-o", tmp_path / "d", "--figures", "none")
    assert run("report", study, tmp_path / "d", "-o", tmp_path / "page.html").code == 0
    assert (tmp_path / "page.html").read_text().count('class="chip"') == 2
