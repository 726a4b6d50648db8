"""The law by which cells of a map scatter, and which of them lie outside it."""

import math
from dataclasses import dataclass

import numpy as np

from tunescope.statistics.laws import t_above, t_tail
from tunescope.statistics.tails import FREEDOM, leading_outliers
from tunescope.statistics.types import Float64

# Tails that are told apart, as degrees of freedom of Student's law: from heavier than t₅ to nearly normal.
_TAILS = (3, 4, 5, 7, 10, 15, 25)
# A tail other than t₅ is taken where its log likelihood is better by this: a heavier one sooner.
_BETTER_LIGHT, _BETTER_HEAVY = 1.0, 0.5
# The share of the values that the tail is judged by.
_OUTER = 0.2
# Shares of the level: given the next largest value, against the law alone, and with the fitted lighter law.
_NEXT, _ALONE, _LIGHTER = 0.58, 0.38, 0.04
# Against the law alone a value must also be this many times rarer than the next largest.
_RARER = 20.0
# The gap below the leading values must also be rare at this level, by the gaps that follow it.
_GAP = 0.12
# Nothing is called rare by a lighter tail than this one unless the values show that they have it; nothing at
# all of few values, as whole layers are.
USUAL, FEW = FREEDOM, 4


@dataclass(frozen=True, slots=True)
class Scatter:
    """Student's law of the usual cells: degrees of freedom, and the scale in units of that of t₅."""

    freedom: int
    scale: float


def scatter_of(usual: Float64) -> Scatter:
    """The law of `(n,)` values in units of the scale of a t₅ law through their median.

    t₅ of scale 1 unless the outer values say otherwise: they decide by their likelihood, given that they are
    outer ones.

    >>> scatter_of(np.random.default_rng(0).standard_normal(2000)).freedom
    25
    """
    sizes = np.sort(np.abs(usual))
    outer = sizes[int((1 - _OUTER) * len(sizes)) :]
    if len(outer) < 2 or outer[0] <= 0:
        return Scatter(USUAL, 1.0)
    fits = {freedom: _likelihood(outer, freedom) for freedom in _TAILS}
    best = max(fits, key=lambda freedom: fits[freedom])
    better = fits[best] - fits[USUAL]
    if better < (_BETTER_HEAVY if best < USUAL else _BETTER_LIGHT):
        return Scatter(USUAL, 1.0)
    return Scatter(best, _scale(outer, best))


def _scale(outer: Float64, freedom: int) -> float:
    """The scale at which a t law has its outer share beyond the least of the outer values."""
    return float(outer[0]) / t_above(_OUTER / 2, freedom)


def _likelihood(outer: Float64, freedom: int) -> float:
    """Log likelihood of the outer values under a t law, given that they lie beyond the least of them."""
    scale = _scale(outer, freedom)
    constant = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(freedom * math.pi) / 2
    bends = float(np.log1p((outer / scale) ** 2 / freedom).sum())
    return len(outer) * (constant - math.log(scale)) - (freedom + 1) / 2 * bends


def standing_out(
    standard: Float64, most: int, alpha: float, among: Float64 | None = None
) -> tuple[int, float]:
    """How many of the largest of `(n,)` values lie outside their scatter, at level `alpha`, and that p.

    Three tests share the level by weights (Genovese, Roeder and Wasserman 2006): the leading values given the
    next largest under t₅, or under a heavier tail where the values have one; the largest against t₅ alone,
    for all n; the leading ones under a lighter tail that the values are fitted by, at a strict level, since
    a fit may err. `standard` is in units of the t₅ scale; they may be the largest of several each, of all
    those `among` which know the scatter.
    """
    if not most or len(standard) < 2:
        return 0, 1.0
    law, n = _law_of(standard, among), len(standard if among is None else among)
    heavy = law.freedom < USUAL
    found = [_given_next(standard, most, _NEXT * alpha, law if heavy else Scatter(USUAL, 1.0), _NEXT)]
    if not heavy:
        found += [_alone(standard, _ALONE, n), _given_next(standard, most, _LIGHTER * alpha, law, _LIGHTER)]
    # Of tests that find as many the one that is surest speaks.
    count, p = max(
        ((k, p) for k, p in found if p <= alpha), key=lambda test: (test[0], -test[1]), default=(0, 1.0)
    )
    return count, p


def _given_next(standard: Float64, most: int, level: float, law: Scatter, weight: float) -> tuple[int, float]:
    count, p = leading_outliers(standard / law.scale, most, level, law.freedom)
    return count, p / weight


def _alone(standard: Float64, weight: float, n: int) -> tuple[int, float]:
    """The largest value alone, against all n of them and far above the next."""
    second, first = np.partition(standard, len(standard) - 2)[-2:].tolist()
    tail = t_tail(first, USUAL)
    apart = t_tail(second, USUAL) >= _RARER * tail
    return 1, (n * tail / weight if apart else math.inf)


def _law_of(standard: Float64, among: Float64 | None) -> Scatter:
    """The law of all but the largest value: it is the one that is asked about, so it has no say."""
    values = standard if among is None else among
    return scatter_of(values[values < standard.max()])


def far_out(standard: Float64, most: int, alpha: float, among: Float64 | None = None) -> tuple[int, float]:
    """As `standing_out`, by the leading values given the next largest alone: under t₄ or a heavier tail."""
    if not most or len(standard) < 2:
        return 0, 1.0
    law = _no_lighter(_law_of(standard, among))
    return leading_outliers(standard / law.scale, most, alpha, law.freedom)


def standing_from(standard: Float64, alpha: float, among: Float64 | None = None) -> float:
    """From where on one more value beside these `(n,)` would be found by `standing_out`, in the same units.

    >>> values = np.random.default_rng(0).standard_normal(500)
    >>> edge = standing_from(values, 0.03)
    >>> [standing_out(np.append(values, edge * by), 1, 0.03)[0] for by in (0.98, 1.02)]
    [0, 1]
    """
    values = standard if among is None else among
    law, largest, n = scatter_of(values), float(standard.max()), len(values) + 1
    if law.freedom < USUAL:
        return _beyond(largest, _NEXT * alpha, law)
    plain = Scatter(USUAL, 1.0)
    alone = min(_ALONE * alpha / n, t_tail(largest, USUAL) / _RARER)
    return min(
        _beyond(largest, _NEXT * alpha, plain),
        t_above(alone, USUAL),
        _beyond(largest, _LIGHTER * alpha, law),
    )


def _beyond(largest: float, level: float, law: Scatter) -> float:
    tail = t_tail(largest / law.scale, law.freedom)
    return law.scale * t_above(level * tail / 2, law.freedom)


def standing_apart(
    standard: Float64, most: int, alpha: float, among: Float64 | None = None
) -> tuple[int, float, float]:
    """As `standing_out`, of few values whose law is hardly known: how many, that p, and the p of their gap.

    Two tests must agree: the leading values given the next largest, under t₄ or the heavier tail that the
    values have, at `alpha`; and the gap between them, by the gaps of the upper half, at 12 %.
    """
    order = np.sort(standard)[::-1]
    law = _no_lighter(_law_of(standard, among))
    for k in range(min(most, len(order) // 2 - 1), 0, -1):
        tail, beyond = (t_tail(float(x) / law.scale, law.freedom) for x in order[k - 1 : k + 1])
        p = min((2 * tail / beyond) ** k, 1.0) if beyond > 0 else 1.0
        if p <= alpha and (gap := _gap(order, k)) <= _GAP:
            return k, p, gap
    return 0, 1.0, 1.0


def _gaps(order: Float64, above: int = 0) -> Float64:
    """Gaps of the upper half of falling values, times their rank: alike for any exponential tail (Rényi).

    `above` values that are not among these lie above them all.
    """
    half = math.ceil((len(order) + above) / 2)
    gaps: Float64 = -np.diff(order)[: half - above] * np.arange(1 + above, half + 1)
    return gaps


def _gap(order: Float64, k: int) -> float:
    """P of the gap after k leading values: F(2, 2m) of it over the mean of m gaps that follow, times 2ᵏ."""
    gaps = _gaps(order)
    rest = gaps[k:]
    ratio = float(gaps[k - 1]) / max(float(rest.mean()), 1e-12)
    return float(min(2**k * (1 + ratio / len(rest)) ** -len(rest), 1.0))


def _no_lighter(law: Scatter) -> Scatter:
    return law if law.freedom < FEW else Scatter(FEW, 1.0)


def apart_from(standard: Float64, alpha: float, among: Float64 | None = None) -> float:
    """From where on one more value beside these `(n,)` would be found by `standing_apart`, in the same units.

    >>> values = np.random.default_rng(0).standard_normal(40)
    >>> edge = apart_from(values, 0.02)
    >>> [standing_apart(np.append(values, edge * by), 1, 0.02)[0] for by in (0.98, 1.02)]
    [0, 1]
    """
    order = np.sort(standard)[::-1]
    rest = _gaps(order, above=1)
    needed = len(rest) * float(rest.mean()) * ((_GAP / 2) ** (-1 / len(rest)) - 1)
    return float(
        max(
            float(order[0]) + needed,
            _beyond(float(order[0]), alpha, _no_lighter(scatter_of(standard if among is None else among))),
        )
    )
