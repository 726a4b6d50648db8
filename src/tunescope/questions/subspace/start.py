"""Did two adapters start from one random matrix A?"""

import numpy as np

from tunescope.delta import Array
from tunescope.linalg.gram import frobenius, wide
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
    first, second = (wide(M).astype(np.float64) for M in (one, other))
    if len(first) > 1 and (_canonical(first) or _canonical(second)):
        return None
    sizes = frobenius(first), frobenius(second)
    if not all(sizes):
        return None
    return float(np.vdot(first / sizes[0], second / sizes[1]))


def _canonical(A: Array) -> bool:
    scaled = A / (np.abs(A).max() or 1.0)
    gram = scaled @ scaled.T
    sizes = np.sqrt(np.diagonal(gram))
    if not (sizes > 0).all():
        return False
    cosines = gram / np.outer(sizes, sizes)
    np.fill_diagonal(cosines, 0.0)
    return bool(np.abs(cosines).max() < _ORTHOGONAL)
