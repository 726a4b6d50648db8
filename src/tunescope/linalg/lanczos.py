"""Leading singular values of a matrix that is read by rows, as often as needed and never held in float64.

Block Lanczos on MᵀM [Golub & Underwood 1977]: one pass over the rows a step, products in float32, everything
of the size of the Krylov space in float64, with full reorthogonalisation. The values come from a last
Rayleigh-Ritz step on M itself, so that small ones do not carry the squared error.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg.overlap import orthonormal

Array = NDArray[Any]
Float64 = NDArray[np.float64]

# Columns of a block, steps at most, steps in which a further value must become known or the iteration ends,
# and Ritz vectors that the last step takes beyond those asked for.
_WIDTH, _STEPS, _PATIENCE, _EXTRA = 16, 12, 5, 8
# Values below this share of the first are zero to the products' precision.
_FLOOR = 1e-3


class Rows(Protocol):
    """A matrix `(rows, columns)` as blocks of its rows, in order."""

    @property
    def shape(self) -> tuple[int, int]: ...

    def blocks(self) -> Iterator[Array]:
        """Blocks of rows in float32; each may be gone when the next is asked for."""
        ...


def leading_values(
    matrix: Rows, count: int, tolerance: float = 1e-3, seed: int = 0
) -> tuple[Float64, Float64]:
    """The leading singular values, each with its residual ‖Mᵀu − σv‖/σ₁.

    Ends when all residuals are below `tolerance`, or no further one falls below it for some steps: within the
    bulk of a spectrum they stay large.
    """
    V = _ritz_vectors(matrix, min(count, *matrix.shape), tolerance, seed)
    left, R = orthonormal(_times(matrix, V))
    u, values, vt = np.linalg.svd(R, full_matrices=False)
    known = min(count, len(values))
    U, V = left @ u[:, :known], (V @ vt.T)[:, :known]
    rest = _transposed_times(matrix, U) - V * values[:known]
    top = values[0] if len(values) and values[0] > 0 else 1.0
    residuals: Float64 = np.linalg.norm(rest, axis=0) / top
    return values[:known], residuals


def _ritz_vectors(matrix: Rows, count: int, tolerance: float, seed: int) -> Float64:
    """The leading eigenvectors of MᵀM within a Krylov space, a few more than asked for."""
    n, least = matrix.shape[1], min(matrix.shape)
    width = min(_WIDTH, least)
    steps = max(1, min(_STEPS, least // width))
    Q, T = np.zeros((n, width * steps)), np.zeros((width * steps, width * steps))
    block: Float64 = orthonormal(np.random.default_rng(seed).standard_normal((n, width)))[0]
    vectors: Float64 = block
    best = since = 0
    for step in range(steps):
        held = (step + 1) * width
        Q[:, held - width : held] = block
        q = Q[:, :held]
        rest = _gram_times(matrix, block)
        T[:held, held - width : held] = _take_off(rest, q)
        block, R = orthonormal(rest)
        # Where the rest was next to nothing its directions are of rounding, and not orthogonal yet.
        _take_off(block, q)
        block = orthonormal(block)[0]
        squares, s = np.linalg.eigh(T[:held, :held], UPLO="U")
        squares, s = squares[::-1], s[:, ::-1]
        vectors = np.asarray(q @ s[:, : count + _EXTRA])
        residuals = _residuals(squares[:count], R @ s[-width:, :count])
        known = int(np.count_nonzero(residuals <= tolerance))
        best, since = (known, 0) if known > best else (best, since + 1)
        if best == count or since >= _PATIENCE:
            break
    return vectors


def _take_off(block: Float64, Q: Float64) -> Float64:
    """Take the part within the span of Q off a block, twice, in place; its coordinates there."""
    first = Q.T @ block
    block -= Q @ first
    second = Q.T @ block
    block -= Q @ second
    total: Float64 = first + second
    return total


def _residuals(squares: Float64, rest: Float64) -> Float64:
    """‖Mᵀu − σv‖/σ₁ from the residuals of MᵀM, whose eigenvalues `squares` are."""
    values = np.sqrt(np.maximum(squares, 0.0))
    top = values[0] if values[0] > 0 else 1.0
    found: Float64 = np.linalg.norm(rest, axis=0) / np.maximum(values, _FLOOR * top) / top
    return found


def _gram_times(matrix: Rows, X: Float64) -> Float64:
    narrow, out = X.astype(np.float32), np.zeros(X.shape)
    for rows in matrix.blocks():
        out += rows.T @ (rows @ narrow)
    return out


def _times(matrix: Rows, X: Float64) -> Float64:
    narrow = X.astype(np.float32)
    out: Float64 = np.concatenate([rows @ narrow for rows in matrix.blocks()]).astype(np.float64)
    return out


def _transposed_times(matrix: Rows, Y: Float64) -> Float64:
    narrow, out, at = Y.astype(np.float32), np.zeros((matrix.shape[1], Y.shape[1])), 0
    for rows in matrix.blocks():
        out += rows.T @ narrow[at : at + len(rows)]
        at += len(rows)
    return out
