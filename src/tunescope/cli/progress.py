"""A sweep's progress on stderr: bars on a terminal, a plain line every few seconds elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tunescope.training.progress import Event

# Seconds between two lines of one run where there is no terminal.
_PAUSE = 5.0


@contextmanager
def shown_progress(quiet: bool = False) -> Iterator[Callable[["Event"], None]]:
    """Yields a listener that shows what a sweep is doing, or nothing."""
    if quiet or not speaks():
        yield _ignore
    elif sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        yield from _bars()
    else:
        yield _Lines()


def speaks() -> bool:
    """Whether this process is the one of its launch that writes to the terminal."""
    return os.environ.get("RANK", "0") == "0"


def _ignore(event: "Event") -> None:
    del event


def _bars() -> Iterator[Callable[["Event"], None]]:
    # Deferred: pipes and tests never draw a bar.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        sweep, run = bars.add_task("runs", total=None), bars.add_task("steps", total=None)

        def listen(event: "Event") -> None:
            ended = event.phase in ("done", "skipped")
            bars.update(sweep, completed=event.index + ended, total=event.runs)
            # A run that is evaluated keeps the steps that it has done.
            step = event.step if event.steps or event.phase == "loading" else None
            bars.update(run, description=described(event), completed=step, total=event.steps or None)

        yield listen


class _Lines:
    """Prints a line at every new phase, and every few seconds within one."""

    def __init__(self) -> None:
        self._shown: tuple[int, str] | None = None
        self._last = 0.0

    def __call__(self, event: "Event") -> None:
        now = time.monotonic()
        if (event.index, event.phase) != self._shown or now - self._last >= _PAUSE:
            self._shown, self._last = (event.index, event.phase), now
            click.echo(f"[{event.index + 1}/{event.runs}] {described(event)}", err=True)


def described(event: "Event") -> str:
    """The event in a few words: run, phase, step and loss."""
    text = f"{event.run}: {event.phase}"
    if event.steps:
        text += f", step {event.step:,} of {event.steps:,}"
    return text if event.loss is None else f"{text}, loss {event.loss:.4f}"
