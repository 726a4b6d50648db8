"""The demonstration from end to end, in miniature."""

import json

import pytest

from tunescope.demo import domain_paths, output
from tunescope.demo import run as demonstration
from tunescope.errors import UsageError


@pytest.fixture
def small(monkeypatch):
    """Two domains and two steps in place of five and a few dozen."""
    some = {name: path for name, path in domain_paths().items() if name in ("cpp", "physics")}
    monkeypatch.setattr(demonstration, "domain_paths", lambda: some)
    settings = demonstration.settings()
    changes = {"max_steps": 2, "batch_size": 2, "max_length": 48, "held_out_rows": 2}
    monkeypatch.setattr(demonstration, "settings", lambda: settings | changes)


@pytest.mark.usefixtures("small")
def test_the_demonstration_says_where_to_look(run, tmp_path):
    out = tmp_path / "demo"
    done = run("demo", "-o", out)
    assert done.code == 0, done.err
    for line in done.out.split("Look at:\n")[1].split("\n\n")[0].splitlines():
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


def test_the_quick_demonstration_finds_what_was_built_in(run, tmp_path):
    out = tmp_path / "taste"
    done = run("demo", "--quick", "-o", out)
    assert done.code == 0, done.err
    assert "Every update of untrained is exactly zero" in done.out
    assert "seed-0 and seed-1 changed most in their middle layers" in done.out
    assert "seed-0 and seed-1 changed common directions in all 84 weights" in done.out
    following = done.out.split("Next:\n")[1].split("\n\n")[0].splitlines()
    for line in following:
        program, *arguments = line.split()
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
