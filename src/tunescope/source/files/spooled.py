"""A large file on a server of which some tensors are read, maybe again and again: each byte fetched once."""

import tempfile
import threading
import weakref
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.errors import Exhausted
from tunescope.source.files.ranged import FIRST, RangedFile

# Bytes of one request at most, and how far a tensor that is read in parts is fetched ahead.
_REQUEST, _AHEAD = 1 << 25, 1 << 23


@dataclass(eq=False)
class SpooledFile(RangedFile):
    """A file elsewhere whose fetched ranges lie in a nameless file on this disk: memory stays that of a read.

    `edges` are the offsets at which tensors end, ascending; nothing is fetched beyond the one that is read.
    """

    edges: tuple[int, ...] = ()
    _spans: list[tuple[int, int]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _spool: Any = field(init=False)

    def __post_init__(self) -> None:
        self._spool = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        # Tensors hold on to their file: it goes with the last of them.
        weakref.finalize(self, self._spool.close)

    def read(self, offset: int, count: int) -> NDArray[np.uint8]:
        """`count` bytes from `offset`."""
        out = np.empty(count, np.uint8)
        self.fill(offset, out)
        return out

    def fill(self, offset: int, out: NDArray[np.uint8]) -> None:
        """Read as many bytes as `out` has, from `offset`."""
        if not out.size:
            return
        with self._lock:
            self._fetch(offset, offset + out.size)
            self._spool.seek(offset)
            # A nameless file of our own: nothing but `_bring` changes what it holds.
            done, memory = 0, memoryview(out.data)
            while done < out.size:
                done += self._spool.readinto(memory[done:])

    def _fetch(self, begin: int, end: int) -> None:
        """Bring what is not here yet of a range; of a tensor read in parts, some of what follows too."""
        gaps = _gaps(self._spans, begin, end)
        if not gaps:
            return
        start, last = gaps[-1]
        gaps[-1] = start, max(last, self._ahead(start, last))
        for first, stop in gaps:
            for at in range(first, stop, _REQUEST):
                self._bring(at, min(at + _REQUEST, stop))
        self._spans = _joined([*self._spans, *gaps])

    def _ahead(self, start: int, last: int) -> int:
        if not self._spans:
            return min(max(last, start + FIRST), self.size)
        following = bisect_right(self.edges, last - 1)
        edge = self.edges[following] if following < len(self.edges) else last
        far = min(edge, start + _AHEAD)
        # Not what another read has brought already.
        return min([far, *(begin for begin, _ in self._spans if begin >= last)])

    def _bring(self, begin: int, end: int) -> None:
        data = self.fetch(begin, end - begin)
        self.bytes_read += len(data)
        try:
            self._spool.seek(begin)
            self._spool.write(data)
        except OSError as error:
            raise Exhausted(
                "disk-full", "there is no room for the weights that are fetched", file=self.path,
                found=error.strerror, expected=f"{end - begin} more bytes in {tempfile.gettempdir()}",
                fix="set TMPDIR to a folder with more room, or name a local copy of the model",
            ) from error  # fmt: skip


def _gaps(spans: list[tuple[int, int]], begin: int, end: int) -> list[tuple[int, int]]:
    """What of a range no span covers.

    >>> _gaps([(0, 4), (6, 8)], 2, 10)
    [(4, 6), (8, 10)]
    """
    found = []
    for first, last in spans:
        if begin < first < end:
            found.append((begin, first))
        if first < end:
            begin = max(begin, last)
    return [*found, (begin, end)] if begin < end else found


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that touch made one."""
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return joined
