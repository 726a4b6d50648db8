"""A whole model on disk: every tensor by its own name, none of them read, and its config."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunescope.errors import Notice
from tunescope.source.checkpoint import local_model, named_base
from tunescope.source.dequantised import dequantised
from tunescope.source.files.container import Read, TensorFile
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.formats.names import strip_wrappers
from tunescope.source.model_files import open_model_files
from tunescope.source.open import read_file
from tunescope.source.quantised import codes_named
from tunescope.source.wrapped import FACTOR
from tunescope.words import counted

# What PEFT puts around a layer that it adapts and around a module that it saves.
_WRAPPED = re.compile(r"\.(?:base_layer|modules_to_save\.[^.]+)(?=\.)")
# A model's config is a few kilobytes; what is much larger is none.
_LARGEST_CONFIG = 1 << 22


@dataclass(frozen=True, eq=False)
class WholeModel:
    """The tensors of one model by name, without wrapper prefixes and with the part of a pipeline in front.

    `config` is what `config.json` holds, empty without one.
    """

    location: str
    tensors: Mapping[str, LazyTensor]
    files: tuple[TensorFile, ...]
    notices: tuple[Notice, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)

    def verify_unchanged(self) -> None:
        """Refuse the result if a file changed while it was read."""
        for file in self.files:
            file.verify_unchanged()


def open_whole(spec: str | os.PathLike[str], read: Read = read_file) -> WholeModel:
    """Open a whole model: a file, a folder with one save, a diffusers pipeline or a hub id.

    Only headers are read, by `read`; no class of the model is built. Raises `Missing` and `BadInput` as
    `open_model_files`.
    """
    path = local_model(spec)
    return _model(str(path), *open_model_files(path, read), path if path.is_dir() else path.parent)


def open_base(spec: str | os.PathLike[str]) -> WholeModel:
    """As `open_whole`, for a model of which some weights are read: on the hub no others are fetched."""
    held = named_base(spec)
    return open_whole(spec) if held is None else _model(held.place, held.opened, [], held.folder)


def _model(
    location: str, opened: list[tuple[str, TensorFile]], notices: list[Notice], folder: Path | None
) -> WholeModel:
    tensors: dict[str, LazyTensor] = {}
    for prefix, file in opened:
        for name, tensor in file.tensors.items():
            plain = prefix + strip_wrappers(name)
            tensors[plain if plain not in tensors else prefix + name] = tensor
    tensors, unmerged = _unwrapped(tensors)
    files = tuple(file for _, file in opened)
    config, said = ({}, []) if folder is None else _config(folder)
    noticed = (*notices, *unmerged, *(n for file in files for n in file.notices), *said)
    return WholeModel(location, codes_named(dequantised(tensors, location)), files, noticed, config)


def _unwrapped(tensors: Mapping[str, LazyTensor]) -> tuple[dict[str, LazyTensor], list[Notice]]:
    """The tensors of a model that PEFT wrapped under the model's own names, and what is not merged there."""
    factors = [name for name in tensors if FACTOR.search(name)]
    if not factors and not any(_WRAPPED.search(name) for name in tensors):
        return dict(tensors), []
    plain: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        own = _WRAPPED.sub("", name)
        plain[own if own not in tensors and own not in plain else name] = tensor
    if not factors:
        return plain, []
    text = (
        f"{counted(len(factors), 'tensor')} of an adapter lie unmerged among the weights, such as "
        f"{factors[0]}: they are part of no weight here, and what they add is not measured; save the adapter "
        "by itself, or merge it"
    )
    return plain, [Notice("unmerged", text)]


def _config(folder: Path) -> tuple[Mapping[str, Any], list[Notice]]:
    path = folder / "config.json"
    try:
        if not path.is_file():
            return {}, []
        if path.stat().st_size > _LARGEST_CONFIG:
            return {}, [_unread(f"larger than {_LARGEST_CONFIG} bytes")]
        document = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        return {}, [_unread(str(error))]
    return (document, []) if isinstance(document, dict) else ({}, [_unread("it is no JSON object")])


def _unread(why: str) -> Notice:
    return Notice("config-unread", f"config.json beside the model cannot be read: {why}")
