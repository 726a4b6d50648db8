"""GLoRA of LyCORIS: ΔW = s·(W a1 a2 + b1 b2), s = alpha/r [Chavan et al. 2023; LyCORIS: modules/glora.py].

Of a convolution a1 and a2 mix input channels alike at every place of the kernel.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Base, Dense, Factored, Update
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.tuners.adapter import exact

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Generalised:
    """The four factors of one layer: a1 (d_in, r), a2 (r, d_in), b1 (d_out, r), b2 (r, d_in, …)."""

    a1: LazyTensor
    a2: LazyTensor
    b1: LazyTensor
    b2: LazyTensor
    scale: float

    def update(self, base: Base, shape: tuple[int, int]) -> Update:
        """ΔW, its scale multiplied in; of a matrix as two factors of rank 2r."""
        W = base.matrix(shape).astype(np.float64)
        a1, a2, b1, b2 = (_matrix(t) for t in (self.a1, self.a2, self.b1, self.b2))
        if a1.shape[0] == shape[1]:
            return Factored(self.scale * np.hstack([b1, W @ a1]), np.vstack([b2, a2]))
        kernel = W.reshape(shape[0], a1.shape[0], -1)
        mixed = np.einsum("oik,ij,jl->olk", kernel, a1, a2, optimize=True)
        return Dense(self.scale * (b1 @ b2 + mixed.reshape(shape)))


def _matrix(tensor: LazyTensor) -> Matrix:
    return exact(tensor).reshape(tensor.shape[0], -1)
