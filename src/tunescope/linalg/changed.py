"""Do two changes move the same values, beyond what rounding explains?

With steps of one size a value moves only if the step exceeds half its grid, so |w| decides, and two unrelated
changes move the same ones. Chance is therefore counted within strata of equal |w|, and of rows and columns of
like motion where rows or columns move unlike: Σ over strata of n·p_A·p_B.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Mask = NDArray[np.bool_]

# Values of |w| are pooled with their neighbours below this many; strata hold this many values on average.
_POOL, _STRATUM = 200, 20
# Bits that float32 has below those of bfloat16 and of float16.
_SHORT = 13
# Groups of columns and of rows, where their counts scatter this many times as much as chance allows.
_GROUPS, _SCATTER = 32, 1.5
# By how many values the chance of a weight may be too small: in the bin in which rounding's edge lies some
# move and some do not, in both changes the same ones, and n·p² is less than n·p by a quarter of n at most.
EDGE = _POOL / 4


@dataclass(frozen=True, slots=True)
class Common:
    """Counts over n values: changed in the first, in the second, in both, and the chances of `both`.

    `independent` is n·p_A·p_B, `given_weight` the chance given |w|, the row and the column.
    """

    n: int
    first: int
    second: int
    both: int
    independent: float
    given_weight: float


def common_changes(a: Mask, b: Mask, sizes: Array) -> Common:
    """Values that change in both of two masks `(rows, columns)`, and the chance of it given `sizes` = |w|.

    >>> mask = np.eye(4, dtype=bool)
    >>> common_changes(mask, mask, np.ones((4, 4))).both
    4
    """
    n, first, second = a.size, int(a.sum()), int(b.sum())
    both = int((a & b).sum())
    if not first or not second:
        return Common(n, first, second, both, 0.0, 0.0)
    bins = _pooled(sizes.ravel(), _POOL).reshape(a.shape)
    columns, rows = (_groups(a, b, bins, axis) for axis in (0, 1))
    crossed = (columns.max() + 1) * (rows.max() + 1)
    if crossed > 1:
        bins = _pooled(sizes.ravel(), max(_POOL, _STRATUM * int(crossed))).reshape(a.shape)
    chances = [_chance(a, b, bins, columns, rows)]
    every_row, every_column = np.ogrid[: a.shape[0], : a.shape[1]]
    binade = np.frexp(sizes)[1].astype(np.int64)
    binade -= binade.min()
    # A scale of each column or row moves the edge at which rounding lets a value go, binade by binade.
    if columns.max():
        chances.append(_chance(a, b, binade, every_column, rows))
    if rows.max():
        chances.append(_chance(a, b, binade, every_row, columns))
    return Common(n, first, second, both, first * second / n, max(chances))


def _chance(a: Mask, b: Mask, *parts: Array) -> float:
    """Σ n·p_A·p_B over the strata in which all `parts` are equal."""
    strata = np.zeros(a.shape, np.int64)
    for part in parts:
        strata = strata * (int(part.max()) + 1) + part
    if strata.max() > 4 * a.size:
        strata = np.unique(strata, return_inverse=True)[1]
    counts = np.bincount(strata.ravel())
    in_a, in_b = (np.bincount(strata.ravel(), weights=mask.ravel()) for mask in (a, b))
    there = counts > 0
    return float((in_a[there] * in_b[there] / counts[there]).sum())


def _pooled(sizes: Array, least: int) -> NDArray[np.int64]:
    """The bin of every value: equal |w| together, neighbours pooled until a bin holds `least` values."""
    inverse, counts = _ranked(sizes)
    # A bin ends with the value at which the running count passes the next multiple of `least`.
    bins = (np.cumsum(counts) - counts) // least
    numbered: NDArray[np.int64] = np.unique(bins, return_inverse=True)[1][inverse]
    return numbered


def _ranked(sizes: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rank of every value among the different ones, and how often each of these is there."""
    bits = sizes.view(np.uint32) if sizes.dtype == np.float32 else None
    if bits is None or (bits & (1 << _SHORT) - 1).any():
        _, inverse, counts = np.unique(sizes, return_inverse=True, return_counts=True)
        return inverse, counts
    # Numbers of 16 bits are few, and positive ones are ordered as their bits are.
    keys = bits >> _SHORT
    counts = np.bincount(keys, minlength=1)
    there = counts > 0
    return (np.cumsum(there) - 1)[keys], counts[there]


def _groups(a: Mask, b: Mask, bins: Array, axis: int) -> NDArray[np.int64]:
    """A group for every column (`axis` 0) or row (1), by how much it moved beyond what |w| gives; or one."""
    ratios = []
    scatter = 0.0
    for mask in (a, b):
        share = np.bincount(bins.ravel(), weights=mask.ravel()) / np.bincount(bins.ravel())
        p = share[bins]
        expected, variance = p.sum(axis=axis), (p * (1 - p)).sum(axis=axis)
        rest = mask.sum(axis=axis) - expected
        usable = variance > 1
        if usable.any():
            scatter = max(scatter, float((rest[usable] ** 2 / variance[usable]).mean()))
        ratios.append((mask.sum(axis=axis) + 1) / (expected + 1))
    size = a.shape[1 - axis]
    if scatter < _SCATTER or size < 2 * _GROUPS:
        group = np.zeros(size, np.int64)
    else:
        order = np.argsort(np.argsort(ratios[0] * ratios[1]))
        group = order * _GROUPS // size
    return np.broadcast_to(group[None, :] if axis == 0 else group[:, None], a.shape)
