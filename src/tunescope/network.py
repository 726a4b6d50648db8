"""Calls over the network that are tried again: a bounded number of times, with announced, bounded waits."""

import contextlib
import email.utils
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from tunescope.errors import printable

T = TypeVar("T")

TRIES = 4
# Seconds; a server that asks for more is told apart from one that is soon there again.
LONGEST_WAIT = 60.0

_AGAIN = frozenset({429, 500, 502, 503, 504})
# Names, for the libraries that raise them are extras: a connection that was there and broke off.
_CUT = frozenset({
    "RemoteProtocolError", "ReadError", "WriteError", "ReadTimeout", "ConnectionResetError", "IncompleteRead",
    "ChunkedEncodingError", "ProtocolError", "ClientPayloadError",
})  # fmt: skip


class HopelessError(OSError):
    """What a server does is not worth trying again."""


class TooSlowError(HopelessError):
    """The server sends so slowly that what was asked for would never be there."""


class SwollenError(HopelessError):
    """The server's packed answer holds far more than packed text or weights do."""


def patiently(call: Callable[[], T], place: str) -> T:
    """What `call` returns; where a server is busy or the connection breaks off it is tried again.

    Every wait is said on stderr with the status and its length, which the server may state up to a minute.
    The error of the last try is raised as it is.
    """
    for tried in range(1, TRIES):
        try:
            return call()
        except Exception as error:
            why, seconds = _reason(error), _wait(error, tried)
            if why is None or seconds > LONGEST_WAIT:
                raise
        text = f"{printable(place)}: {why}; trying again in {seconds:g} s ({tried} of {TRIES - 1})"
        print(f"tunescope: {text}", file=sys.stderr, flush=True)
        time.sleep(seconds)
    return call()


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error, or one behind it, was raised for."""
    status: int | None = getattr(_response(error), "status_code", None)
    return status


def _response(error: BaseException) -> Any:
    return next((r for e in _chain(error) if (r := getattr(e, "response", None)) is not None), None)


def _reason(error: BaseException) -> str | None:
    """Why it is worth trying again, or `None` where it is not."""
    status = status_of(error)
    if isinstance(error, HopelessError):
        return None
    if status is not None:
        return f"the server answered {status}" if status in _AGAIN else None
    kinds = {kind.__name__ for e in _chain(error) for kind in type(e).__mro__}
    return "the connection broke off" if kinds & _CUT else None


def _wait(error: BaseException, tried: int) -> float:
    """Seconds that the server asks for, else 1, 2, 4."""
    stated = stated_wait(_response(error))
    return float(2 ** (tried - 1)) if stated is None else stated


def stated_wait(response: Any) -> float | None:
    """Seconds that an answer asks to wait in `Retry-After` (a number or a date) or `RateLimit`, if any."""
    headers = getattr(response, "headers", None) or {}
    stated = headers.get("Retry-After") or ""
    if re.fullmatch(r"\d{1,9}", stated):
        return float(stated)
    with contextlib.suppress(ValueError, OverflowError):
        return max(email.utils.parsedate_to_datetime(stated).timestamp() - time.time(), 0.0)
    limit = re.search(r"\bt=(\d{1,9})", headers.get("RateLimit") or "")
    return float(limit.group(1)) if limit else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those it came from."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__
