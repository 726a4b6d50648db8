"""DoRA: ΔW = m ∘ (W + D)/‖W + D‖ − W, D the update without it, the norm by outputs or by inputs.

By outputs [Liu et al. 2024; PEFT tuners/lora/dora.py; MLX, torchtune, Megatron-Bridge; LyCORIS
functional/general.py]: m has one entry for each row. By inputs [LyCORIS without `wd_on_out`, once its
default]: m is (1, channels, …), a channel's norm over all outputs and the kernel.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from tunescope.delta import Base, Dense, Exact, Update
from tunescope.source.files.tensors import LazyTensor, is_float
from tunescope.source.tuners.adapter import exact

# LyCORIS adds the spacing of float32 at 1 to every norm.
_EPS = float(np.finfo(np.float32).eps)


def decomposed(magnitude: LazyTensor, shape: tuple[int, int], *, either: bool = False) -> Exact | None:
    """The whole of an update of `shape`; `None` where the magnitude is not one of this layer.

    `either` lets the magnitude's shape say whether it is one of outputs or of inputs.
    """
    count, sizes = magnitude.numel, magnitude.shape
    if not is_float(magnitude) or not count:
        return None
    if either and count > 1 and sizes[:2] == (1, count):
        return _exact(_by_inputs, magnitude) if shape[1] % count == 0 else None
    return _exact(_by_outputs, magnitude) if count == shape[0] else None


def unmoved() -> Exact:
    """The whole of an update without a magnitude in its file: PEFT leaves it at the norms of W's rows."""
    return Exact(_by_rows_of_base, ())


def _by_rows_of_base(part: Callable[[], Update], base: Base, shape: tuple[int, int]) -> Update:
    W = base.matrix(shape).astype(np.float64)
    moved = W + part().dense()
    norms = np.linalg.norm(W, axis=1, keepdims=True)
    return Dense(norms * moved / (np.linalg.norm(moved, axis=1, keepdims=True) + _EPS) - W)


def _exact(rule: Callable[..., Update], magnitude: LazyTensor) -> Exact:
    return Exact(partial(rule, magnitude), (magnitude.name,))


def _by_outputs(
    magnitude: LazyTensor, part: Callable[[], Update], base: Base, shape: tuple[int, int]
) -> Update:
    W = base.matrix(shape).astype(np.float64)
    moved = W + part().dense()
    m = exact(magnitude).reshape(-1, 1)
    return Dense(m * moved / (np.linalg.norm(moved, axis=1, keepdims=True) + _EPS) - W)


def _by_inputs(
    magnitude: LazyTensor, part: Callable[[], Update], base: Base, shape: tuple[int, int]
) -> Update:
    W = base.matrix(shape).astype(np.float64)
    moved = (W + part().dense()).reshape(shape[0], magnitude.numel, -1)
    m = exact(magnitude).reshape(1, -1, 1)
    norms = np.sqrt(np.square(moved).sum(axis=(0, 2), keepdims=True))
    return Dense((m * moved / (norms + _EPS)).reshape(shape) - W)
