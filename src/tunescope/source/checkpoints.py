"""The weights of one training checkpoint: an adapter's updates, or a whole model's matrices."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tunescope.address import Address, parse_all
from tunescope.delta import Dense, Update
from tunescope.errors import BadInput, Notice
from tunescope.source.files.distributed import is_distributed, read_model
from tunescope.source.files.tensors import Entry, LazyTensor, is_float
from tunescope.source.formats.names import strip_wrappers
from tunescope.source.locate import CONFIG, NEVER_OPENED, locate
from tunescope.source.open import load, open_source
from tunescope.source.opened import Source
from tunescope.source.steps import SUFFIXES
from tunescope.source.tied import repeated
from tunescope.source.whole import open_whole
from tunescope.words import counted, first

# Tensors saved beside an adapter that train, but of which the file alone has no ΔW.
_TRAINED_WHOLE = re.compile(r"^(saved module|saved embedding layer|bias)\b")
_MODEL = re.compile(r"^(model|pytorch_model|diffusion_pytorch_model)[.-].*|^model_index\.json$")
_HELD = (*SUFFIXES, ".distcp")
_COPY = re.compile(r"\.(original_module|base_layer)\.")
_SAVED = re.compile(r"\.modules_to_save(\.default)?(?=\.)")


@dataclass(frozen=True, eq=False)
class Weight:
    """One trained weight of a checkpoint: a weight itself, whose `values` are there, or an update ΔW.

    `rank`, `scale` and `method` are those of an update in two factors.
    """

    address: Address
    shape: tuple[int, ...]
    whole: bool
    open: Callable[[], Update]
    values: LazyTensor | None = None
    rank: int | None = None
    scale: float | None = None
    method: str = ""


@dataclass(frozen=True, eq=False)
class Saved:
    """The trained weights of a checkpoint, `kind` (`adapter` or `full`), and what was noticed on the way."""

    kind: str
    weights: Mapping[Address, Weight]
    notices: tuple[Notice, ...] = ()


def open_checkpoint(path: Path, scale: float | None = None) -> Saved:
    """Open an adapter or a whole model: a file, or a folder with either, sharded or not; nothing is read yet.

    Beside an adapter's updates, the modules and biases that were saved whole are there as weights; `scale` is
    that of an adapter that does not say it. Raises as `open_source` and `open_whole`.
    """
    names = [entry.name for entry in path.iterdir()] if path.is_dir() else []
    if is_distributed(names):
        return _distributed(path, scale)
    if any(name == CONFIG or name.startswith("adapter_model.") for name in names):
        return _adapter(path, scale)
    if any(_MODEL.match(name) for name in names):
        return _full(path) or _adapter(path, scale)
    try:
        return _adapter(path, scale)
    except BadInput as problem:
        if problem.slug not in ("keys-not-recognised", "full-model"):
            raise
        # Weights of no adapter: a whole model in a file of its own name.
        if (model := _full(path)) is None:
            raise
        return model


def weight_files(path: Path) -> list[Path]:
    """The files of a checkpoint that can hold its weights or say what they are, in order of their names."""
    if not path.is_dir():
        return [path]
    found = [entry for entry in sorted(path.rglob("*")) if entry.is_file()]
    return [
        file
        for file in found
        if file.suffix.lower() in _HELD or file.name in (CONFIG, ".metadata")
        if not NEVER_OPENED.match(file.name)
    ]


def _distributed(path: Path, scale: float | None) -> Saved:
    """The model of a distributed checkpoint, without what belongs to the optimizer and the data."""
    file = read_model(path)
    if any(".adapter.linear_" in name for name in file.tensors):
        # Megatron-Bridge, whose settings lie beside.
        return _adapter(path, scale)
    if any(".lora_" in name for name in file.tensors):
        if (path / CONFIG).is_file():
            return _adapter(path, scale)
        # Without a config there is no scale, and the names are those of factors alone. Adapters are small:
        # their arrays are read at once.
        plain = {strip_wrappers(name): tensor.read() for name, tensor in file.tensors.items()}
        source = open_source(plain, label=path.name, scale=scale)
        return Saved("adapter", _updates(source), (*file.notices, *source.notices))
    return Saved("full", _whole(file.tensors), (*file.notices, *_unread(file.tensors)))


def _updates(source: Source) -> dict[Address, Weight]:
    return {
        d.address: Weight(
            d.address, (d.d_out, d.d_in), False, d.open, rank=d.rank, scale=d.scale, method=d.method
        )
        for d in source.deltas
    }


def _full(path: Path) -> Saved | None:
    """A whole model; none where an adapter lies unmerged in it, which is what was trained."""
    model = open_whole(path)
    if any(notice.slug == "unmerged" for notice in model.notices):
        return None
    # A tied head that is stored too is its table once more.
    tied = repeated(model)
    once = {name: tensor for name, tensor in model.tensors.items() if name not in tied}
    said = [
        Notice("tied-head", f"{head} is the table {table} again, counted once")
        for head, table in tied.items()
    ]
    return Saved("full", _whole(once), (*model.notices, *said, *_unread(model.tensors)))


def _unread(tensors: Mapping[str, LazyTensor]) -> list[Notice]:
    """What to say of tensors that cannot be read as numbers, with the reason of each kind."""
    unread: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        if not tensor.supported:
            unread.setdefault(tensor.unreadable, []).append(name)
    return [
        Notice(
            "unsupported-dtype", f"{counted(len(names), 'tensor')} not followed ({why}): {first(names, 3)}"
        )
        for why, names in unread.items()
    ]


def _adapter(path: Path, scale: float | None) -> Saved:
    # A path object, so that a folder whose name holds "=" is not taken for LABEL=SOURCE.
    source = open_source(path, scale=scale)
    weights = _updates(source)
    beside = {entry.tensor for entry in source.coverage if _trained_whole(entry)}
    if beside:
        tensors = load(locate(path), str(path)).tensors
        extra = _whole({name: tensors[name] for name in tensors if name in beside})
        weights = {**weights, **{a: w for a, w in extra.items() if a not in weights}}
    return Saved("adapter", weights, source.notices)


def _trained_whole(entry: Entry) -> bool:
    return bool(_TRAINED_WHOLE.match(entry.reason)) and not _COPY.search(entry.tensor)


def _whole(tensors: Mapping[str, LazyTensor]) -> dict[Address, Weight]:
    floats = {name: tensor for name, tensor in tensors.items() if is_float(tensor)}
    addresses = parse_all(_SAVED.sub("", strip_wrappers(name)) for name in floats)
    weights: dict[Address, Weight] = {}
    for address, tensor in zip(addresses, floats.values(), strict=True):
        opened = partial(read_whole, tensor)
        weights.setdefault(address, Weight(address, tensor.shape, True, opened, tensor))
    return weights


def read_whole(tensor: LazyTensor) -> Dense:
    """A whole tensor as an update that is a matrix, `(1, n)` of a vector."""
    array = tensor.read()
    return Dense(array.reshape(len(array), -1) if array.ndim > 1 else array.reshape(1, -1))
