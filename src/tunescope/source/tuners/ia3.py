"""(IA)³ of LyCORIS: ΔW = W ∘ w, w over outputs or over inputs [Liu et al. 2022; LyCORIS: modules/ia3.py]."""

from dataclasses import dataclass

import numpy as np

from tunescope.delta import Base, Dense, Update
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.tuners.adapter import exact


@dataclass(frozen=True, eq=False)
class Rescaling:
    """The numbers w of one layer, one for each output, or for each input (channel of a kernel)."""

    numbers: LazyTensor
    of_inputs: bool

    def update(self, base: Base, shape: tuple[int, int]) -> Update:
        """ΔW = W ∘ w in float64."""
        W = base.matrix(shape).astype(np.float64)
        w = exact(self.numbers).reshape(-1)
        if not self.of_inputs:
            return Dense(w[:, None] * W)
        return Dense((W.reshape(shape[0], len(w), -1) * w[:, None]).reshape(shape))
