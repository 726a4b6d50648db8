"""OFT as LyCORIS and sd-scripts train it: ΔW = R W − W, R orthogonal by Cayley's transform [Qiu et al. 2023].

Every block B of the file gives Q = B − Bᵀ and R_b = (I + Q)(I − Q)⁻¹ on as many outputs as it has rows; Q is
shortened where its norm over all blocks exceeds alpha·d_out. Diagonal: W' = R_bᵀ W, block by block [LyCORIS:
functional/diag_oft.py; sd-scripts: networks/oft.py, oft_flux.py]. Butterfly: stage i joins outputs 2^i·b/2
apart, W' = R W [Liu et al. 2024; LyCORIS: functional/boft.py]. A `rescale` multiplies the rows of W'.

OFTv2 turns the inputs instead [Qiu et al. 2025; OneTrainer: modules/module/oft_utils.py; sd-scripts:
networks/oft_v2.py]: a file holds the upper triangles of Q, and R = I + 2Q + 2Q² + 2Q³ + Q⁴, the first terms
of Cayley's transform. A linear layer becomes W Rᵀ, a convolution W R.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Base, Dense, Update
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.tuners.adapter import exact

Matrix = NDArray[np.float64]
_EPS = 1e-8


@dataclass(frozen=True, eq=False)
class Rotation:
    """The rotation of one layer's outputs: `blocks` (k, n, n) for each part of them, or (stages, k, n, n).

    `constraint` bounds ‖Q‖ as a multiple of a part's outputs; LyCORIS takes 0 for no bound, and sd-scripts
    (`clamped`) for no rotation.
    """

    blocks: Sequence[LazyTensor]
    constraint: float
    clamped: bool
    rescale: LazyTensor | None = None

    def update(self, base: Base, shape: tuple[int, int]) -> Update:
        """R W − W in float64."""
        W = base.matrix(shape).astype(np.float64)
        parts, first = [], 0
        for tensor in self.blocks:
            rows = outputs(tensor.shape)
            R = _cayley(exact(tensor), self.constraint * rows, self.clamped)
            part = W[first : first + rows]
            parts.append(_butterfly(R, part) if R.ndim == 4 else _diagonal(R, part))
            first += rows
        moved = np.concatenate(parts)
        if self.rescale is not None:
            moved = exact(self.rescale).reshape(-1, 1) * moved
        return Dense(moved - W)


@dataclass(frozen=True, eq=False)
class InputRotation:
    """The rotation of one layer's inputs: `triangles` (k, n·(n − 1)/2), of which one serves all inputs.

    `shortened` files divide them by the root of their number in a block.
    """

    triangles: LazyTensor
    shortened: bool = False

    def update(self, base: Base, shape: tuple[int, int]) -> Update:
        """W Rᵀ − W, of a convolution W R − W, in float64."""
        W = base.matrix(shape).astype(np.float64)
        numbers = exact(self.triangles)
        if self.shortened:
            numbers = numbers / np.sqrt(numbers.shape[1])
        size = block_size(numbers.shape[1])
        assert size is not None
        R = _neumann(numbers, size)
        turned = R if base.kernel else R.swapaxes(1, 2)
        parts = W.reshape(shape[0], -1, size).swapaxes(0, 1) @ turned
        return Dense(parts.swapaxes(0, 1).reshape(shape) - W)


def block_size(triangle: int) -> int | None:
    """The n of n·(n − 1)/2 numbers above a diagonal; `None` where there is none.

    >>> block_size(1), block_size(496), block_size(5)
    (2, 32, None)
    """
    n = (1 + math.isqrt(1 + 8 * triangle)) // 2
    return n if triangle > 0 and n * (n - 1) // 2 == triangle else None


def _neumann(triangles: Matrix, size: int) -> Matrix:
    Q = np.zeros((len(triangles), size, size))
    Q[:, *np.triu_indices(size, 1)] = triangles
    Q = Q - Q.swapaxes(1, 2)
    square = Q @ Q
    R: Matrix = np.eye(size) + 2 * Q + 2 * square + 2 * square @ Q + square @ square
    return R


def outputs(shape: Sequence[int]) -> int:
    """How many outputs blocks of this shape turn: (…, k, n, n) → k·n."""
    return shape[-3] * shape[-2]


def closed(shape: Sequence[int]) -> bool:
    """Whether blocks are square, and those of a butterfly join whole groups at every stage.

    >>> closed((4, 8, 8)), closed((3, 4, 2, 2)), closed((4, 4, 2, 2)), closed((4, 8, 6))
    (True, True, False, False)
    """
    if len(shape) not in (3, 4) or 0 in shape or shape[-1] != shape[-2]:
        return False
    joined: int = shape[-1] * 2 ** (shape[0] - 1) if len(shape) == 4 else 1
    return len(shape) == 3 or (shape[-1] % 2 == 0 and outputs(shape) % joined == 0)


def _cayley(blocks: Matrix, bound: float, clamped: bool) -> Matrix:
    Q = blocks - blocks.swapaxes(-1, -2)
    norm = float(np.linalg.norm(Q))
    if clamped:
        Q = Q * ((min(norm, bound) + _EPS) / (norm + _EPS))
    elif 0 < bound < norm + _EPS:
        Q = Q * (bound / (norm + _EPS))
    eye: Matrix = np.eye(Q.shape[-1])
    # (I + Q) and (I − Q)⁻¹ commute.
    return np.asarray(np.linalg.solve(eye - Q, eye + Q), np.float64)


def _diagonal(R: Matrix, W: Matrix) -> Matrix:
    turned: Matrix = R.swapaxes(1, 2) @ W.reshape(R.shape[0], R.shape[1], -1)
    return turned.reshape(W.shape)


def _butterfly(R: Matrix, W: Matrix) -> Matrix:
    stages, count, size, _ = R.shape
    for i in range(stages):
        apart = 2**i * (size // 2)
        met = W.reshape(-1, 2, apart, W.shape[1]).swapaxes(1, 2)
        turned = (R[i] @ met.reshape(count, size, -1)).reshape(met.shape)
        W = turned.swapaxes(1, 2).reshape(W.shape)
    return W
