"""The sums over one unit of two rows of values in a fixed order, by a compiled pass or by NumPy, bit for bit.

Values are widened exactly to float64, or to float32 where that is asked for; `d = after − before` and
products are rounded there. Value i belongs to lane i mod 512 of row i/512: a lane adds down the 16 rows of a
block, then in float64 the sums of its blocks, and the lanes are added by halves. So no bit depends on the
processor, on where the values lie, nor on which of the two ways took the sums.
"""

import threading
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg.compiled import as_read, compiled
from tunescope.linalg.widening import widen

Array = NDArray[Any]
Float64 = NDArray[np.float64]
Edges = tuple[float, float]

# The most values of one unit.
UNIT = 1 << 18
LANES, ROWS = 512, 16
BLOCK = LANES * ROWS
_SUMS = 6


def unit_sums(before: Array, after: Array | None, tolerances: Edges, *, single: bool = False) -> list[float]:
    """Of two rows of one dtype and at most 2¹⁸ values, ten numbers; of one (`after` is `None`) those of w.

    Σd², Σw·d, Σw², Σd, Σ|d|, Σ|w|, max|d|, and how many |d| lie above zero and strictly above either
    tolerance. `single` takes differences, products and rows of a block of 16-bit values in float32. With NaN
    or infinities among the values Σd² or Σw² is not finite, and the rest means nothing.

    >>> unit_sums(np.array([1.0, 2.0]), np.array([1.0, 2.5]), (0.1, 1.0))
    [0.25, 1.0, 5.0, 0.5, 0.5, 3.0, 0.5, 1.0, 1.0, 0.0]
    """
    edges = _single_edges(tolerances) if single else tolerances
    engine = compiled() or by_numpy
    return engine(as_read(before), None if after is None else as_read(after), edges, single)


@cache
def _single_edges(tolerances: Edges) -> Edges:
    """The nearest numbers of float32 not above: what lies above either there lies above both."""
    low, high = (
        np.nextafter(edge, np.float32(0)) if float(edge := np.float32(t)) > t else edge for t in tolerances
    )
    return float(low), float(high)


class _Scratch(threading.local):
    """A thread's buffers for a unit, made when they are needed."""

    def __init__(self) -> None:
        self.mask = np.empty(UNIT, np.bool_)
        self._held: dict[type, tuple[Array, Array, Array]] = {}

    def of(self, kind: type) -> tuple[Array, Array, Array]:
        """Three buffers of a dtype."""
        if kind not in self._held:
            self._held[kind] = np.empty(UNIT, kind), np.empty(UNIT, kind), np.empty(UNIT, kind)
        return self._held[kind]


_scratch = _Scratch()


def by_numpy(before: Array, after: Array | None, edges: Edges, single: bool) -> list[float]:
    """The ten numbers of `unit_sums` by NumPy's own operations."""
    kind: Any = np.float32 if single else np.float64
    size = -(-before.size // LANES) * LANES
    w, d, product = (buffer[:size] for buffer in _scratch.of(kind))
    with np.errstate(all="ignore"):
        _fill(w, before)
        base_squares = _sum(np.multiply(w, w, out=product))
        base_absolute = _sum(np.abs(w, out=product))
        if after is None:
            return [0.0, 0.0, base_squares, 0.0, 0.0, base_absolute, 0.0, 0.0, 0.0, 0.0]
        _fill(d, after)
        np.subtract(d, w, out=d)
        cross = _sum(np.multiply(w, d, out=product))
        squares = _sum(np.multiply(d, d, out=product))
        moved = np.abs(d, out=product)
        mask = _scratch.mask[:size]
        counts = [float(np.count_nonzero(np.greater(moved, kind(edge), out=mask))) for edge in (0.0, *edges)]
        largest = float(moved.max(initial=0))
        return [squares, cross, base_squares, _sum(d), _sum(moved), base_absolute, largest, *counts]


def _fill(out: Array, values: Array) -> None:
    """The values, and zeros, which add nothing, up to the end of the last row."""
    out[values.size :] = 0
    widen(values, out[: values.size])


def _sum(values: Array) -> float:
    """Σ by rows of a block, blocks, and halves of the lanes."""
    whole = values.size // BLOCK * BLOCK
    blocks = [np.add.reduce(values[:whole].reshape(-1, ROWS, LANES), axis=1).astype(np.float64, copy=False)]
    if whole < values.size:
        rest = np.add.reduce(values[whole:].reshape(-1, LANES), axis=0)
        blocks.append(rest.astype(np.float64)[None])
    lanes = np.add.reduce(blocks[0] if len(blocks) == 1 else np.concatenate(blocks), axis=0)
    while lanes.size > 1:
        half = lanes.size // 2
        lanes = lanes[:half] + lanes[half:]
    # A sum of negative zeros is zero.
    return float(lanes[0]) + 0.0
