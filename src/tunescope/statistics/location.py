"""Is the mean of some differences zero? With independent draws, and by flipping signs."""

import math
from dataclasses import dataclass

import numpy as np

from tunescope.statistics.laws import t_above, t_tail
from tunescope.statistics.randomness import generator_of
from tunescope.statistics.types import Float64

_DRAWS, _EXACT = 4000, 12


def medians_of_others(values: Float64) -> Float64:
    """The median of all `(n,)` values but one, for each of two or more.

    >>> medians_of_others(np.array([1.0, 5.0, 2.0, 9.0])).tolist()
    [5.0, 2.0, 5.0, 2.0]
    """
    n = len(values)
    order = np.argsort(values, kind="stable")
    rank, ordered = np.empty(n, np.int64), values[order]
    rank[order] = np.arange(n)
    low, high = (n - 2) // 2, (n - 1) // 2
    found: Float64 = (ordered[low + (rank <= low)] + ordered[high + (rank <= high)]) / 2
    return found


@dataclass(frozen=True, slots=True)
class Shift:
    """A difference of means with its standard error, degrees of freedom and two-sided p."""

    difference: float
    error: float
    freedom: int
    p: float


def mean_differs(values: Float64) -> Shift:
    """Student's t test of a zero mean over `(n,)` values; p is 1 where n < 2."""
    n, mean = len(values), float(values.mean())
    if n < 2:
        return Shift(mean, math.inf, 0, 1.0)
    return _shift(mean, float(values.std(ddof=1)) / math.sqrt(n), n - 1)


def groups_differ(a: Float64, b: Float64) -> Shift:
    """Student's t test of two groups with one spread; p is 1 where both hold fewer than three values."""
    freedom = len(a) + len(b) - 2
    difference = float(a.mean() - b.mean())
    if freedom < 1:
        return Shift(difference, math.inf, 0, 1.0)
    square = (((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum()) / freedom
    return _shift(difference, math.sqrt(float(square) * (1 / len(a) + 1 / len(b))), freedom)


def _shift(difference: float, error: float, freedom: int) -> Shift:
    error = max(error, 1e-9 * max(abs(difference), 1e-3))
    return Shift(difference, error, freedom, 2 * t_tail(abs(difference) / error, freedom))


def sign_flips(values: Float64) -> float:
    """Two-sided p of a zero centre of `(n,)` symmetric values, by flipping signs: all 2ⁿ up to n = 12.

    >>> sign_flips(np.array([1.0, 2.0, 1.5, 1.2, 0.9]))
    0.0625
    """
    n, total = len(values), abs(float(values.sum()))
    if n <= _EXACT:
        codes = np.arange(2**n)[:, None] >> np.arange(n)
        sums = np.abs((1 - 2 * (codes & 1)) @ values)
        return float(np.mean(sums >= total * (1 - 1e-9)))
    signs = generator_of(values).integers(0, 2, (_DRAWS, n)) * 2 - 1
    return float((1 + np.count_nonzero(np.abs(signs @ values) >= total * (1 - 1e-9))) / (1 + _DRAWS))


def visible_shift(error: float, freedom: int, alpha: float, power: float = 0.9) -> float:
    """The least difference that a two-sided t test at `alpha` finds with about `power`.

    `error` is itself an estimate of `freedom` degrees: the upper quartile of what it may be counts.
    """
    if freedom < 1 or not math.isfinite(error):
        return math.inf
    upper = error * upper_scale(freedom)
    return upper * (t_above(alpha / 2, freedom) + t_above(1 - power, freedom))


def upper_scale(freedom: float, quantile: float = 0.6745) -> float:
    """By how much a standard deviation of `freedom` degrees may be too small, at a normal quantile (¾).

    χ² at its lower quantile over its degrees of freedom, after Wilson and Hilferty (1931).
    """
    cube = 1 - 2 / (9 * freedom) - quantile * math.sqrt(2 / (9 * freedom))
    return 1 / math.sqrt(max(cube, 0.1) ** 3)
