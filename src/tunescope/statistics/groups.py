"""Do the early, middle and late part of a sequence differ in level?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunescope.statistics.laws import NINE_IN_TEN, f_tail, visible_noncentrality
from tunescope.statistics.neighbours import cuts, left_of, likely, plain_level, smooth_tail
from tunescope.statistics.randomness import generator_of
from tunescope.statistics.types import Float64

_DRAWS = 2000
_NONE = 1e-12


@dataclass(frozen=True, eq=False, slots=True)
class Parts:
    """Means of consecutive parts, and how they stand against chance.

    `p` is that of the F test (values as independent draws of one spread); `p_exchanged` the share of random
    orders of the sequence in which the parts differ as much; `spread` the standard deviation within parts;
    `left` what parts and a line leave of the values, from which one reads how alike neighbours are.
    """

    means: tuple[float, ...]
    statistic: float
    p: float
    p_exchanged: float
    spread: float
    left: Float64


def smooth_p(found: Sequence[Parts], gate: float = 0.05) -> list[float]:
    """The p of sequences whose neighbours may be alike, as far as all of them together let one think so.

    Above `gate` it is that of the F test, which is lower.
    """
    shares = likely([parts.left for parts in found]) if any(parts.p <= gate for parts in found) else None
    return [
        parts.p
        if parts.p > gate or shares is None
        else max(smooth_tail(parts.statistic, len(parts.left), shares, len(parts.means)), parts.p)
        for parts in found
    ]


def smooth_levels(found: Sequence[Parts], alpha: float) -> list[float]:
    """The levels of the F test at which `smooth_p` of each is `alpha`."""
    shares = likely([parts.left for parts in found])
    sizes = {len(parts.left) for parts in found}
    level = {n: plain_level(alpha, n, shares) for n in sizes}
    return [level[len(parts.left)] for parts in found]


def parts_differ(values: Float64, parts: int = 3, gate: float = 0.05) -> Parts:
    """Hold the means of consecutive parts of `(n,)` values against each other.

    The values are exchanged as wholes, so what several kinds of weight of a layer have in common stays
    together where a value is a layer's mean. Random orders are drawn only where the F test is below `gate`,
    else `p_exchanged` is `p`. At least one more value than parts.
    """
    n, edges = len(values), cuts(len(values), parts)
    sizes = np.diff(edges)
    means = np.add.reduceat(values, edges[:-1]) / sizes
    between = float(sizes @ (means - values.mean()) ** 2)
    within = float(((values - np.repeat(means, sizes)) ** 2).sum())
    floor = _NONE * max(float((values**2).sum()), 1.0)
    left = left_of(values, parts)
    if between <= floor:
        return Parts(tuple(means.tolist()), 0.0, 1.0, 1.0, math.sqrt(max(within, 0.0) / (n - parts)), left)
    spread = math.sqrt(max(within, floor) / (n - parts))
    statistic = between / (parts - 1) / spread**2
    p = f_tail(statistic, parts - 1, n - parts)
    exchanged = p if p > gate else _exchanged(values, edges, between)
    return Parts(tuple(means.tolist()), statistic, p, exchanged, spread, left)


def _exchanged(values: Float64, edges: list[int], between: float) -> float:
    orders = generator_of(values).permuted(np.tile(values, (_DRAWS, 1)), axis=1)
    sizes = np.diff(edges)
    means = np.add.reduceat(orders, edges[:-1], axis=1) / sizes
    drawn = ((means - values.mean()) ** 2) @ sizes
    return float((1 + np.count_nonzero(drawn >= between * (1 - 1e-9))) / (1 + _DRAWS))


def visible_difference(n: int, spread: float, alpha: float, power: float = 0.9, parts: int = 3) -> float:
    """The least lead of one part over the others that the F test at `alpha` finds with `power`.

    In the unit of `spread`; infinite where n is too small for any.
    """
    if n <= parts + 1 or not math.isfinite(spread):
        return math.inf
    centre = visible_noncentrality(alpha, parts - 1, n - parts, power)
    # One of `parts` equal parts of size n/parts ahead by δ: noncentrality n δ² (parts − 1)/(parts² σ²).
    return spread * math.sqrt(centre * parts**2 / (n * (parts - 1)))


def visible_lead(n: int, spread: float, alpha: float, least: float) -> float:
    """The factor by which a third of n layers must lead to be found nine times in ten.

    `spread` is that of the layers' logarithms; found is a lead that passes the F test at `alpha` and is
    measured above `least`. Infinite where n is too small.

    >>> round(visible_lead(24, 0.05, 0.03, 1.25), 2)
    1.29
    """
    test = visible_difference(n, spread, alpha)
    size = math.log(least) + NINE_IN_TEN * spread * math.sqrt(6 / max(n, 1))
    return math.exp(max(test, size)) if test < math.log(1e6) else math.inf
