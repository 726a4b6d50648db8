"""TinyLoRA: ΔW = B (Σ_i v_i P_i) A, A and B frozen from the base's SVD, P random by seed.

The trained vectors v are shared by groups of modules. The file does not say which group a module is in, but
P was drawn with the module's place as seed, so drawing it again tells the place.
"""

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np

from tunescope.delta import Delta, Factored
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.tuners.adapter import Adapter, Module, Tuner, exact
from tunescope.source.tuners.seeded import WITHOUT_TORCH, normal, torch_is_there

_PARTS = ("tinylora_A", "tinylora_B", "tinylora_P")
_VECTOR = "tinylora_v"


def read(adapter: Adapter) -> Iterator[Delta]:
    """One delta for each module whose group is known."""
    saved = [name for name in adapter.shared.tensors if name.startswith(_VECTOR)]
    vectors = {name.rpartition(".")[2]: adapter.shared[name] for name in saved}
    modules = [
        module
        for module in adapter.complete("tinylora_A", "tinylora_B")
        if "tinylora_P" not in module or adapter.whole(module, *_PARTS)
    ]
    if saved and not adapter.whole(adapter.shared, *saved):
        return
    for module in modules:
        problem = _problem(module, vectors)
        if not problem:
            _check(adapter, module, vectors)
        vector = None if problem else _vector(adapter, module, vectors, len(modules))
        if vector is None:
            adapter.needs(module, f"TinyLoRA: {problem or 'its place among the modules was not found'}")
        else:
            yield _delta(adapter, module, vector)


def _check(adapter: Adapter, module: Module, vectors: Mapping[str, LazyTensor]) -> None:
    A, B, P = (module[name] for name in _PARTS)
    for vector in vectors.values():
        adapter.sizes(v=(vector, "u"), P=(P, "u r s"), A=(A, "s d_in"), B=(B, "d_out r"))


def _problem(module: Module, vectors: Mapping[str, LazyTensor]) -> str | None:
    if not vectors:
        return "the trained vectors are not in the file"
    if "tinylora_P" not in module:
        return "the projections were not saved, nor the place of the module; needs the base's modules"
    return None if len(vectors) == 1 or torch_is_there() else WITHOUT_TORCH


def _vector(
    adapter: Adapter, module: Module, vectors: Mapping[str, LazyTensor], modules: int
) -> LazyTensor | None:
    """The trained vector of the module's group."""
    if len(vectors) == 1:
        return next(iter(vectors.values()))
    saved = module["tinylora_P"].read()
    seed = int(adapter.config.get("projection_seed", 42))
    for place in range(modules):
        drawn = normal(saved.shape, 1.0 / saved.shape[1] ** 0.5, seed + place)
        if np.array_equal(drawn.astype(saved.dtype), saved):
            return vectors.get(str(_group(place, modules, float(adapter.config.get("weight_tying") or 0.0))))
    return None


def _group(place: int, modules: int, tying: float) -> int:
    groups = max(1, round(modules * (1.0 - tying)))
    return min(place // max(1, modules // groups), groups - 1)


def _delta(adapter: Adapter, module: Module, vector: LazyTensor) -> Delta:
    a, b = module["tinylora_A"].shape, module["tinylora_B"].shape
    return adapter.delta(
        module, "tinylora", shape=(b[0], a[1]), used=(*_PARTS, vector.name),
        open=partial(_factors, module, vector), rank=a[0],
    )  # fmt: skip


def _factors(module: Module, vector: LazyTensor) -> Factored:
    mixed = np.einsum("i,ijk->jk", exact(vector), exact(module["tinylora_P"]))
    return Factored(exact(module["tinylora_B"]) @ mixed, exact(module["tinylora_A"]))


TUNER = Tuner(frozenset({*_PARTS, _VECTOR}), read)
