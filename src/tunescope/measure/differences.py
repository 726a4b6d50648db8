"""The difference of two tensors as rows in float32: held where it fits, else read anew in every pass."""

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Pair
from tunescope.linalg.widening import widen

Array = NDArray[Any]
# Values of a matrix that is held, 512 MiB of float32, and of one block of rows.
_HELD, _BLOCK = 1 << 27, 1 << 19
# Norms between these have squares within float32's range.
_SMALL, _LARGE = 1e-8, 1e8


class DifferenceRows:
    """`W_after − W_before` as it is stored, `shape` (rows, columns), in blocks of rows.

    The singular values are those of the weight, whichever way round it is stored. Differences of more than
    16 bits are taken in float64. `norm` is ‖ΔW‖_F: where float32 would not hold its square, all values are
    in units of `unit`, a power of two.
    """

    def __init__(self, pair: Pair, shape: tuple[int, int], norm: float) -> None:
        self._pair, self._shape = pair, shape
        self.unit = 1.0 if _SMALL < norm < _LARGE else 2.0 ** math.frexp(norm)[1]
        self._step = max(1, _BLOCK // max(shape[1], 1))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, as stored."""
        return self._shape

    def blocks(self) -> Iterator[Array]:
        """Blocks of rows in float32, from memory or from the files."""
        if self._shape[0] * self._shape[1] > _HELD:
            yield from self._read()
            return
        for first in range(0, self._shape[0], self._step):
            yield self._held[first : first + self._step]

    @cached_property
    def _held(self) -> Array:
        out, at = np.empty(self._shape, np.float32), 0
        for rows in self._read():
            out[at : at + len(rows)] = rows
            at += len(rows)
        return out

    def _read(self) -> Iterator[Array]:
        rows, columns = self._shape
        before, after = (np.empty(8 * self._step * columns, np.uint8) for _ in range(2))
        for first in range(0, rows, self._step):
            span = first * columns, min(first + self._step, rows) * columns
            w, v = self._pair.before.into(*span, before), self._pair.after.into(*span, after)
            yield _difference(w, v, self.unit).reshape(-1, columns)


def _difference(before: Array, after: Array, unit: float) -> Array:
    narrow = max(before.dtype.itemsize, after.dtype.itemsize) <= 2 and unit == 1.0
    wide: Any = np.float32 if narrow else np.float64
    w, v = (widen(row, np.empty(row.size, wide)) for row in (before, after))
    d = np.subtract(v, w, out=v)
    return d if narrow else np.asarray((d / unit).astype(np.float32))
