"""Which combinations of coefficients can be told where updates depend on each other linearly.

Of Σⱼ cⱼ ΔWⱼ with ΔWⱼ = Σᵢ Fᵢⱼ ΔWᵢ for some independent ones i only the sums F c can be told: adding to c
what F maps to zero changes nothing.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Float64 = NDArray[np.float64]

# A share of an update's norm below which a part of it is none, where dependence is exact but for rounding.
_TRACE = 1e-5
# So near to a whole number a weight is that number.
_WHOLE = 1e-6
# Of what a sum would come to without signs, the least that it is divided by.
_LEAST = 0.1


def cosines(gram: Float64) -> Float64:
    """Of ⟨ΔWᵢ, ΔWⱼ⟩ the cosines; one that is zero is orthogonal to all others."""
    sizes = np.sqrt(np.diagonal(gram))
    found: Float64 = gram / np.where(sizes > 0, sizes, 1.0) / np.where(sizes > 0, sizes, 1.0)[:, None]
    np.fill_diagonal(found, 1.0)
    return found


def independent(gram: Float64, limit: float) -> bool:
    """Whether the condition of the cosines is at most `limit`."""
    return bool(np.linalg.cond(cosines(gram)) <= limit)


def functionals(gram: Float64, limit: float) -> Float64:
    """F (m, k) from the Gram matrix (k, k) of updates, in the order in which they stand.

    An update that makes the condition of the cosines exceed `limit` depends on those before it. Every row has
    a 1 at the independent update that it begins with.

    >>> functionals(np.array([[1.0, -2.0], [-2.0, 4.0]]), 1e4)
    array([[ 1., -2.]])
    """
    unit, sizes = cosines(gram), np.sqrt(np.diagonal(gram))
    chosen: list[int] = []
    for j in range(len(gram)):
        tried = np.ix_([*chosen, j], [*chosen, j])
        if np.linalg.cond(unit[tried]) <= limit:
            chosen.append(j)
    F = np.zeros((len(chosen), len(gram)))
    F[range(len(chosen)), chosen] = 1.0
    among = unit[np.ix_(chosen, chosen)]
    for j in (j for j in range(len(gram)) if j not in chosen):
        shares = np.linalg.solve(among, unit[chosen, j])
        rest = np.sqrt(max(1.0 - float(shares @ unit[chosen, j]), 0.0))
        shares[np.abs(shares) <= max(rest, _TRACE)] = 0.0
        F[:, j] = shares * sizes[j] / sizes[chosen]
    whole = np.rint(F)
    return np.where((whole != 0) & (np.abs(F - whole) < _WHOLE), whole, F)


def directions(F: Float64, expected: Float64) -> Float64:
    """T (m, k): row i of T ΔW is the update that (F c)ᵢ is the coefficient of.

    Where updates depend on each other but nearly, Σᵢ (F c)ᵢ (T ΔW)ᵢ is Σⱼ cⱼ ΔWⱼ for the expected c.

    >>> F = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    >>> directions(F, np.zeros(3))
    array([[1., 0., 0.],
           [0., 1., 0.]])
    """
    begun = [_beginning(F, i) for i in range(len(F))]
    T = np.zeros_like(F)
    for i, own in enumerate(begun):
        if own is not None:
            T[i, own] = 1.0
    sums, sizes = F @ expected, np.abs(F) @ np.abs(expected)
    for j in (j for j in range(F.shape[1]) if j not in begun and F[:, j].any()):
        home = int(np.argmax(np.abs(F[:, j])))
        rest = np.zeros(F.shape[1])
        rest[j] = 1.0
        for i, own in enumerate(begun):
            if own is not None:
                rest[own] -= F[i, j]
        if abs(sums[home]) > _LEAST * sizes[home]:
            T[home] += expected[j] / sums[home] * rest
        elif begun[home] is None and not T[home].any():
            T[home] = rest / F[home, j]
    return T


def _beginning(F: Float64, i: int) -> int | None:
    """The update that a row begins with, where it stands in no other row."""
    first = int(np.flatnonzero(F[i])[0])
    return first if F[i, first] == 1.0 and np.count_nonzero(F[:, first]) == 1 else None
