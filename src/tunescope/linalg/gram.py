"""Norms and inner products of low-rank products, from their small Gram matrices.

For `M = B A` with `B (d_out, r)` and `A (r, d_in)`: ‖M‖_F² = Σ (BᵀB)∘(AAᵀ), and for two of them
⟨M, M'⟩ = Σ (BᵀB')∘(AA'ᵀ). The Grams are float32 products over blocks, summed in float64; where the sum
cancels, the thin QR factors are used instead.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Float64 = NDArray[np.float64]

# Rows of a factor multiplied at once: it stays in the cache, and its float32 sums are good to 4e-7.
BLOCK = 512
# Below these shares of the sum of absolute terms, the terms of ‖BA‖² cancel too far for Grams in float32
# (whose norms then err by more than 1e-6) and in float64.
_CANCELLATION_32, CANCELLATION = 0.5, 1e-2
# Elements of a flat array that are squared and summed at once.
_FLAT = 1 << 16


def wide(array: Array) -> Array:
    """The array in float32 (float64 stays), bfloat16 by a shift.

    >>> wide(np.ones(2, dtype=np.float16)).dtype
    dtype('float32')
    """
    if array.dtype == np.float32 or array.dtype == np.float64:
        return array
    if array.dtype.name == "bfloat16":
        bits = np.ascontiguousarray(array).view(np.uint16).astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32)
    return array.astype(np.float32, copy=False)


def gram_columns(B: Array, other: Array | None = None, exact: bool = False) -> Float64:
    """`BᵀB` (or `BᵀB'`), shape `(r, r')`, from factors `(d, r)`, `(d, r')`; `exact`: float64 products."""
    total = np.zeros((B.shape[1], (B if other is None else other).shape[1]))
    for start in range(0, len(B), BLOCK):
        left = _block(B[start : start + BLOCK], exact)
        right = left if other is None else _block(other[start : start + BLOCK], exact)
        total += left.T @ right
    return total


def gram_rows(A: Array, other: Array | None = None, exact: bool = False) -> Float64:
    """`AAᵀ` (or `AA'ᵀ`), shape `(r, r')`, from factors `(r, d)`, `(r', d)`; `exact`: float64 products."""
    total = np.zeros((len(A), len(A if other is None else other)))
    for start in range(0, A.shape[1], BLOCK):
        left = _block(A[:, start : start + BLOCK], exact)
        right = left if other is None else _block(other[:, start : start + BLOCK], exact)
        total += left @ right.T
    return total


def _block(array: Array, exact: bool) -> Array:
    narrow = wide(array)
    return narrow.astype(np.float64, copy=False) if exact else narrow


def in_range(gram: Float64) -> bool:
    """Whether a Gram matrix is finite and none of its diagonal can have under- or overflowed in float32."""
    diagonal = np.diagonal(gram)
    return bool(np.isfinite(gram).all() and (diagonal > 1e-24).all() and (diagonal < 1e30).all())


def frobenius(array: Array) -> float:
    """‖M‖_F of any finite array in float64, without overflow; NaN or infinite where an element is.

    >>> round(frobenius(np.array([[3e200, 4e200]])) / 1e200, 12)
    5.0
    """
    flat = array.reshape(-1)
    blocks = [flat[i : i + _FLAT] for i in range(0, flat.size, _FLAT)]
    with np.errstate(over="ignore"):
        total = sum(_square_sum(block, 0) for block in blocks)
    if 1e-200 < total < math.inf or math.isnan(total):
        return math.sqrt(total)
    largest = max((float(np.abs(wide(block)).max()) for block in blocks), default=0.0)
    if largest == 0 or math.isinf(largest):
        return largest
    exponent = math.frexp(largest)[1]
    return _times_power(math.sqrt(sum(_square_sum(block, exponent) for block in blocks)), exponent)


def _times_power(value: float, exponent: int) -> float:
    """`value · 2^exponent`, infinite where a float cannot hold it."""
    with np.errstate(over="ignore"):
        return float(np.ldexp(value, exponent))


def _square_sum(block: Array, exponent: int) -> float:
    values = wide(block).astype(np.float64)
    if exponent:
        values = np.ldexp(values, -exponent)
    return float(values @ values)


def product_frobenius(B: Array, A: Array, exact: bool = False) -> tuple[float, float, float]:
    """‖BA‖_F, ‖A‖_F and ‖B‖_F of factors `B (d_out, r)`, `A (r, d_in)`; relative error below 1e-6.

    >>> product_frobenius(np.array([[2.0], [0.0]]), np.array([[3.0, 4.0]]))
    (10.0, 5.0, 2.0)
    """
    with np.errstate(all="ignore"):
        columns, rows = gram_columns(B, exact=exact), gram_rows(A, exact=exact)
        if not exact and in_range(columns) and in_range(rows) and _share(columns * rows) < _CANCELLATION_32:
            columns, rows = gram_columns(B, exact=True), gram_rows(A, exact=True)
        return norms_from_grams(columns, rows, B, A)


def _share(terms: Float64) -> float:
    """The sum of terms against the sum of their absolute values, in [−1, 1]."""
    return float(terms.sum() / np.abs(terms).sum())


def norms_from_grams(columns: Float64, rows: Float64, B: Array, A: Array) -> tuple[float, float, float]:
    """The norms of `product_frobenius` from Grams at hand, or through QR where the Grams lose digits."""
    if not (in_range(columns) and in_range(rows)):
        return _through_qr(B, A), frobenius(A), frobenius(B)
    norm_A, norm_B = math.sqrt(np.trace(rows)), math.sqrt(np.trace(columns))
    terms = rows * columns
    if _share(terms) > CANCELLATION:
        return math.sqrt(terms.sum()), norm_A, norm_B
    return _through_qr(B, A), norm_A, norm_B


def _through_qr(B: Array, A: Array) -> float:
    matrix, exponent = core(B, A)
    return _times_power(frobenius(matrix), exponent)


def core(B: Array, A: Array) -> tuple[Float64, int]:
    """The small matrix `R_B R_Aᵀ` with `BA = Q_B (R_B R_Aᵀ · 2^exponent) Q_Aᵀ`, by thin QR in float64.

    Powers of two are taken out of every row of A and column of B first, so that no finite input
    overflows and a factor pair of very unequal sizes keeps its digits.
    """
    left, right = wide(B).astype(np.float64), wide(A).astype(np.float64)
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return np.full((1, 1), math.nan), 0
    exponents = _exponents(left, 0) + _exponents(right, 1)
    largest = int(exponents.max(initial=0))
    left = np.ldexp(left, -_exponents(left, 0))
    right = np.ldexp(right, -_exponents(right, 1)[:, None])
    R_B = _triangle(np.ldexp(left, np.maximum(exponents - largest, -1000)))
    R_A = _triangle(right.T)
    return R_B @ R_A.T, largest


def _triangle(matrix: Float64) -> Float64:
    return np.asarray(np.linalg.qr(matrix, mode="r"), dtype=np.float64)


def _exponents(matrix: Float64, axis: int) -> NDArray[np.int_]:
    exponents: NDArray[np.int_] = np.frexp(np.abs(matrix).max(axis=axis, initial=0.0))[1].astype(np.int_)
    return exponents


def inner_through_qr(B: Array, A: Array, B2: Array, A2: Array) -> float:
    """⟨BA, B'A'⟩ from thin QRs of `[B, B']` and `[A; A']ᵀ`: it errs by a share of ‖BA‖‖B'A'‖ alone."""
    R = _triangle(np.hstack([B, B2]).astype(np.float64))
    S = _triangle(np.vstack([A, A2]).T.astype(np.float64))
    r = B.shape[1]
    with np.errstate(all="ignore"):
        return float(((R[:, :r] @ S[:, :r].T) * (R[:, r:] @ S[:, r:].T)).sum())


def inner(B: Array, A: Array, B2: Array, A2: Array) -> float:
    """⟨BA, B'A'⟩ = Σ (BᵀB')∘(AA'ᵀ), for two products of equal shape, with float64 products."""
    with np.errstate(all="ignore"):
        return float((gram_columns(B, B2, exact=True) * gram_rows(A, A2, exact=True)).sum())
