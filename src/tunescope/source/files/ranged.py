"""A file on a server, read by ranges: only what is asked for is fetched, and counted."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tunescope.source.files.tensors import LazyTensor

# The first read of a file holds the header of an adapter of some 50 modules; every other one takes what lies
# behind it along, for numbers such as alpha often lie side by side.
FIRST, AHEAD = 1 << 14, 1 << 12
# Numbers that are tensors of their own are asked for so many at a time.
_NUMBER, _AT_ONCE = 8, 8


@dataclass(eq=False)
class RangedFile:
    """A file elsewhere, as a `Snapshot` is one on this disk.

    `fetch(offset, count)` gets that range; `etag` is the server's name for this version of the file, and
    `path` where it lies, for messages. `bytes_read` counts what was fetched.
    """

    path: Path
    size: int
    etag: str
    fetch: Callable[[int, int], bytes]
    bytes_read: int = 0
    _held: list[tuple[int, bytes]] = field(default_factory=list)

    def verify(self) -> None:
        """Nothing to look at: every range is of one version."""

    def read(self, offset: int, count: int) -> NDArray[np.uint8]:
        """`count` bytes from `offset`."""
        for begin, held in self._held:
            if begin <= offset and offset + count <= begin + len(held):
                return np.frombuffer(held, np.uint8, count, offset - begin)
        wanted = max(count, AHEAD if self._held else FIRST)
        data = self.fetch(offset, min(wanted, self.size - offset))
        self.bytes_read += len(data)
        self._held.append((offset, data))
        return np.frombuffer(data, np.uint8, count)

    def fill(self, offset: int, out: NDArray[np.uint8]) -> None:
        """Read as many bytes as `out` has, from `offset`."""
        out[:] = self.read(offset, out.size)

    def read_numbers(self, tensors: Iterable[LazyTensor]) -> None:
        """Fetch the single numbers of the file before they are asked for one by one."""
        small = [tensor for tensor in tensors if 0 < tensor.nbytes <= _NUMBER]
        if small:
            # The first brings its neighbours along: where all lie together nothing is left to fetch.
            small[0].read()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda tensor: tensor.read(), small[1:]))
