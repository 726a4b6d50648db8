"""Σ d² of every row or column of the difference of two matrices, compiled or by NumPy, bit for bit.

`d = after − before` and its square are in float64. A row is added in 32 lanes, value i in lane i mod 32,
which are added by halves; a column from the first row to the last.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg.compiled import as_read, compiled_squares
from tunescope.linalg.widening import widen

Array = NDArray[Any]
Float64 = NDArray[np.float64]

LANES = 32


def squares(before: Array, after: Array, columns: int, by_column: bool) -> Float64:
    """The sums of whole rows of `columns` values, `(rows,)` or `(columns,)`; NaN is no other than NaN.

    >>> squares(np.zeros(4), np.array([1.0, 2.0, 3.0, np.nan]), 2, by_column=False)
    array([ 5., nan])
    """
    if before.dtype != after.dtype:
        before, after = (widen(row, np.empty(row.size, np.float64)) for row in (before, after))
    found = (compiled_squares() or by_numpy)(as_read(before), as_read(after), columns, by_column)
    return found if np.isfinite(found).all() else _added(_alike_are_none(before, after), columns, by_column)


def by_numpy(before: Array, after: Array, columns: int, by_column: bool) -> Float64:
    """The same of finite numbers by NumPy's own operations."""
    return _added(_difference(before, after), columns, by_column)


def _difference(before: Array, after: Array) -> Float64:
    new, old = (widen(row, np.empty(row.size, np.float64)) for row in (after, before))
    with np.errstate(all="ignore"):
        return np.asarray(np.subtract(new, old, out=new))


def _alike_are_none(before: Array, after: Array) -> Float64:
    """The difference, 0 where both are the same infinity, or NaN."""
    old, new = (widen(row, np.empty(row.size, np.float64)) for row in (before, after))
    return np.where((old == new) | (np.isnan(old) & np.isnan(new)), 0.0, _difference(before, after))


def _added(d: Float64, columns: int, by_column: bool) -> Float64:
    with np.errstate(all="ignore"):
        whole = np.multiply(d, d, out=d).reshape(-1, columns)
        if by_column:
            return _down(whole, 0)
        if columns % LANES:
            whole = np.pad(whole, ((0, 0), (0, -columns % LANES)))
        lanes = _down(whole.reshape(len(whole), -1, LANES), 1)
        while lanes.shape[1] > 1:
            half = lanes.shape[1] // 2
            lanes = lanes[:, :half] + lanes[:, half:]
    return np.ascontiguousarray(lanes[:, 0])


def _down(values: Float64, axis: int) -> Float64:
    """Sums along an axis that is not the last, one after the other; along the last they would be in pairs."""
    if values.shape[-1] == 1:
        return np.asarray(np.add.accumulate(values, axis=axis).take(-1, axis=axis))
    return np.asarray(np.add.reduce(values, axis=axis))
