"""Whether two whole models moved one weight the same way, from a stream of both differences."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Pair
from tunescope.linalg.differences import UNIT

Float64 = NDArray[np.float64]


def alignment(a: Pair, b: Pair) -> dict[str, Any]:
    """`inner` ⟨ΔW, ΔW'⟩, `norm_a`, `norm_b`, and whether both differences are `identical`.

    >>> from tunescope.delta import InMemory
    >>> zero, one = InMemory(np.zeros(4)), InMemory(np.ones(4))
    >>> alignment(Pair(zero, one), Pair(zero, one))["inner"]
    4.0
    """
    size = min(a.after.size, b.after.size)
    inner = squares_a = squares_b = 0.0
    same = a.after.size == b.after.size
    for start in range(0, size, UNIT):
        stop = min(start + UNIT, size)
        mine, theirs = _difference(a, start, stop), _difference(b, start, stop)
        inner += float(np.einsum("i,i->", mine, theirs))
        squares_a += float(np.einsum("i,i->", mine, mine))
        squares_b += float(np.einsum("i,i->", theirs, theirs))
        same = same and np.array_equal(mine, theirs)
    return {
        "inner": inner,
        "norm_a": math.sqrt(squares_a),
        "norm_b": math.sqrt(squares_b),
        "identical": bool(same),
    }


def _difference(pair: Pair, start: int, stop: int) -> Float64:
    before, after = (values.part(start, stop) for values in (pair.before, pair.after))
    with np.errstate(invalid="ignore"):
        return np.asarray(after.astype(np.float64) - before.astype(np.float64))
