"""How far the order of Layer Importance can be trusted: what of its scatter is not sampling error."""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Layers at either end that are drawn in to the next ones, and what that leaves of a normal variance.
_DRAWN_IN, _LEFT = 0.1, 0.679
# A normal quantile, and the variance of the logarithm of such a variance, times the number of layers.
_SURE, _OF_SPREAD = 1.15, 2.6
# Errors of fewer sequences are themselves hardly known.
FEWEST_SEQUENCES = 5


def reliability(values: Floats, errors: Floats, n: int) -> float:
    """The share of the scatter of values `(layers,)` that is not their sampling error, in [0, 1].

    1 − r, r = (median error)²/(variance, a tenth of the values at either end drawn in: one large value does
    not make the others known). 0 where r may be 1: where what both estimates leave open, errors of `n`
    sequences each and a variance over the layers, reaches that far.

    >>> round(reliability(np.arange(24.0), np.full(24, 1.0), 32), 2)
    0.98
    """
    low, high = np.quantile(values, [_DRAWN_IN, 1 - _DRAWN_IN])
    spread = float(np.clip(values, low, high).var(ddof=1)) / _LEFT
    error = float(np.median(errors)) ** 2
    if n < FEWEST_SEQUENCES or not (spread > 0 and math.isfinite(error)):
        return 0.0
    open_to = math.sqrt(_OF_SPREAD / len(values) + 2 / (n - 1))
    return 1.0 - error / spread if error * math.exp(_SURE * open_to) < spread else 0.0
