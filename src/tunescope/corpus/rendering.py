"""What a chat template, which is a program of the model's author, may take and raise while it is rendered."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

# Seconds of computing; templates in use need thousandths of one for a long chat.
SECONDS = 20.0


class EndlessTemplate(Exception):
    """A rendering that was stopped; no kind of error that a template raises."""


@contextmanager
def bounded_rendering() -> Iterator[None]:
    """Raise `EndlessTemplate` where the block computes for longer than `SECONDS`.

    Computing time is counted, so that a busy machine stops nothing. Outside the main thread, and where the
    system has no such timer, the block is not bounded.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _stop)
    try:
        # Again and again, since an exception in a finaliser is lost.
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS, 1.0)
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


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
