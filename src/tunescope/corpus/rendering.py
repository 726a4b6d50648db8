"""What a chat template, which is a program of the model's author, may take and raise while it is rendered."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

# Seconds of computing; templates in use need thousandths of one for a long chat.
SECONDS = 20.0
# Bytes; one multiplication of texts takes what it likes, and no signal comes between.
_MEMORY = 2**30
# Letters that a template may put around every letter of a chat, and around a whole chat.
_AROUND, _WHOLE = 100, 2**20


class EndlessTemplate(Exception):
    """A rendering that was stopped; no kind of error that a template raises."""


class EndlessText(ValueError):
    """A rendered chat of far more letters than were said in it."""


def require_bounded(text: str, said: int) -> str:
    """The rendered text of a chat of so many letters; `EndlessText` where it is out of all proportion."""
    if len(text) > (most := _AROUND * said + _WHOLE):
        raise EndlessText(f"{len(text)} letters of a chat of {said}, more than {most}")
    return text


@contextmanager
def bounded_rendering() -> Iterator[None]:
    """Raise `EndlessTemplate` where the block computes beyond `SECONDS`, `MemoryError` beyond a gibibyte.

    Computing time is counted, so that a busy machine stops nothing. Outside the main thread, and where the
    system has no such timer or limit, the block is not bounded.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _stop)
    try:
        # Again and again, since an exception in a finaliser is lost.
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS, 1.0)
        with _bounded_memory():
            yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextmanager
def _bounded_memory() -> Iterator[None]:
    """Let the process take a gibibyte more than it has, and no more."""
    statistics = Path("/proc/self/statm")
    if sys.platform == "win32" or not statistics.exists():
        yield
        return
    import resource

    taken = int(statistics.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY and soft < taken + _MEMORY:
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (taken + _MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise EndlessTemplate


def template_errors() -> tuple[type[Exception], ...]:
    """The kinds of error that a template can raise."""
    # Deferred: only chats need it.
    import jinja2

    return (
        jinja2.TemplateError,
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        # What jinja makes of a number beyond all floats, 1e999, is Python's name for none.
        NameError,
        RecursionError,
        TypeError,
        ValueError,
    )
