"""What random subspaces have in common: tails of φ, and how many principal directions come near."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tunescope.linalg.overlap import chance_edge

Float64 = NDArray[np.float64]

# Where chance comes this near to 1 no level lies above it, and directions are counted above `NEAR`.
NEAR = 0.99
# Draws of random subspaces: many of small ones; of large ones few are alike enough.
_WORK, _MOST, _LEAST = 6400, 400, 24
# Where the edge of chance lies this low in a space this large, none of so many draws comes near the level.
_LOW, _LARGE, _NEVER = 0.5, 64, 10_000


def trace_variance(i: Float64, j: Float64, d: int) -> Float64:
    """Variance of ‖UᵀV‖_F² of random subspaces of `R^d` with i and j dimensions."""
    found: Float64 = 2 * i * j * (d - i) * (d - j) / (d * d * max(d - 1, 1) * (d + 2.0))
    return found


def phi_tail(phi: Float64, i: Float64, j: Float64, d: int, of_trace: Float64 | None = None) -> Float64:
    """P(Φ ≥ φ) for φ(i, j) of random subspaces of `R^d`; arrays that broadcast, the result in [0, 1].

    For min(i, j) = 1 the law is Beta(max/2, (d − max)/2), and this is exact. Else it is the Beta law on
    [max(0, i + j − d)/min, 1] that has φ's own mean and variance; simulated tails down to 1e-3 agree with it
    to 20 % for r = 2 to 64 and d = 8 to 1024. 1 where one of the spans is the whole space. φ's z is far from
    normal for few directions: P(z > 3) is 2.2 % at φ(1, 1). `of_trace` is another variance of φ min(i, j), as
    that of random placements.

    >>> z3 = 1 / 768 + 3 * math.sqrt(2 * 767 / (768**2 * 770))
    >>> float(np.round(phi_tail(np.array(z3), np.array(1.0), np.array(1.0), 768), 3))
    0.022
    """
    small, large = np.minimum(i, j), np.maximum(i, j)
    free = (large < d) & (d > 1)
    low = np.maximum(0.0, i + j - d) / small
    span = np.where(free, 1 - low, 1.0)
    mean = (large / d - low) / span
    of_trace = trace_variance(i, j, d) if of_trace is None else of_trace
    variance = of_trace / small**2 / span**2
    weight = mean * (1 - mean) / np.where(free & (variance > 0), variance, 1.0) - 1
    usable = free & (weight > 0)
    a, b = np.where(usable, mean * weight, 1.0), np.where(usable, (1 - mean) * weight, 1.0)
    # The upper tail through 1 − x, which keeps its digits where φ is near 1.
    rest = np.clip((1 - phi) / span, 0.0, 1.0)
    tail: Float64 = np.where(usable, special.betainc(b, a, rest), 1.0)
    return tail


def level(k: int, other: int, d: int) -> float:
    """The cos² from which a principal direction counts as shared: half of what the edge leaves to 1.

    Where the edge lies above 0.8, the level is 0.9, or a quarter of the rest above the edge, but at most
    `NEAR`: there the count is held against the one that chance gives.

    >>> [round(level(16, 16, d), 3) for d in (768, 48, 32)]
    [0.541, 0.917, 0.99]
    """
    edge = chance_edge(k, other, d)
    half, quarter = edge + 0.5 * (1 - edge), edge + 0.25 * (1 - edge)
    return half if half <= 0.9 else min(max(0.9, quarter), NEAR)


@lru_cache(maxsize=256)
def counts(k: int, other: int, d: int) -> tuple[float, float, int]:
    """Mean and standard deviation of the number of principal cos² above `level` between random subspaces.

    By simulation, with the number of draws last; one seed, so that the same shapes give the same numbers.

    >>> mean, deviation, _ = counts(64, 64, 128)
    >>> bool(4 < mean < 4.7 and 0.4 < deviation < 0.8)
    True
    """
    few, many = sorted((k, other))
    if many >= d:
        return float(few), 0.0, 1
    if chance_edge(k, other, d) <= _LOW and d >= _LARGE:
        return 0.0, 0.0, _NEVER
    draws = max(_LEAST, min(_MOST, _WORK // few))
    random, above = np.random.default_rng(0), np.empty(draws)
    limit = level(k, other, d)
    for n in range(draws):
        top = _triangle(random, few, many)
        both = np.linalg.qr(np.vstack([top, _triangle(random, few, d - many)]))[0]
        squares = np.linalg.svd(both[: len(top)], compute_uv=False) ** 2
        above[n] = np.count_nonzero(squares >= limit)
    return float(above.mean()), float(above.std()), draws


def _triangle(random: np.random.Generator, k: int, freedom: int) -> Float64:
    """A matrix whose Gram has the Wishart law of a Gaussian `(freedom, k)` one [Bartlett 1933]."""
    if freedom < k:
        return random.standard_normal((freedom, k))
    R = np.triu(random.standard_normal((k, k)), 1)
    R[np.diag_indices(k)] = np.sqrt(random.chisquare(freedom - np.arange(k)))
    return R


def count_tail(found: int, k: int, other: int, d: int) -> float:
    """Upper bound of P(as many principal cos² above `level` by chance), Bennett's inequality.

    The eigenvalues repel one another, so their count scatters less than one of independent events
    [Soshnikov 2000], for which the bound holds. The variance is taken no smaller than the draws can tell.
    """
    return 1.0 if max(k, other) >= d else beyond(found, *counts(k, other, d))


def beyond(found: int, mean: float, deviation: float, draws: int) -> float:
    """Bennett's bound of P(a count as high as `found`), from draws of it."""
    ahead = found - mean
    if ahead <= 0:
        return 1.0
    variance = max(deviation**2 * 1.5, 1.0 / draws)
    ratio = ahead / variance
    return math.exp(-variance * ((1 + ratio) * math.log1p(ratio) - ratio))
