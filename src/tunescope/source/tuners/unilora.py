"""Uni-LoRA: ΔW = B A, every entry of A and B one entry of a single vector θ, scaled [Li et al. 2025].

Without `save_indices` the file holds θ alone and does not even name the modules.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Delta, Factored
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.tuners.adapter import Adapter, Module, Tuner, exact

_INDICES = ("unilora_indices_A", "unilora_indices_B")
_SCALES = ("unilora_scales_A", "unilora_scales_B")
_THETA = "unilora_theta_d"


def read(adapter: Adapter) -> Iterator[Delta]:
    """One delta for each module whose indices are saved."""
    if _THETA not in adapter.shared:
        return
    theta = adapter.shared[_THETA]
    if not any(name in module for module in adapter.modules.values() for name in _INDICES):
        adapter.needs(adapter.shared, "Uni-LoRA: which weights it adapts is not in the file; needs the base")
        return
    for module in adapter.complete(*_INDICES, *_SCALES, indices=_INDICES):
        if adapter.whole(adapter.shared, _THETA):
            yield _delta(adapter, module, theta)


def _delta(adapter: Adapter, module: Module, theta: LazyTensor) -> Delta:
    a, b = (module[p].shape for p in _INDICES)
    return adapter.delta(
        module, "unilora", shape=(b[0], a[1]), used=(*_INDICES, *_SCALES, theta.name), rank=a[0],
        open=partial(_factors, module, theta),
    )  # fmt: skip


def _factors(module: Module, theta: LazyTensor) -> Factored:
    vector = exact(theta)
    a, b = (_entries(vector, module[i]) * exact(module[s]) for i, s in zip(_INDICES, _SCALES, strict=True))
    return Factored(b, a)


def _entries(vector: NDArray[np.float64], indices: LazyTensor) -> NDArray[np.float64]:
    places = indices.read()
    if places.size and places.min() < 0:
        raise IndexError(f"a negative index in {indices.name}")
    return np.asarray(vector[places])


TUNER = Tuner(frozenset({*_INDICES, *_SCALES, _THETA}), read)
