"""Sparse updates: SHiRA [Bhardwaj et al. 2024] and Super-Tuning, which may add a LoRA product."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from tunescope.delta import Array, Delta, Dense
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.tuners.adapter import Adapter, Module, Tuner, exact, floats

_SHIRA = ("shira_indices", "shira_weight")
_SUPER = ("supertuning_indices", "supertuning_values")
_LORA = ("supertuning_lora_A", "supertuning_lora_B")


def read_shira(adapter: Adapter) -> Iterator[Delta]:
    """One delta for each module; its shape follows from the count r·(d_in + d_out) of the trained entries."""
    for module in adapter.complete(*_SHIRA, indices=_SHIRA[:1]):
        shape = _shira_shape(adapter, module)
        if shape is None:
            adapter.needs(module, "SHiRA: the layer's shape is not in the file; needs the base's shapes")
            continue
        yield adapter.delta(
            module, "shira", shape=shape, used=_SHIRA,
            open=partial(_shira, module["shira_indices"], module["shira_weight"], shape),
        )  # fmt: skip


def _shira_shape(adapter: Adapter, module: Module) -> tuple[int, int] | None:
    if module.name in adapter.shapes:
        return adapter.shapes[module.name]
    rows, columns = (int(i.max()) + 1 for i in module["shira_indices"].read())
    sides = module["shira_weight"].numel / int(adapter.config.get("r", 32))
    return (rows, columns) if rows + columns == sides else None


def _shira(indices: LazyTensor, weights: LazyTensor, shape: tuple[int, int]) -> Dense:
    rows, columns = indices.read().astype(np.int64)
    return Dense(_scattered(rows * shape[1] + columns, floats(weights), shape))


def _scattered(places: Array, values: Array, shape: tuple[int, int]) -> Array:
    if places.size and (places.min() < 0 or places.max() >= shape[0] * shape[1]):
        raise IndexError(f"a position outside a matrix of shape {shape}")
    flat = np.zeros(shape[0] * shape[1], dtype=np.float64 if values.dtype == np.float64 else np.float32)
    np.add.at(flat, places, values.astype(flat.dtype))
    return flat.reshape(shape)


def read_supertuning(adapter: Adapter) -> Iterator[Delta]:
    """One delta for each module whose shape is known: from its LoRA factors, or from a base."""
    for module in adapter.complete("supertuning_values"):
        problem = _super_problem(adapter, module)
        if problem is not None:
            adapter.needs(module, f"Super-Tuning: {problem}")
            continue
        hybrid = _LORA if _LORA[0] in module else ()
        if adapter.whole(module, *_SUPER, *hybrid, indices=_SUPER[:1]):
            yield _super_delta(adapter, module, hybrid)


def _super_problem(adapter: Adapter, module: Module) -> str | None:
    if "supertuning_indices" not in module:
        return "the positions were not saved; they follow from the base's weights"
    if module.name not in adapter.shapes and _LORA[0] not in module:
        return "the layer's shape is not in the file; needs the base's shapes"
    return None


def _super_delta(adapter: Adapter, module: Module, hybrid: tuple[str, ...]) -> Delta:
    ends = module.tensors.get(_LORA[1]), module.tensors.get(_LORA[0])
    shape = (ends[0].shape[0], ends[1].shape[1]) if ends[0] and ends[1] else adapter.shapes[module.name]
    rank, alpha = adapter.config.get("r"), adapter.config.get("lora_alpha")
    scale = float(alpha) / int(rank) if hybrid and rank and alpha is not None else 0.0
    return adapter.delta(
        module, "supertuning", shape=shape, used=(*_SUPER, *hybrid),
        open=partial(_super, module, hybrid, shape, scale), rank=rank, alpha=alpha,
    )  # fmt: skip


def _super(module: Module, hybrid: tuple[str, ...], shape: tuple[int, int], scale: float) -> Dense:
    places = module["supertuning_indices"].read().astype(np.int64)
    matrix = _scattered(places, exact(module["supertuning_values"]), shape)
    if hybrid:
        matrix += scale * (exact(module[_LORA[1]]) @ exact(module[_LORA[0]]))
    return Dense(matrix)


SHIRA = Tuner(frozenset(_SHIRA), read_shira)
SUPERTUNING = Tuner(frozenset({*_SUPER, *_LORA}), read_supertuning)
