"""How alike neighbours in a sequence are, and what a test of its parts must allow for that.

Independent layers are no likely law of a model's depth: a profile that drifts has parts that differ without
any of them being special. How far neighbours follow one another is read from what parts and a straight line
leave, and where few values say little of it, the test allows for several such laws at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tunescope.statistics.laws import f_above, f_tail
from tunescope.statistics.types import Float64

# Correlations of a value with the next one, and how much is given to each before looking: half to none.
_RHO = np.arange(19) / 20
_AT_ZERO, _FALL = 0.5, 0.5
_LEAST_LEVEL = 1e-12


def cuts(n: int, parts: int = 3) -> list[int]:
    """Where n things are cut into parts as equal as can be, the first ones longer: `[0, ⌈n/3⌉, ⌈2n/3⌉, n]`.

    >>> cuts(7)
    [0, 3, 5, 7]
    """
    return [math.ceil(i * n / parts) for i in range(parts + 1)]


@dataclass(frozen=True, eq=False)
class _Law:
    """What AR(1) sequences of n values give for each of `_RHO`, `(19,)` each.

    `between` and `within` are mean squares over those of independent values, `above` and `below` the degrees
    of freedom that they are worth [Box 1954]; `lag` and `deviation` belong to the lag-one correlation of
    what `rest (n, n)` leaves: a level for each part and a line.
    """

    between: Float64
    within: Float64
    above: Float64
    below: Float64
    lag: Float64
    deviation: Float64
    rest: Float64


@lru_cache(maxsize=256)
def _law(n: int, parts: int) -> _Law:
    edges, at = cuts(n, parts), np.arange(n)
    member = np.zeros((n, parts))
    for k in range(parts):
        member[edges[k] : edges[k + 1], k] = 1.0
    levels, levels_and_line = (
        Q @ Q.T for Q in (np.linalg.qr(X)[0] for X in (member, np.column_stack([member, at])))
    )
    inside, rest = np.eye(n) - levels, np.eye(n) - levels_and_line
    next_one = rest @ (np.eye(n, k=1) + np.eye(n, k=-1)) @ rest / 2
    rows = []
    for rho in _RHO:
        alike = rho ** np.abs(at[:, None] - at)
        b, w = (levels - 1 / n) @ alike, inside @ alike
        whole = float(np.trace(rest @ alike))
        lag = float(np.trace(next_one @ alike)) / whole
        off = (next_one - lag * rest) @ alike
        traces = [float(np.trace(M)) for M in (b, w)]
        worth = [t * t / float(np.trace(M @ M)) for t, M in zip(traces, (b, w), strict=True)]
        sd = math.sqrt(2 * float(np.trace(off @ off))) / whole
        rows.append((traces[0] / (parts - 1), traces[1] / (n - parts), *worth, lag, sd))
    between, within, above, below, lags, deviations = np.array(rows).T
    return _Law(between, within, above, below, lags, deviations, rest)


def left_of(values: Float64, parts: int = 3) -> Float64:
    """What a level for each part and one line through `(n,)` values leave, `(n,)`."""
    found: Float64 = _law(len(values), parts).rest @ values
    return found


def likely(left: Sequence[Float64], parts: int = 3) -> Float64:
    """How likely each correlation of neighbours is, given what `left_of` leaves of some sequences; `(19,)`.

    Sequences that leave alike, as those of models of one run do, count as one.
    """
    logs = np.log(np.where(_RHO == 0, _AT_ZERO, 0.0) + (1 - _AT_ZERO) * _fall())
    for n in sorted({len(values) for values in left}):
        together = np.array([v for v in left if len(v) == n and v @ v > 0])
        if len(together) and n > parts + 2:
            law, m = _law(n, parts), _worth(together, parts)
            squares = (together**2).sum(axis=1)
            lag = float(((together[:, 1:] * together[:, :-1]).sum(axis=1) / squares).mean())
            logs = logs - ((lag - law.lag) / law.deviation) ** 2 * m / 2 - np.log(law.deviation)
    shares = np.exp(logs - logs.max())
    found: Float64 = shares / shares.sum()
    return found


def _fall() -> Float64:
    falling = np.exp(-_RHO / _FALL)
    found: Float64 = falling / falling.sum()
    return found


def _worth(left: Float64, parts: int) -> float:
    """How many independent sequences some `(m, n)` are worth, by their squared correlations beyond chance."""
    m, n = left.shape
    unit = left / np.sqrt((left**2).sum(axis=1))[:, None]
    beyond = float(((unit @ unit.T) ** 2).sum()) - m - m * (m - 1) / (n - parts - 1)
    return float(m * m / (m + max(beyond, 0.0)))


def smooth_tail(statistic: float, n: int, shares: Float64, parts: int = 3) -> float:
    """P of an F of parts as large among n values, over the correlations of neighbours that are likely.

    Mean squares and their degrees of freedom are those of Box (1954); with all weight on 0 it is the F test.

    >>> alone = np.eye(19)[0]
    >>> round(smooth_tail(4.0, 24, alone), 4) == round(f_tail(4.0, 2, 21), 4)
    True
    """
    law = _law(n, parts)
    ratio = statistic * law.within / law.between
    tails = zip(shares.tolist(), ratio.tolist(), law.above.tolist(), law.below.tolist(), strict=True)
    return float(sum(s * f_tail(f, a, b) for s, f, a, b in tails if s > _LEAST_LEVEL))


def plain_level(alpha: float, n: int, shares: Float64, parts: int = 3) -> float:
    """The level at which the F test of independent values finds what `smooth_tail` finds at `alpha`."""
    low, high = 0.0, f_above(alpha, parts - 1, n - parts)
    while smooth_tail(high, n, shares, parts) > alpha and high < 1e9:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if smooth_tail(middle, n, shares, parts) > alpha else (low, middle)
    return max(f_tail(high, parts - 1, n - parts), _LEAST_LEVEL)
