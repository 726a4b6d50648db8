"""The signals that end a command, remembered: native code swallows what a handler raises while it calls back.

A library that is no Python may call Python, and where an exception comes out of that, drop it and go on with
nothing, or raise another of its own. Whoever asked for the end is then told of a bug, or has to ask again.
"""

import signal
import sys
from types import FrameType
from typing import Any, NoReturn

# The exit code that was asked for, by the signals that came.
_ASKED: list[int] = []
_EXITS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def heed() -> None:
    """Remember the signals that end a command from now on; the keyboard is, where muted, left so."""
    _ASKED.clear()
    signal.signal(signal.SIGTERM, _ask)
    # A shell has what it runs in the background ignore the keyboard.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _ask)
    sys.unraisablehook = _quietly


def asked() -> int | None:
    """The exit code of the signal that came, if one did.

    >>> asked() is None
    True
    """
    return _ASKED[0] if _ASKED else None


def stop_where_asked() -> None:
    """Raise again what a signal raised and a library swallowed; for whoever is about to publish."""
    if (code := asked()) is not None:
        _stop(code)


def _ask(number: int, _: FrameType | None) -> None:
    _ASKED.append(_EXITS[signal.Signals(number)])
    _stop(_ASKED[-1])


def _stop(code: int) -> NoReturn:
    if code == _EXITS[signal.SIGINT]:
        raise KeyboardInterrupt
    raise SystemExit(code)


def _quietly(unraisable: Any) -> None:
    """Say nothing of an exception that was dropped where it is the end that was asked for."""
    if not (_ASKED and isinstance(unraisable.exc_value, KeyboardInterrupt | SystemExit)):
        sys.__unraisablehook__(unraisable)
