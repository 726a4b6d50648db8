"""What the command line prints, on streams that take little or nothing."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def tunescope() -> Callable[..., Any]:
    """`tunescope(argument, …, shell=">&-")` runs the command in a process of its own."""

    def run(*arguments: str | Path, encoding: str = "utf-8", shell: str = "", **around: str) -> Any:
        environment = {**os.environ, "PYTHONIOENCODING": encoding, **around}
        script = f'exec "$0" "$@" {shell}'
        command = ["sh", "-c", script, sys.executable, "-m", "tunescope", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, env=environment, check=False)

    return run


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii", "cp437"])
def test_signs_that_an_encoding_lacks_are_spelled(
    tunescope: Callable[..., Any], adapter: Callable[..., Path], encoding: str
) -> None:
    ran = tunescope("norms", f"Δ模={adapter()}", encoding=encoding)
    assert ran.returncode == 0, ran.stderr
    assert b"W||_F" in ran.stdout or "‖ΔW‖".encode() in ran.stdout


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_json_keeps_every_label_in_any_encoding(
    tunescope: Callable[..., Any], adapter: Callable[..., Path], encoding: str
) -> None:
    ran = tunescope("norms", f"Δ😀={adapter()}", "--json", encoding=encoding)
    assert "Δ😀" in json.dumps(json.loads(ran.stdout.decode(encoding)), ensure_ascii=False)


@pytest.mark.parametrize("shell", [">/dev/full", ">&-"])
def test_output_that_cannot_be_written_is_said(
    tunescope: Callable[..., Any], adapter: Callable[..., Path], shell: str
) -> None:
    ran = tunescope("norms", adapter(), shell=shell)
    assert ran.returncode == 5
    assert b"[cannot-write]" in ran.stderr
    assert b"Traceback" not in ran.stderr


def test_a_study_is_whole_though_stdin_stdout_and_stderr_are_closed(
    tunescope: Callable[..., Any], adapter: Callable[..., Path], tmp_path: Path
) -> None:
    source, out = adapter(), tmp_path / "out"
    ran = tunescope("norms", source, "-o", out, shell="<&- >&- 2>&-")
    assert ran.returncode == 0
    assert json.loads((out / "study.json").read_text())["files"]


def test_a_path_of_spaces_emoji_and_many_letters_is_a_path(
    tunescope: Callable[..., Any], adapter: Callable[..., Path], tmp_path: Path
) -> None:
    """Also where the system says that all text is ASCII."""
    place = tmp_path / "my models \U0001f600" / "\u6a21\u578b & co" / ("long " * 40)
    place.parent.mkdir(parents=True)
    adapter().rename(place)
    ran = tunescope(
        "norms", place, "-o", place.parent / "o u t", encoding="ascii", LC_ALL="C", PYTHONUTF8="0"
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads((place.parent / "o u t" / "study.json").read_text(encoding="utf-8"))["files"]


_INTERRUPTED = """
import importlib.abc, os, runpy, sys

class Interrupts(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == sys.argv[2]:
            os.kill(os.getpid(), int(sys.argv[1]))

sys.meta_path.insert(0, Interrupts())
runpy.run_module("tunescope", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("importing", ["tunescope.cli", "click", "tunescope.study.command"])
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_while_the_command_is_still_being_imported_is_quiet(
    importing: str, sent: int, code: int
) -> None:
    script = [sys.executable, "-c", _INTERRUPTED, str(int(sent)), importing]
    ran = subprocess.run(script, capture_output=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (code, b"", b"")
