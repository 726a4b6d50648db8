"""The demonstration from end to end, in miniature."""

import json

import pytest

from tunescope.demo import domain_paths
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
    for line in done.out.split("Look at:\n")[1].strip().splitlines():
        name, path = line.split()
        assert (out / path).exists(), name
    figures = {path.name for path in (out / "trajectory" / "figures").glob("*.gif")}
    assert {"1e-3_all_mean.gif", "1e-3_all_abs_mean.gif", "2e-4_cpp_mean.gif"} <= figures
    record = json.loads((out / "runs" / "cpp" / "lr-1e-3" / "seed-0" / "run.json").read_text())
    assert record["settings"]["quantize"] == "nf4"
    assert set(record["losses"]) == {"cpp", "physics"}
    again = run("demo", "-o", out)
    assert again.code == 2
    assert "--overwrite" in again.err


def test_nothing_that_is_not_a_demonstration_is_emptied(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "thesis.tex").write_text("")
    with pytest.raises(UsageError):
        demonstration.run_demo(tmp_path, overwrite=True)
    assert (tmp_path / "runs" / "thesis.tex").exists()


def test_only_its_own_folders_are_emptied(tmp_path, monkeypatch):
    (tmp_path / demonstration.RECORD).write_text('{"folders": ["runs", "mine"]}')
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
