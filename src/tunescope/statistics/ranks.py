"""Ranks of values."""

import numpy as np

from tunescope.statistics.types import Float64


def ranks(values: Float64) -> Float64:
    """Ranks from 1 of `(n,)` values; equal ones share the mean of theirs; NaN throughout where one is NaN.

    >>> ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    if np.isnan(values).any():
        return np.full(len(values), np.nan)
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    found: Float64 = (last - (counts - 1) / 2)[place]
    return found
