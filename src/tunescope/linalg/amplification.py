"""How strongly a matrix acts along given directions: ‖Uᵀ W V‖_F [Hu et al. 2021, table 7]."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg.overlap import orthonormal

Array = NDArray[Any]
Float64 = NDArray[np.float64]


def projected(W: Array, U: Float64, V: Float64) -> Float64:
    """`UᵀWV`, shape `(k, k')`, for orthonormal `U (d_out, k)`, `V (d_in, k')`; products in W's precision.

    >>> projected(np.diag([3.0, 2.0, 1.0]), np.eye(3)[:, :1], np.eye(3)[:, :2]).tolist()
    [[3.0, 0.0]]
    """
    narrow = W @ V.astype(W.dtype)
    out: Float64 = U.T @ narrow.astype(np.float64)
    return out


def projected_norms(block: Float64, ranks: list[int]) -> dict[int, float]:
    """‖U_kᵀ W V_k‖_F for every k of `ranks`, from one `UᵀWV` of at least that many rows and columns."""
    return {k: float(np.linalg.norm(block[:k, :k])) for k in ranks if k <= min(block.shape)}


def random_directions(d: int, count: int, seed: int) -> Float64:
    """`count` orthonormal directions of `R^d`, uniformly distributed, the same for the same seed."""
    Q: Float64 = orthonormal(np.random.default_rng(seed).standard_normal((d, count)))[0]
    return Q
