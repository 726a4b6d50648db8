"""Uni-LoRA: ΔW = B A, every entry of A and B one entry of a single vector θ, scaled [Li et al. 2025].

Without `save_indices` the file holds θ alone and does not even name the modules.
"""

from collections.abc import Iterator
from functools import partial

from tunescope.delta import Delta, Factored
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.tuners.adapter import Adapter, Module, Tuner, exact

_INDICES = ("unilora_indices_A", "unilora_indices_B")
_SCALES = ("unilora_scales_A", "unilora_scales_B")
_THETA = "unilora_theta_d"

# The order is that in which the model's class made its modules, which no file of a base tells either.
_UNSAID = (
    "Uni-LoRA: which weights it adapts is not in the file, nor in what order; save with save_indices=True"
)


def read(adapter: Adapter) -> Iterator[Delta]:
    """One delta for each module whose indices are saved."""
    if _THETA not in adapter.shared:
        return
    theta = adapter.shared[_THETA]
    if not any(name in module for module in adapter.modules.values() for name in _INDICES):
        adapter.needs(adapter.shared, _UNSAID)
        return
    for module in adapter.complete(*_INDICES, *_SCALES, indices=_INDICES):
        if adapter.whole(adapter.shared, _THETA):
            yield _delta(adapter, module, theta)


def _delta(adapter: Adapter, module: Module, theta: LazyTensor) -> Delta:
    (i_a, i_b), (s_a, s_b) = ((module[p] for p in names) for names in (_INDICES, _SCALES))
    sizes = adapter.sizes(
        theta=(theta, "n"), indices_A=(i_a, "r d_in"), scales_A=(s_a, "r d_in"),
        indices_B=(i_b, "d_out r"), scales_B=(s_b, "d_out r"),
    )  # fmt: skip
    return adapter.delta(
        module, "unilora", shape=(sizes["d_out"], sizes["d_in"]), used=(*_INDICES, *_SCALES, theta.name),
        rank=sizes["r"], open=partial(_factors, adapter, module, theta),
    )  # fmt: skip


def _factors(adapter: Adapter, module: Module, theta: LazyTensor) -> Factored:
    vector = exact(theta)
    a, b = (
        vector[adapter.positions(module[i], vector.size)] * exact(module[s])
        for i, s in zip(_INDICES, _SCALES, strict=True)
    )
    return Factored(b, a)


TUNER = Tuner(frozenset({*_INDICES, *_SCALES, _THETA}), read)
