"""Faults at points where a command writes; `make faults` tries all faults at all points of all commands.

Every run of the tests tries one command, some points, one fault each, by rotation: the day decides which. The
trials fork, so they have a process of their own that has started no threads.
"""

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import ANY

from tunescope.cli import VERBS

from .disk.commands import COMMANDS

_TURN = int(os.environ.get("FAULTS_TURN") or datetime.datetime.now(datetime.UTC).toordinal())
_QUICK = ("norms", "subspace", "trajectory", "check", "verify", "attribute")
_ROOT = Path(__file__).parents[2]

_TORN = """
import pathlib, sys
import tunescope.writing
from tests.faults.disk.trial import Bench

def torn(work, target):
    (target / "tables").mkdir(parents=True)
    (target / "tables" / "norms.parquet").write_bytes(b"PAR1")
    raise OSError(5, "planted")

bench = Bench("norms", pathlib.Path(sys.argv[1]))
tunescope.writing._exchange = torn
print(bench.lost("EIO", 0, False))
"""

_LEFT = """
import pathlib, sys, types
import tunescope.writing
from tests.faults.disk.trial import Bench

bench = Bench("norms", pathlib.Path(sys.argv[1]))
tunescope.writing.shutil = types.SimpleNamespace(rmtree=lambda *a, **k: None)
for found in bench.struck([("EIO", 4), ("SIGTERM", 5)], False):
    print(found)
"""

_UNFINISHED = """
import pathlib, random, sys
from tests.faults.disk import trial
from tests.faults.disk.moments import Moments

moments = Moments(trial.Bench("report", pathlib.Path(sys.argv[1])), False)
trial.run = lambda arguments: 1
for _, found in moments.struck("SIGKILL", 1, random.Random(0)):
    print(found)
"""


def _ran(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)


def test_a_fault_while_writing_leaves_the_old_study_or_the_new_one_and_the_command_completes() -> None:
    command = _QUICK[_TURN % len(_QUICK)]
    ran = _ran("-m", "tests.faults.disk", "--command", command, "--turn", _TURN)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " 0 lost" in ran.stdout


def test_a_torn_output_would_be_noticed(tmp_path: Path) -> None:
    assert "the output is torn" in _ran("-c", _TORN, tmp_path).stdout


def test_what_a_fault_leaves_behind_would_be_noticed_at_every_point_of_one_run(tmp_path: Path) -> None:
    found = _ran("-c", _LEFT, tmp_path).stdout
    assert "norms, EIO at point 4: left behind" in found
    assert "norms, SIGTERM at point 5: left behind" in found


def test_a_signal_at_any_moment_loses_nothing_and_a_loss_would_be_noticed(tmp_path: Path) -> None:
    ran = _ran("-m", "tests.faults.disk.moments", "--command", "report", "--moments", 2, "--seed", _TURN)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert json.loads(ran.stdout) == {
        "command": "report", "moments": 6, "before_the_end": ANY, "lost": 0,
    }  # fmt: skip
    assert "SIGKILL at point 1: exit 1" in _ran("-c", _UNFINISHED, tmp_path).stdout


def test_every_command_that_writes_is_tried() -> None:
    tried = {str(tried.arguments(Path("i"), Path("o"))[0]) for tried in COMMANDS.values()}
    assert tried == {*VERBS}
