"""The demonstration from end to end, in miniature."""

import io
import json
import re
import shlex
from contextlib import redirect_stdout
from pathlib import Path

import polars as pl
import pytest
from tests.answers import ANSWERS
from tests.packed import PageText

from tunescope.cli import main
from tunescope.demo import domain_paths, output
from tunescope.demo import run as demonstration
from tunescope.errors import UsageError


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    """The folder and the output of a demonstration of two domains and two steps."""
    some = {name: path for name, path in domain_paths().items() if name in ("cpp", "physics")}
    changes = {"max_steps": 2, "batch_size": 2, "max_length": 48, "held_out_rows": 2}
    settings = demonstration.settings() | changes
    out = tmp_path_factory.mktemp("miniature") / "demo"
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as said:
        patch.setattr(demonstration, "domain_paths", lambda: some)
        patch.setattr(demonstration, "settings", lambda: settings)
        patch.setattr("sys.argv", ["tunescope", "demo", "-o", str(out)])
        with pytest.raises(SystemExit) as stop:
            main()
    assert not stop.value.code
    return out, said.getvalue()


def test_the_demonstration_says_where_to_look(miniature, run):
    out, said = miniature
    for line in said.split("Look at:\n")[1].split("\n\n")[0].splitlines():
        name, path = line.split()
        assert (out / path).exists(), name
    page = (out / "report.html").read_text(encoding="utf-8")
    for model in ("cpp", "physics", "cpp-full", "cpp-seed-1", "cpp-2e-4"):
        assert model in page
    figures = {path.name for path in (out / "trajectory" / "figures").glob("*.gif")}
    assert {"1e-3_all_mean.gif", "1e-3_all_abs_mean.gif", "2e-4_cpp_mean.gif"} <= figures
    record = json.loads((out / "runs" / "cpp" / "lr-1e-3" / "seed-0" / "run.json").read_text())
    assert record["settings"]["quantize"] == "nf4"
    assert set(record["losses"]) == {"cpp", "physics"}
    again = run("demo", "-o", out)
    assert again.code == 2
    assert "--overwrite" in again.err


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.__name__)
def test_the_page_holds_the_right_answer_to_each_of_the_ten_questions(miniature, answer):
    out, _ = miniature
    tables = {path.stem: pl.read_parquet(path) for path in out.glob("*/tables/*.parquet")}
    answer(tables, PageText((out / "report.html").read_text(encoding="utf-8")))


def test_the_ten_questions_are_about_models_that_the_demonstration_has():
    asked = (Path(__file__).parents[1] / "browser" / "questions.md").read_text(encoding="utf-8")
    rows = [line for line in asked.splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(rows) == len(ANSWERS)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[2])}
    has = {
        *domain_paths(),
        demonstration.PLANTED,
        f"{demonstration.AGAIN}-seed-1",
        f"{demonstration.AGAIN}-full",
    }
    assert named - {"L9 v"} <= has


def test_the_quick_demonstration_finds_what_was_built_in(run, tmp_path):
    out = tmp_path / "a taste"
    done = run("demo", "--quick", "-o", out)
    assert done.code == 0, done.err
    assert "Every update of untrained is exactly zero" in done.out
    assert "seed-0 and seed-1 changed most in their middle layers" in done.out
    assert "seed-0 and seed-1 changed common directions in all 84 weights" in done.out
    following = done.out.split("Next:\n")[1].split("\n\n")[0].splitlines()
    for line in following:
        program, *arguments = shlex.split(line)
        assert program == "tunescope"
        assert run(*arguments).code == 0, line
    assert run("demo", "--quick", "-o", out).code == 2
    assert run("demo", "--quick", "-o", out, "--overwrite").code == 0


def test_one_kind_of_demonstration_does_not_empty_the_other(run, tmp_path):
    output.prepared(tmp_path, "whole", ["norms", "runs"], overwrite=False)
    (tmp_path / "norms").mkdir()
    refused = run("demo", "--quick", "-o", tmp_path, "--overwrite")
    assert refused.code == 2
    assert (tmp_path / "norms").exists()


@pytest.mark.parametrize("record", ["[]", "{", '{"kind": "quick", "folders": "norms"}'])
def test_a_record_that_no_demonstration_wrote_lets_nothing_be_emptied(run, tmp_path, record):
    (tmp_path / output.RECORD).write_text(record)
    (tmp_path / "norms").mkdir()
    assert run("demo", "--quick", "-o", tmp_path, "--overwrite").code == 2
    assert (tmp_path / "norms").exists()


def test_nothing_that_is_not_a_demonstration_is_emptied(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "thesis.tex").write_text("")
    with pytest.raises(UsageError):
        demonstration.run_demo(tmp_path, overwrite=True)
    assert (tmp_path / "runs" / "thesis.tex").exists()


def test_only_its_own_folders_are_emptied(tmp_path, monkeypatch):
    (tmp_path / output.RECORD).write_text('{"kind": "whole", "folders": ["runs", "mine"]}')
    for name in ("runs", "mine"):
        (tmp_path / name).mkdir()

    class Stop(Exception):
        pass

    def stop():
        raise Stop

    monkeypatch.setattr(demonstration, "settings", stop)
    with pytest.raises(Stop):
        demonstration.run_demo(tmp_path, overwrite=True)
    assert (tmp_path / "mine").exists()
    assert not (tmp_path / "runs").exists()
