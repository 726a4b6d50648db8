"""The weights of one training checkpoint: an adapter's updates, or a whole model's matrices."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tunescope.address import Address, parse
from tunescope.delta import Dense, Update
from tunescope.errors import Notice
from tunescope.source.files.tensors import Entry, LazyTensor, is_float
from tunescope.source.formats.names import strip_wrappers
from tunescope.source.locate import Located, locate
from tunescope.source.open import load, open_source

# Tensors saved beside an adapter that train, but of which the file alone has no ΔW.
_TRAINED_WHOLE = re.compile(r"^(saved module|saved embedding layer|bias)\b")
_COPY = re.compile(r"\.(original_module|base_layer)\.")
_SAVED = re.compile(r"\.modules_to_save(\.default)?(?=\.)")


@dataclass(frozen=True, eq=False)
class Weight:
    """One trained weight of a checkpoint; `whole` is true for a weight itself, false for an update ΔW."""

    address: Address
    shape: tuple[int, ...]
    whole: bool
    open: Callable[[], Update]


@dataclass(frozen=True, eq=False)
class Saved:
    """The trained weights of a checkpoint, `kind` (`adapter` or `full`), and what was noticed on the way."""

    kind: str
    weights: Mapping[Address, Weight]
    notices: tuple[Notice, ...] = ()


def open_checkpoint(folder: Path) -> Saved:
    """Open a folder with an adapter or with a whole model's safetensors, sharded or not; nothing is read yet.

    Beside an adapter's updates, the modules and biases that were saved whole are there as weights.
    """
    if any(folder.glob("adapter_model.*")) or (folder / "adapter_config.json").exists():
        return _adapter(folder)
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if index.exists() or single.exists():
        located = Located((), index) if index.exists() else Located((single,))
        weights = load(located, str(folder))
        return Saved("full", _whole(weights.tensors), weights.notices)
    return _adapter(folder)


def _adapter(folder: Path) -> Saved:
    # A path object, so that a folder whose name holds "=" is not taken for LABEL=SOURCE.
    source = open_source(folder)
    weights = {
        delta.address: Weight(delta.address, (delta.d_out, delta.d_in), False, delta.open)
        for delta in source.deltas
    }
    beside = {entry.tensor for entry in source.coverage if _trained_whole(entry)}
    if beside:
        tensors = load(locate(folder), str(folder)).tensors
        extra = _whole({name: tensors[name] for name in tensors if name in beside})
        weights = {**weights, **{a: w for a, w in extra.items() if a not in weights}}
    return Saved("adapter", weights, source.notices)


def _trained_whole(entry: Entry) -> bool:
    return bool(_TRAINED_WHOLE.match(entry.reason)) and not _COPY.search(entry.tensor)


def _whole(tensors: Mapping[str, LazyTensor]) -> dict[Address, Weight]:
    weights: dict[Address, Weight] = {}
    for name, tensor in tensors.items():
        if is_float(tensor):
            address = parse(_SAVED.sub("", strip_wrappers(name)))
            weights.setdefault(address, Weight(address, tensor.shape, True, partial(_read_whole, tensor)))
    return weights


def _read_whole(tensor: LazyTensor) -> Dense:
    array = tensor.read()
    return Dense(array.reshape(len(array), -1) if array.ndim > 1 else array.reshape(1, -1))
