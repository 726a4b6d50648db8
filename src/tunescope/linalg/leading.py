"""Leading singular directions of a large matrix by block iteration, never a full SVD."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg.overlap import orthonormal

Array = NDArray[Any]
Float64 = NDArray[np.float64]

# Powers of WᵀW that span one cycle's Krylov space, extra columns of the block, and cycles at most.
_POWERS, _EXTRA, _CYCLES = 3, 8, 40


@dataclass(frozen=True, eq=False)
class Sum:
    """The matrix `W + B A` with `W (d_out, d_in)` and an optional low-rank part that stays factored."""

    W: Array
    B: Array | None = None
    A: Array | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """`(d_out, d_in)`."""
        return self.W.shape[0], self.W.shape[1]

    def times(self, X: Array) -> Float64:
        """`(W + B A) X` with the products in W's precision, `X (d_in, n)`."""
        out: Float64 = (self.W @ X.astype(self.W.dtype)).astype(np.float64)
        return out if self.B is None or self.A is None else out + self.B @ (self.A @ X)

    def transposed_times(self, Y: Array) -> Float64:
        """`(W + B A)ᵀ Y`, `Y (d_out, n)`."""
        out: Float64 = (self.W.T @ Y.astype(self.W.dtype)).astype(np.float64)
        return out if self.B is None or self.A is None else out + self.A.T @ (self.B.T @ Y)


@dataclass(frozen=True, eq=False)
class Leading:
    """The leading singular triplets: `U (d_out, k)`, `values (k,)`, `V (d_in, k)`.

    `residual` is the largest ‖Mᵀu − σv‖/σ₁ over them: how far they are from exact. `errors (k,)` bounds the
    angle between each vector and the true one in radians, its residual over the distance of its value to the
    next [Davis & Kahan 1970]; π/2 where values coincide.
    """

    U: Float64
    values: Float64
    V: Float64
    residual: float
    errors: Float64


def leading(
    matrix: Sum,
    count: int,
    start: Float64 | None = None,
    seed: int = 0,
    tolerance: float = 1e-4,
    cycles: int = _CYCLES,
) -> Leading:
    """The `count` leading singular triplets by restarted block Krylov iteration [Musco & Musco 2015].

    `start (d_in, n)` is where the block begins (a neighbouring matrix's own vectors, say); random
    columns fill it up, so that a direction orthogonal to the start is found too. Stops when the residual
    is below `tolerance`, or after `cycles` with the residual reported as it is.
    """
    d_out, d_in = matrix.shape
    count = min(count, d_out, d_in)
    width = min(count + _EXTRA, d_out, d_in)
    drawn = np.random.default_rng(seed).standard_normal((d_in, _EXTRA if start is not None else width))
    block = drawn if start is None else np.hstack([start, drawn])
    # The first cycle comes before any residual is looked at: a start of exact vectors need not lead.
    found = _rayleigh_ritz(matrix, _krylov(matrix, orthonormal(block[:, :d_in])[0]), count, width)
    for _ in range(cycles - 1):
        if found.residual <= tolerance:
            break
        found = _rayleigh_ritz(matrix, _krylov(matrix, found.V), count, width)
    return Leading(
        found.U[:, :count], found.values[:count], found.V[:, :count], found.residual, found.errors[:count]
    )


def _krylov(matrix: Sum, V: Float64) -> Float64:
    """Orthonormal columns that span V, (MᵀM)V, (MᵀM)²V, …"""
    blocks = [V]
    for _ in range(_POWERS):
        blocks.append(orthonormal(matrix.transposed_times(matrix.times(blocks[-1])))[0])
    whole = np.hstack(blocks)
    Q: Float64 = orthonormal(whole[:, : whole.shape[0]])[0]
    return Q


def _rayleigh_ritz(matrix: Sum, Q: Float64, count: int, width: int) -> Leading:
    """Singular triplets of the matrix within the span of Q, and the residual of the first `count`."""
    left, R = orthonormal(matrix.times(Q))
    u, values, vt = np.linalg.svd(R, full_matrices=False)
    U, V = left @ u[:, :width], Q @ vt[:width].T
    values = values[:width]
    rest = matrix.transposed_times(U[:, :count]) - V[:, :count] * values[:count]
    top = values[0] if len(values) and values[0] > 0 else 1.0
    sizes = np.linalg.norm(rest, axis=0)
    return Leading(U, values, V, float(sizes.max(initial=0.0) / top), _angles(sizes, values))


def _angles(residuals: Float64, values: Float64) -> Float64:
    """Residuals over the distance of each of the first values to its nearest neighbour, π/2 at most."""
    steps = np.concatenate([[np.inf], values[:-1] - values[1:], values[-1:]])
    gaps = np.minimum(steps[:-1], steps[1:])[: len(residuals)]
    limit = np.full(len(residuals), np.pi / 2)
    bounds: Float64 = np.minimum(np.divide(residuals, gaps, out=limit.copy(), where=gaps > 0), limit)
    return bounds
