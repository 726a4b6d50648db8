"""Rank correlation."""

import math

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def ranks(values: Float64) -> Float64:
    """Ranks from 1 on, ties sharing their mean rank.

    >>> ranks(np.array([10.0, 30.0, 10.0]))
    array([1.5, 3. , 1.5])
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean: Float64 = np.cumsum(counts) - (counts - 1) / 2
    return mean[inverse]


def spearman(x: Float64, y: Float64) -> float:
    """Spearman's rank correlation in [−1, 1], ties sharing their mean rank; NaN where a side is constant.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0]))
    0.5
    """
    a, b = ranks(x), ranks(y)
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0 else math.nan
