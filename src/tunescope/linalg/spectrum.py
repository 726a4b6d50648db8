"""The singular values of `BA` without multiplying it out, and the numbers read off a spectrum."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg.gram import core, frobenius, gram_columns, gram_rows, in_range, norms_from_grams, wide

Array = NDArray[Any]
Float64 = NDArray[np.float64]

# A Cholesky factor of a unit-diagonal Gram with a smaller pivot is taken from a QR instead.
PIVOT = 1e-5
# ‖LᵀK‖ and ‖BA‖ are computed in two ways; they agree to this unless digits were lost.
AGREEMENT = 1e-10


def product_spectrum(B: Array, A: Array) -> tuple[Float64, tuple[float, float, float]]:
    """Singular values of `BA` (descending, `min(r, d_out, d_in)` of them) and the norms ‖BA‖, ‖A‖, ‖B‖.

    With `BᵀB = LLᵀ` and `AAᵀ = KKᵀ` (products in float64, diagonals scaled to one) they are those of the
    r × r matrix `LᵀK`; a nearly dependent factor goes through the thin QRs.

    >>> product_spectrum(np.eye(3)[:, :2] * 2.0, np.eye(2, 4))[0]
    array([2., 2.])
    """
    with np.errstate(all="ignore"):
        columns, rows = gram_columns(B, exact=True), gram_rows(A, exact=True)
        norms = norms_from_grams(columns, rows, B, A)
    count = min(len(rows), len(B), A.shape[1])
    if not all(map(math.isfinite, norms)):
        return np.full(count, math.nan), norms
    L, K = _cholesky(columns), _cholesky(rows)
    matrix, exponent = (core(B, A)) if L is None or K is None else (L.T @ K, 0)
    # Where the large directions of B and A cancel, the small ones that remain are not in the Grams.
    if exponent == 0 and abs(frobenius(matrix) - norms[0]) > AGREEMENT * norms[0]:
        matrix, exponent = core(B, A)
    return np.ldexp(_values(matrix)[:count], exponent), norms


def _cholesky(gram: Float64) -> Float64 | None:
    if not in_range(gram):
        return None
    sizes = np.sqrt(np.diagonal(gram))
    try:
        lower = np.linalg.cholesky(gram / np.outer(sizes, sizes))
    except np.linalg.LinAlgError:
        return None
    return None if np.diagonal(lower).min() < PIVOT else sizes[:, None] * lower


def dense_spectrum(matrix: Array) -> Float64:
    """Singular values of a matrix in float64, descending; NaN where an element is not finite."""
    values = wide(matrix).astype(np.float64)
    if not np.isfinite(values).all():
        return np.full(min(values.shape), math.nan)
    return _values(values)


def _values(matrix: Float64) -> Float64:
    return np.asarray(np.linalg.svd(matrix, compute_uv=False), dtype=np.float64)


def stable_rank(values: Float64) -> float:
    """‖M‖_F²/σ₁² in [1, rank]; NaN for a zero matrix.

    >>> stable_rank(np.array([1.0, 1.0, 0.0]))
    2.0
    """
    return _of_energy(values, lambda energy: float(energy.sum()))


def participation_ratio(values: Float64) -> float:
    """(Σσ²)²/Σσ⁴ in [1, rank]; NaN for a zero matrix."""
    return _of_energy(values, lambda energy: float(energy.sum() ** 2 / (energy**2).sum()))


def effective_rank(values: Float64) -> float:
    """exp of the entropy of σ/Σσ, in [1, rank] [Roy & Vetterli 2007]; NaN for a zero matrix.

    >>> round(effective_rank(np.array([1.0, 1.0, 0.0])), 12)
    2.0
    """
    total = values.sum()
    if not total > 0:
        return math.nan
    p = values[values > 0] / total
    return float(np.exp(-(p * np.log(p)).sum()))


def energy_rank(values: Float64, share: float) -> float:
    """Least k with Σ_{i≤k} σ² at least `share` of Σσ²; NaN for a zero matrix.

    >>> energy_rank(np.array([3.0, 1.0]), 0.9)
    1.0
    """

    def least(energy: Float64) -> float:
        cumulative = np.cumsum(energy)
        # The last sum is the whole; a rounding above it must not hide the rank.
        return float(np.searchsorted(cumulative, share * cumulative[-1] * (1 - 1e-12)) + 1)

    return _of_energy(values, least)


def _of_energy(values: Float64, measure: Any) -> float:
    top = values.max(initial=0.0)
    return measure((values / top) ** 2) if top > 0 else math.nan
