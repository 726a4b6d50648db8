"""Tails of Student's t, F and normal laws, and their quantiles.

SciPy has all of them; importing what it needs for that takes longer than measuring an adapter. The tests hold
these against SciPy's to 1e-10.
"""

import math
from collections.abc import Callable
from functools import lru_cache

_STEPS, _ROUNDING, _TINY = 10_000, 1e-17, 1e-300
_MOST = 1e4

# What a normal law stays below nine times in ten.
NINE_IN_TEN = 1.2816


def beta_share(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction [DLMF 8.17.22].

    >>> round(beta_share(2.0, 3.0, 0.4), 12)
    0.5248
    """
    return _share(a, b, x, 1.0 - x)


def _share(a: float, b: float, x: float, rest: float) -> float:
    """`beta_share` with 1 − x at hand, which keeps its digits where x is close to 1."""
    if not (x > 0 and rest > 0):
        return math.nan if math.isnan(x) else float(x > 0)
    # The fraction converges quickly on the side of the mean where x is.
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _share(b, a, rest, x)
    return math.exp(_logs(a, b, x, rest)) / a / _fraction(a, b, x)


def _logs(a: float, b: float, x: float, rest: float) -> float:
    """log of x^a (1 − x)^b/B(a, b)."""
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return scale + a * math.log(x) + b * math.log(rest)


def _fraction(a: float, b: float, x: float) -> float:
    """1 + d₁/(1 + d₂/(1 + …)) from the front, by Lentz's rule."""
    value, numerator, denominator = 1.0, 1.0, 0.0
    for i in range(1, _STEPS):
        m, odd = divmod(i, 2)
        if odd:
            factor = -(a + m) * (a + b + m) / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            factor = m * (b - m) / ((a + 2 * m - 1) * (a + 2 * m))
        denominator = 1.0 / (1.0 + factor * x * denominator or _TINY)
        numerator = 1.0 + factor * x / numerator or _TINY
        step = numerator * denominator
        value *= step
        if abs(step - 1.0) < 4e-16:
            break
    return value


def t_tail(t: float, freedom: float) -> float:
    """P(T ≥ t) of Student's law.

    >>> t_tail(0.0, 3)
    0.5
    """
    if math.isinf(t):
        return float(t < 0)
    whole = freedom + t * t
    both = _share(freedom / 2, 0.5, freedom / whole, t * t / whole)
    return both / 2 if t >= 0 else 1.0 - both / 2


def f_tail(f: float, above: float, below: float) -> float:
    """P(F ≥ f) of the F law with `above` and `below` degrees of freedom."""
    if f <= 0:
        return 1.0
    whole = below + above * f
    return _share(below / 2, above / 2, below / whole, above * f / whole)


def normal_tail(z: float) -> float:
    """P(Z ≥ z) of the normal law."""
    return math.erfc(z / math.sqrt(2)) / 2


@lru_cache(maxsize=4096)
def t_above(p: float, freedom: float) -> float:
    """The t that Student's law exceeds with probability `p`, in (0, 1)."""
    if p > 0.5:
        return -t_above(1.0 - p, freedom)
    return _where(lambda t: t_tail(t, freedom), p)


@lru_cache(maxsize=4096)
def f_above(p: float, above: float, below: float) -> float:
    """The f that the F law exceeds with probability `p`, in (0, 1)."""
    return _where(lambda f: f_tail(f, above, below), p)


def _where(tail: Callable[[float], float], p: float) -> float:
    """Where a tail that falls from 0 on takes the value `p`, to the last digit but one."""
    low, high = 0.0, 1.0
    while tail(high) > p and high < 1e300:
        low, high = high, high * 4
    while high - low > 4e-16 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if tail(middle) > p else (low, middle)
    return (low + high) / 2


@lru_cache(maxsize=4096)
def visible_noncentrality(alpha: float, above: float, below: float, power: float) -> float:
    """The noncentrality at which the F test at `alpha` rejects with probability `power`, at most 1e4."""
    critical = f_above(alpha, above, below)

    def missed(centre: float) -> float:
        return _noncentral_share(critical, above, below, centre)

    return _MOST if missed(_MOST) > 1.0 - power else _where(missed, 1.0 - power)


def _noncentral_share(f: float, above: float, below: float, centre: float) -> float:
    """P(F < f) with noncentrality `centre`: beta laws mixed by a Poisson law of mean centre/2."""
    whole = below + above * f
    x, rest = above * f / whole, below / whole
    a, b, mean = above / 2, below / 2, centre / 2
    share, total = _share(a, b, x, rest), 0.0
    # I_x(a + 1, b) = I_x(a, b) − x^a (1 − x)^b/(a B(a, b)).
    fall = math.exp(_logs(a, b, x, rest)) / a
    for j in range(_STEPS):
        weight = math.exp(j * math.log(mean) - mean - math.lgamma(j + 1)) if mean > 0 else float(j == 0)
        total += weight * share
        if share < _ROUNDING or (j > mean and weight < _ROUNDING):
            break
        share = max(share - fall, 0.0)
        fall *= x * (a + b + j) / (a + 1 + j)
    return total
