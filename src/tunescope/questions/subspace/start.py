"""Did two adapters start from one random matrix A?"""

import math

import numpy as np

from tunescope.delta import Array
from tunescope.linalg.gram import gram_rows, wide
from tunescope.questions.subspace.directions import Directions

# An A whose rows are orthogonal to this is in a canonical form: its entries are no longer those of a start.
_ORTHOGONAL = 1e-3


def start_cosine(a: Directions, b: Directions) -> float | None:
    """⟨A, A'⟩/(‖A‖‖A'‖), entry by entry and without a rotation; in [−1, 1].

    Two random starts give 0 ± 1/√(r d); two that came to span the same directions by learning, each in a
    basis of its own, 0 ± 1/r; one start 1, less what training has moved. `None` where the shapes differ, or
    where an A has orthogonal rows, as a factor that went through an SVD has: then its basis is not its own.
    """
    one, other = a.A, b.A
    if one is None or other is None or one.shape != other.shape:
        return None
    first, second = _scaled(one), _scaled(other)
    if first is None or second is None or (len(first) > 1 and (_canonical(first) or _canonical(second))):
        return None
    x, y = first.astype(np.float64, copy=False), second.astype(np.float64, copy=False)
    return float(np.vdot(x, y) / math.sqrt(np.vdot(x, x) * np.vdot(y, y)))


def _scaled(A: Array) -> Array | None:
    """A over its largest entry, so that no square leaves the range of its type; None for zeros."""
    values = wide(A)
    largest = np.abs(values).max()
    return values / largest if largest else None


def _canonical(A: Array) -> bool:
    gram = gram_rows(A)
    sizes = np.sqrt(np.diagonal(gram))
    if not (sizes > 0).all():
        return False
    cosines = gram / np.outer(sizes, sizes)
    np.fill_diagonal(cosines, 0.0)
    return bool(np.abs(cosines).max() < _ORTHOGONAL)
