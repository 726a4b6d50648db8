"""Where a scale of colours ends, so that a few cells far beyond all others do not set it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

# A few are at most one in a hundred, or one. They are left beyond where the largest is half as large again as
# the rest, and they end at the widest gap; the page's script follows the same rule.
FEW, APART, LEAST = 0.01, 1.5, 8


@dataclass(frozen=True, slots=True)
class Clipped:
    """The end of a scale, how many values lie beyond it, and the largest of them."""

    limit: float
    beyond: int
    largest: float


def clipped(values: Sequence[Float64]) -> Clipped | None:
    """The end that a few large values do not set; `None` where none lies far beyond the others.

    >>> clipped([np.array([1.0, 1.1, 1.2, 1.0, 0.9, 1.1, 1.3, 9.0])])
    Clipped(limit=1.3, beyond=1, largest=9.0)
    >>> clipped([np.array([1.0, 1.1, 1.2, 1.0, 0.9, 1.1, 1.3, 1.4])]) is None
    True
    """
    finite = np.concatenate([v[np.isfinite(v)].ravel() for v in values]) if values else np.array([])
    sizes = np.sort(np.abs(finite))[::-1]
    most = max(1, int(FEW * sizes.size))
    if sizes.size < LEAST or sizes[most] <= 0:
        return None
    rest = sizes[1 : most + 1]
    gaps = np.where(sizes[0] >= APART * rest, sizes[:most] / rest, 0.0)
    if not gaps.any():
        return None
    beyond = int(gaps.argmax()) + 1
    return Clipped(float(sizes[beyond]), beyond, float(sizes[0]))
