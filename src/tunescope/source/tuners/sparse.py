"""Sparse updates: SHiRA [Bhardwaj et al. 2024] and Super-Tuning, which may add a LoRA product."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from tunescope.delta import Array, Delta, Dense
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.tuners.adapter import Adapter, Module, Tuner, exact, floats

_SHIRA = ("shira_indices", "shira_weight")
_SUPER = ("supertuning_indices", "supertuning_values")
# No layer has a longer side.
_MOST_ROWS = 2**31
_LORA = ("supertuning_lora_A", "supertuning_lora_B")


def read_shira(adapter: Adapter) -> Iterator[Delta]:
    """One delta for each module; its shape follows from the count r·(d_in + d_out) of the trained entries."""
    for module in adapter.complete(*_SHIRA, indices=_SHIRA[:1]):
        adapter.sizes(indices=(module["shira_indices"], "two n"), weight=(module["shira_weight"], "n"))
        if module["shira_indices"].shape[0] != 2:
            adapter.refuse(module["shira_indices"], "rows and columns", module["shira_indices"].shape)
        shape = _shira_shape(adapter, module)
        if shape is None:
            adapter.needs(module, "SHiRA: the layer's shape is not in the file; needs the base's shapes")
            continue
        yield adapter.delta(
            module, "shira", shape=shape, used=_SHIRA,
            open=partial(_shira, adapter, module["shira_indices"], module["shira_weight"], shape),
        )  # fmt: skip


def _shira_shape(adapter: Adapter, module: Module) -> tuple[int, int] | None:
    if module.name in adapter.shapes:
        return adapter.shapes[module.name]
    rows, columns = (int(i.max()) + 1 for i in adapter.positions(module["shira_indices"], _MOST_ROWS))
    sides = module["shira_weight"].numel / int(adapter.config.get("r", 32))
    return (rows, columns) if rows + columns == sides else None


def _shira(adapter: Adapter, indices: LazyTensor, weights: LazyTensor, shape: tuple[int, int]) -> Dense:
    rows, columns = adapter.positions(indices, max(shape))
    if rows.max() >= shape[0] or columns.max() >= shape[1]:
        adapter.refuse(
            indices, f"positions in a matrix of {shape[0]}×{shape[1]}", (rows.max(), columns.max())
        )
    return Dense(_scattered(rows * shape[1] + columns, floats(weights), shape))


def _scattered(places: Array, values: Array, shape: tuple[int, int]) -> Array:
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
    indices, values = (module[name] for name in _SUPER)
    adapter.sizes(indices=(indices, "n"), values=(values, "n"))
    shape = _super_shape(adapter, module, hybrid)
    rank, alpha = adapter.config.get("r"), adapter.config.get("lora_alpha")
    scale = float(alpha) / int(rank) if hybrid and rank and alpha is not None else 0.0
    return adapter.delta(
        module, "supertuning", shape=shape, used=(*_SUPER, *hybrid),
        open=partial(_super, adapter, module, hybrid, shape, scale), rank=rank, alpha=alpha,
    )  # fmt: skip


def _super_shape(adapter: Adapter, module: Module, hybrid: tuple[str, ...]) -> tuple[int, int]:
    if not hybrid:
        return adapter.shapes[module.name]
    down, up = (module[name] for name in hybrid)
    sizes = adapter.sizes(lora_A=(down, "r d_in"), lora_B=(up, "d_out r"))
    return sizes["d_out"], sizes["d_in"]


def _super(
    adapter: Adapter, module: Module, hybrid: tuple[str, ...], shape: tuple[int, int], scale: float
) -> Dense:
    places = adapter.positions(module["supertuning_indices"], shape[0] * shape[1])
    matrix = _scattered(places, exact(module["supertuning_values"]), shape)
    if hybrid:
        matrix += scale * (exact(module[_LORA[1]]) @ exact(module[_LORA[0]]))
    return Dense(matrix)


SHIRA = Tuner(frozenset(_SHIRA), read_shira)
SUPERTUNING = Tuner(frozenset({*_SUPER, *_LORA}), read_supertuning)
