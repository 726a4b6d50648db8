"""Bounds on what a server may take of the hub library's session: waits it asks for, its headers, its bodies.

The library waits as long as a server asks it to, reads as long as a byte comes now and then, and unpacks
whatever comes.
"""

import threading
import weakref
from collections.abc import Iterator
from time import monotonic
from typing import Any

from tunescope.network import LONGEST_WAIT, SwollenError, TooSlowError, stated_wait

# Seconds of silence, and in which a body must have moved on.
_PATIENCE = 30.0
# So many times as long the headers of an answer may take.
_LONGEST = 2
# Bytes a second below which a server is taken for one that never ends.
_SLOWEST = 1000

# Packed text is a tenth of itself, where it repeats itself a hundredth; a bomb a thousandth.
_LARGEST_RATIO = 200

_WAITS = ("connect", "read", "write", "pool")

_BOUNDED: "weakref.WeakSet[Any]" = weakref.WeakSet()


class LongWaitError(OSError):
    """The server asks to wait longer than anybody would; `response` is its answer."""

    def __init__(self, response: Any) -> None:
        super().__init__(f"HTTP status {response.status_code}, asks to wait {stated_wait(response):.0f} s")
        self.response = response


def bound(library: Any) -> None:
    """Bound every request of the session of `huggingface_hub` from now on.

    They raise `TooSlowError` and `LongWaitError`, which the library does not take for something to try again.
    """
    session = library.get_session()
    if session in _BOUNDED:
        return
    send = session.send

    def answered(request: Any, stream: bool = False, **options: Any) -> Any:
        answer = send(request, stream=True, **options)
        raw, unpacked = answer.iter_raw, answer.iter_bytes
        answer.iter_raw = lambda chunk_size=None: _moving(raw(chunk_size))
        answer.iter_bytes = lambda chunk_size=None: _in_proportion(answer, unpacked(chunk_size))
        if not stream:
            try:
                answer.read()
            except BaseException:
                answer.close()
                raise
        return answer

    def bounded(request: Any, **options: Any) -> Any:
        limits = request.extensions.get("timeout", {})
        # A thread that waits for a silent server is not woken by closing the connection.
        request.extensions["timeout"] = {key: limits.get(key) or _PATIENCE for key in _WAITS}
        answer = _in_time(library, lambda: answered(request, **options))
        if answer.status_code >= 400 and (stated_wait(answer) or 0) > LONGEST_WAIT:
            answer.close()
            raise LongWaitError(answer)
        return answer

    session.send = bounded
    _BOUNDED.add(session)


def _in_time(library: Any, call: Any) -> Any:
    """What `call` returns; from another thread the session is closed under it where it takes too long."""
    late = threading.Event()

    def stop() -> None:
        late.set()
        library.close_session()
        bound(library)

    timer = threading.Timer(_LONGEST * _PATIENCE, stop)
    timer.daemon = True
    timer.start()
    try:
        return call()
    # Whatever the closed connection raised, in any version of the library, is this.
    except Exception as error:
        if late.is_set():
            raise TooSlowError(f"no answer within {_LONGEST * _PATIENCE:g} s") from error
        raise
    finally:
        timer.cancel()


def _in_proportion(answer: Any, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The unpacked chunks of a body, as long as they are not out of all proportion to what was sent."""
    got = 0
    for chunk in chunks:
        got += len(chunk)
        if got > _LARGEST_RATIO * answer.num_bytes_downloaded + 2**20:
            raise SwollenError(f"more than {got} bytes from {answer.num_bytes_downloaded}")
        yield chunk


def _moving(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks of a body, as long as they come faster than the slowest server there is."""
    begun, got = monotonic(), 0
    for chunk in chunks:
        got += len(chunk)
        if (now := monotonic()) - begun >= _PATIENCE:
            if got < _PATIENCE * _SLOWEST:
                raise TooSlowError(f"{got} bytes in {now - begun:.0f} s")
            begun, got = now, 0
        yield chunk
