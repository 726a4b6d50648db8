"""Do two orders of layers or tensors surely disagree? Bounds on rank correlations."""

import math

from scipy import stats

# Spearman below which two orders disagree.
DISAGREE = 0.5
FEWEST_CELLS = 20
# Neighbouring layers are alike: so many of them count as one draw.
ALIKE = 2
# Correlations of two methods that have a bound at once.
BOUNDS = 10


def upper_spearman(rho: float, n: float, tests: int = 1) -> float:
    """One-sided 95 % upper bound of `tests` rank correlations over n independent pairs, Fisher's transform.

    The standard error is √(1.06/(n − 3)) [Fieller et al. 1957]; 1 where n is too small for one.

    >>> round(upper_spearman(0.2, 30), 2)
    0.48
    """
    if n <= 3 or abs(rho) >= 1:
        return rho if n > 3 else 1.0
    return math.tanh(math.atanh(rho) + stats.norm.isf(0.05 / tests) * math.sqrt(1.06 / (n - 3)))


def disagree_from(cells: int) -> tuple[float, float] | None:
    """The Spearman over so many cells below which two methods surely disagree, and its error after Fisher."""
    n = cells / ALIKE
    if cells < FEWEST_CELLS or n <= 3:
        return None
    error = math.sqrt(1.06 / (n - 3))
    return math.tanh(math.atanh(DISAGREE) - float(stats.norm.isf(0.05 / BOUNDS)) * error), error
