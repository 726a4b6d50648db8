"""Work in processes of its own: the command line, and reading what it wrote."""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tunescope
from tunescope.cli import main


def run(arguments: list[Any]) -> int:
    """The command line with these arguments; its exit code."""
    sys.argv = ["tunescope", *map(str, arguments)]
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)


def read(study: Path) -> int:
    """Zero where the study is whole, every file as its record says."""
    tunescope.read(study)
    return 0


def forked(work: Callable[[], int | None]) -> int:
    """The exit code of some work in a process of its own (minus the signal that ended it).

    A fork has everything imported already; the parent does no work of its own, so that it may.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        with silenced():
            try:
                code = work() or 0
            except BaseException:
                traceback.print_exc()
                code = 99
        os._exit(code)
    status = os.waitpid(child, 0)[1]
    return os.waitstatus_to_exitcode(status)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Let a child, for good, write into the file FAULTS_LOG, or nowhere."""
    target = os.open(os.environ.get("FAULTS_LOG", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(target, 1)
    os.dup2(target, 2)
    # In the child only, whose streams may be those of a test.
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    yield
    sys.stdout.flush()
    sys.stderr.flush()
