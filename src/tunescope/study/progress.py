"""How far a command has come, on stderr: a bar on a terminal, a plain line every few seconds elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

# Nothing is shown before so many seconds; without a terminal, so many lie between two lines.
_PATIENCE, _PAUSE = 2.0, 5.0

Tell = Callable[[str, int, int], None]
"""Takes what is being done, how much of it is done, and how much there is to do."""


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


def speaks() -> bool:
    """Whether this process is the one of its launch that writes to the terminal."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def shown(quiet: bool = False) -> Iterator[Tell]:
    """Yields `tell(what, done, total)`, to be called as often as one likes."""
    if quiet or not speaks():
        yield silent
    elif sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        yield from _bar()
    else:
        yield _lines()


def _bar() -> Iterator[Tell]:
    # Deferred: pipes and tests never draw a bar.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    begun = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, int] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks and time.monotonic() - begun < _PATIENCE:
                return
            task = tasks.setdefault(what, len(tasks))
            if task not in bar.task_ids:
                bar.add_task(what)
            bar.update(bar.task_ids[task], completed=done, total=total)

        yield tell


def _lines() -> Tell:
    last: float | None = None

    def tell(what: str, done: int, total: int) -> None:
        nonlocal last
        # Loading the libraries may take long too, and is no reason to speak of what has just begun.
        last = time.monotonic() if last is None else last
        if time.monotonic() - last >= _PAUSE:
            last = time.monotonic()
            click.echo(f"{what}: {done:,} of {total:,}", err=True)

    return tell
