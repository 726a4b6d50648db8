"""The files that hold a whole model: one file, the shards of one save, or the parts of a pipeline."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tunescope.errors import BadInput, Missing, Notice
from tunescope.hashes import unstated
from tunescope.source.files.container import Read, TensorFile
from tunescope.source.files.deepspeed import is_deepspeed, states_file
from tunescope.source.files.disk import check_links, unreachable
from tunescope.source.files.distributed import is_distributed, read_model
from tunescope.source.files.sharded import read_shards
from tunescope.source.locate import CONFIG, NEVER_OPENED, SHARD, Located, unfinished
from tunescope.source.open import read_file
from tunescope.source.weight_folders import known_folder

_SHARD = re.compile(r"^(?P<stem>.+)-\d{5}-of-\d{5}\.safetensors$")
_INDEX = ".safetensors.index.json"
_PICKLED_INDEX = ".bin.index.json"
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
PIPELINE = "model_index.json"
# How the files of a model's weights begin and end.
_STEMS = ("model.", "model-", "pytorch_model", "diffusion_pytorch_model", "consolidated")
_ENDS = (".safetensors", ".bin", ".index.json", ".pth")


def open_model_files(path: Path, read: Read = read_file) -> tuple[list[tuple[str, TensorFile]], list[Notice]]:
    """Every file of a model with the prefix that its tensors' names get, and what was noticed.

    Each is opened by `read`. The prefix is empty but for the parts of a diffusers pipeline, whose folders
    name them (`unet.`). Raises `Missing` for what is not there, `BadInput` for what is broken, ambiguous or
    an adapter.
    """
    if not os.path.lexists(path):
        raise Missing(
            "not-found",
            "there is no such base model",
            file=path,
            found="nothing at this path; it looks local, so this was not a hub lookup",
            fix="check the path; a hub model is written org/name[@revision]",
        )
    opened, notices = _opened(path, read)
    return opened, [*notices, *unstated(file.path for _, file in opened)]


def _opened(path: Path, read: Read) -> tuple[list[tuple[str, TensorFile]], list[Notice]]:
    if not path.is_dir():
        return [("", read(path))], []
    if (path / PIPELINE).is_file():
        return _pipeline(path, read)
    path = known_folder(path) or path
    names = _names(path)
    left = unfinished(names)
    if is_distributed(names) and not weight_names(names):
        return [("", read_model(path))], [*left]
    at = Located((states_file(path, names),)) if is_deepspeed(names) else _locate(path, names)
    files, notices = _one_save(at, read)
    return [("", file) for file in files], [*left, *notices]


def _pipeline(folder: Path, read: Read) -> tuple[list[tuple[str, TensorFile]], list[Notice]]:
    files: list[tuple[str, TensorFile]] = []
    notices: list[Notice] = []
    for part in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        names = _names(part)
        if any(n.endswith((".safetensors", *_PICKLED)) and not NEVER_OPENED.match(n) for n in names):
            found, more = _one_save(_locate(part, names), read)
            files += [(f"{part.name}.", file) for file in found]
            notices += [*unfinished(names), *more]
    if not files:
        _refuse_nothing(folder, _names(folder))
    return files, notices


def _one_save(located: Located, read: Read) -> tuple[list[TensorFile], list[Notice]]:
    if located.index is not None or SHARD.match(located.files[0].name):
        return read_shards(located, read)
    check_links(located.files[0].parent, located.files)
    return [read(located.files[0])], []


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise unreachable(folder, error) from None


def by_names(names: Sequence[str]) -> bool:
    """Whether the files of a folder are those of a whole model and not of an adapter.

    >>> by_names(["config.json", "model.safetensors"]), by_names(["adapter_config.json", "model.safetensors"])
    (True, False)
    """
    if CONFIG in names or any(name.startswith("adapter_model.") for name in names):
        return False
    return PIPELINE in names or any(
        name.startswith(_STEMS) and name.endswith(_ENDS) and not NEVER_OPENED.match(name) for name in names
    )


def weight_names(names: Sequence[str]) -> list[str]:
    """The files of a model's weights with their index; pickles only where there is nothing else.

    >>> weight_names(["model.safetensors", "pytorch_model.bin", "training_args.bin"])
    ['model.safetensors']
    """
    kinds = (".safetensors", _INDEX), (".bin", _PICKLED_INDEX), _PICKLED[1:]
    for ends in kinds:
        found = [n for n in names if n.endswith(ends) and _may_be_weights(n)]
        if any(not n.endswith(".json") for n in found):
            return found
    return []


def _locate(folder: Path, names: Sequence[str]) -> Located:
    """The one set of weights of a model folder; pickles only where there is nothing else."""
    weights = [n for n in names if n.endswith(".safetensors") and not n.startswith("adapter_")]
    pickled = [n for n in names if n.endswith(_PICKLED) and _may_be_weights(n)]
    index = [n for n in names if n.endswith(_INDEX)]
    shards = [n for n in weights if _SHARD.match(n)]
    single = [n for n in weights if n not in shards]
    beside = [n for n in pickled if n.startswith("pytorch_model")] if weights else []
    kinds = [bool(single), bool(shards or index), bool(beside)]
    if sum(kinds) > 1 or len(single) > 1 or len(index) > 1 or len({_stem(n) for n in shards}) > 1:
        _refuse_several(folder, single, index, [*shards, *beside])
    if index:
        return Located((), folder / index[0])
    if weights:
        return Located(tuple(folder / n for n in (shards or single)))
    if not pickled:
        _refuse_nothing(folder, names)
    return _located_pickles(folder, pickled, [n for n in names if n.endswith(_PICKLED_INDEX)])


def _located_pickles(folder: Path, pickled: Sequence[str], index: Sequence[str]) -> Located:
    shards = [n for n in pickled if SHARD.match(n)]
    alone = [n for n in pickled if n not in shards]
    if len(alone) + bool(shards) > 1 or len(index) > 1:
        _refuse_several(folder, alone, index, shards)
    if shards:
        return Located((), folder / index[0]) if index else Located(tuple(folder / n for n in shards))
    return Located((folder / alone[0],))


def _may_be_weights(name: str) -> bool:
    return not NEVER_OPENED.match(name) and not name.startswith((".", "adapter_"))


def _stem(name: str) -> str:
    found = _SHARD.match(name)
    return found["stem"] if found else name


def _refuse_several(folder: Path, single: Sequence[str], index: Sequence[str], rest: list[str]) -> NoReturn:
    raise BadInput(
        "ambiguous-weights",
        "the folder holds several files of weights, and they may differ",
        file=folder,
        expected="one file, or the shards of one save",
        found=", ".join([*single, *index, *rest][:6]),
        fix=f"name the one you mean, such as {folder / [*single, *index][0]}"
        if single or index
        else "remove the shards of the other save",
    )


def _refuse_nothing(folder: Path, names: Sequence[str]) -> NoReturn:
    if CONFIG in names:
        raise BadInput(
            "adapter-not-model",
            "this is an adapter, not a whole model",
            file=folder,
            expected="model.safetensors, or shards with their index",
            found=CONFIG,
            fix="name the base model that it was trained on",
        )
    raise BadInput(
        "no-weights",
        "the folder holds no weights of a model",
        file=folder,
        expected="model.safetensors, or shards with their index",
        found=", ".join(names[:6]) or "an empty folder",
        fix="save the model with save_pretrained",
    )
