"""How far a count has come, on stderr: a bar on a terminal, a plain line every few seconds elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

# Seconds between two lines where there is no terminal.
_PAUSE = 5.0

Tell = Callable[[int, int], None]


@contextmanager
def counted(what: str) -> Iterator[Tell]:
    """Yields `tell(done, total)`, to be called as often as one likes."""
    if sys.stderr.isatty():
        yield from _bar(what)
    else:
        yield _lines(what)


def _bar(what: str) -> Iterator[Tell]:
    # Deferred: pipes and tests never draw a bar.
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(what: str) -> Tell:
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _PAUSE:
            last = time.monotonic()
            click.echo(f"{what}: {done:,} of {total:,}", err=True)

    return tell
