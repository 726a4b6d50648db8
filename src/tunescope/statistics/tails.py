"""How rare a value is under laws with heavier tails than the normal one."""

import numpy as np

from tunescope.statistics.laws import t_above, t_tail
from tunescope.statistics.types import Float64

# Cells of a map of norms scatter with heavy tails; 5 degrees of freedom have a kurtosis of 9.
FREEDOM = 5
_MEDIAN_OF_ABSOLUTE_T5 = t_above(0.25, FREEDOM)


def t5_scale(residuals: Float64) -> float:
    """The scale of a t₅ law through the median of the absolute residuals, which outliers do not move.

    Not below 1e-6, so that residuals of rounding alone are none.
    """
    return max(float(np.median(np.abs(residuals))) / _MEDIAN_OF_ABSOLUTE_T5, 1e-6)


def leading_outliers(
    standard: Float64, most: int, alpha: float, freedom: float = FREEDOM
) -> tuple[int, float]:
    """How many of the largest values are too far above the next one for Student's law, and the p of that.

    `standard` is `(n,)`, in units of the law's scale. Given the (k+1)th largest, the k largest are draws
    from the law's tail beyond it, so P(all k > x) = (S(x)/S(y))ᵏ with y that value: this holds for any n, and
    a scatter lighter than the law shows in y. Of k = 1 … `most` the largest is taken whose p stays below
    α/2ᵏ, which add up to α; the p given is multiplied by 2ᵏ.

    >>> leading_outliers(np.array([0.1, -0.3, 1.2, 40.0, 0.8, 2.0, 35.0]), 3, 0.025)[0]
    2
    """
    order = np.sort(standard)[::-1][: most + 1].tolist()
    found, p = 0, 1.0
    for k in range(1, len(order)):
        tail, beyond = t_tail(order[k - 1], freedom), t_tail(order[k], freedom)
        adjusted = min((2 * tail / beyond) ** k, 1.0) if beyond > 0 else 1.0
        if adjusted <= alpha:
            found, p = k, adjusted
    return found, p


def phi_tail(phi: float | Float64, d: int) -> Float64:
    """P(Φ ≥ φ) of φ(1, 1), the squared cosine of two random directions of R^d: Beta(½, (d − 1)/2).

    Exact. The normal law of the same mean and deviation is far off: P(z > 3) is 2.2 %, not 0.1 %.

    >>> d = 768
    >>> z3 = 1 / d + 3 * np.sqrt(2 * (d - 1) / (d**2 * (d + 2)))
    >>> float(round(phi_tail(z3, d), 3))
    0.022
    """
    # Deferred: SciPy takes long to import, and only directions need this law of arrays.
    from scipy import special

    found: Float64 = special.betainc((d - 1) / 2, 0.5, 1 - np.clip(np.asarray(phi, np.float64), 0.0, 1.0))
    return found
