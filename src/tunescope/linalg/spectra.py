"""Spectra and norms of many small low-rank products of one shape at once.

The same arithmetic as `spectrum.product_spectrum`, on stacks: for a factor of some thousand values the calls
of NumPy cost many times what they compute.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg.gram import CANCELLATION, product_frobenius, wide
from tunescope.linalg.spectrum import AGREEMENT, PIVOT, product_spectrum

Array = NDArray[Any]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]
Spectrum = tuple[Float64, tuple[float, float, float]]

# Rows of a factor multiplied at once, as for one product.
_BLOCK = 512


def product_spectra(factors: Sequence[tuple[Array, Array]]) -> list[Spectrum]:
    """`product_spectrum` of each of the factors `B (d_out, r)`, `A (r, d_in)`, all of one shape.

    >>> one = (np.eye(3)[:, :2] * 2.0, np.eye(2, 4))
    >>> [values.tolist() for values, _ in product_spectra([one, one])]
    [[2.0, 2.0], [2.0, 2.0]]
    """
    values, norms = stacked_spectra(factors)
    return [(row, (n[0], n[1], n[2])) for row, n in zip(values, norms.tolist(), strict=True)]


def stacked_spectra(factors: Sequence[tuple[Array, Array]]) -> tuple[Float64, Float64]:
    """The same as two arrays: singular values `(n, k)`; the norms of BA, of A and of B `(n, 3)`.

    >>> values, norms = stacked_spectra([(np.eye(3)[:, :2] * 2.0, np.eye(2, 4))])
    >>> values.tolist(), round(float(norms[0, 0] ** 2), 6)
    ([[2.0, 2.0]], 8.0)
    """
    values, norms, plain = _stacked(
        np.stack([wide(B).T for B, _ in factors]), np.stack([wide(A) for _, A in factors])
    )
    for i in np.flatnonzero(~plain).tolist():
        values[i], norms[i] = product_spectrum(*factors[i])
    return values, norms


def product_norms(factors: Sequence[tuple[Array, Array]]) -> Float64:
    """‖BA‖_F `(n,)` of factors of one shape, from Grams in float64, as `product_frobenius` with `exact`.

    >>> product_norms([(np.eye(3, 1), np.eye(1, 4) * 2.0)]).tolist()
    [2.0]
    """
    B, A = np.stack([wide(B).T for B, _ in factors]), np.stack([wide(A) for _, A in factors])
    with np.errstate(all="ignore"):
        columns, rows = _grams(B), _grams(A)
        terms = columns * rows
        sums = terms.sum(axis=(1, 2))
        plain = _in_range(columns) & _in_range(rows) & (sums > CANCELLATION * np.abs(terms).sum(axis=(1, 2)))
        norms = np.sqrt(np.where(plain, sums, 0.0))
    for i in np.flatnonzero(~plain).tolist():
        norms[i] = product_frobenius(*factors[i], exact=True)[0]
    return np.asarray(norms)


def _stacked(B: Array, A: Array) -> tuple[Float64, Float64, Bool]:
    """Spectra, norms, and which of them lost no digits: in range, not nearly dependent, not cancelling."""
    with np.errstate(all="ignore"):
        columns, rows = _grams(B), _grams(A)
        plain: Bool = _in_range(columns) & _in_range(rows)
        columns, rows = (np.where(plain[:, None, None], g, np.eye(g.shape[1])) for g in (columns, rows))
        terms = columns * rows
        sums = terms.sum(axis=(1, 2))
        plain &= sums > CANCELLATION * np.abs(terms).sum(axis=(1, 2))
        norms = np.sqrt(np.stack([sums, _traces(rows), _traces(columns)], axis=1))
        L, sound = _cholesky(columns)
        K, whole = _cholesky(rows)
        plain &= sound & whole
        values = np.linalg.svd(L.transpose(0, 2, 1) @ K, compute_uv=False)
        plain &= np.abs(np.sqrt((values**2).sum(axis=1)) - norms[:, 0]) <= AGREEMENT * norms[:, 0]
    return np.asarray(values[:, : min(B.shape[2], A.shape[2])]), norms, plain


def _grams(stack: Array) -> Float64:
    """`MMᵀ` `(n, r, r)` of a stack `(n, r, d)`, with products in float64."""
    total = np.zeros((len(stack), stack.shape[1], stack.shape[1]))
    for start in range(0, stack.shape[2], _BLOCK):
        block = stack[:, :, start : start + _BLOCK].astype(np.float64)
        total += block @ block.transpose(0, 2, 1)
    return total


def _in_range(grams: Float64) -> Bool:
    diagonal = np.diagonal(grams, axis1=1, axis2=2)
    usual = np.isfinite(grams).all(axis=(1, 2)) & ((diagonal > 1e-24) & (diagonal < 1e30)).all(axis=1)
    return np.asarray(usual)


def _traces(grams: Float64) -> Float64:
    return np.asarray(np.trace(grams, axis1=1, axis2=2))


def _cholesky(grams: Float64) -> tuple[Float64, Bool]:
    """Lower factors, and which of them have pivots large enough; none where any Gram is not definite."""
    sizes = np.sqrt(np.diagonal(grams, axis1=1, axis2=2))
    try:
        lower = np.linalg.cholesky(grams / (sizes[:, :, None] * sizes[:, None, :]))
    except np.linalg.LinAlgError:
        return np.broadcast_to(np.eye(grams.shape[1]), grams.shape), np.zeros(len(grams), bool)
    sound: Bool = np.diagonal(lower, axis1=1, axis2=2).min(axis=1) >= PIVOT
    return sizes[:, :, None] * lower, sound


def shapes(values: Float64) -> dict[str, Float64]:
    """The numbers read off each of `n` spectra `(n, k)`, descending; NaN for a product of zeros.

    As `stable_rank`, `effective_rank`, `participation_ratio` and `energy_rank` of one spectrum.
    """
    with np.errstate(all="ignore"):
        top = values.max(axis=1, keepdims=True)
        energy = np.where(top > 0, values / top, np.nan) ** 2
        whole = energy.sum(axis=1)
        p = values / values.sum(axis=1, keepdims=True)
        entropy = -np.where(p > 0, p * np.log(p), 0.0).sum(axis=1)
        cumulative = np.cumsum(energy, axis=1)
        # The last sum is the whole; a rounding above it must not hide the rank.
        edges = {share: share * cumulative[:, -1:] * (1 - 1e-12) for share in (0.90, 0.99)}
        least = {
            s: np.where(whole > 0, (cumulative < edge).sum(axis=1) + 1.0, np.nan) for s, edge in edges.items()
        }
        return {
            "stable_rank": whole,
            "effective_rank": np.where(whole > 0, np.exp(entropy), np.nan),
            "participation_ratio": whole**2 / (energy**2).sum(axis=1),
            "energy_rank_90": least[0.90],
            "energy_rank_99": least[0.99],
        }
