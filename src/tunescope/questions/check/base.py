"""The names and shapes of a base model's weights, from headers alone."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunescope.source.files.distributed import METADATA
from tunescope.source.files.suffixes import PICKLED, suffix_of
from tunescope.source.formats.names import strip_wrappers
from tunescope.source.hub_shapes import header_shapes
from tunescope.source.spec import parse_hub_id
from tunescope.source.whole import WholeModel, open_whole


@dataclass(frozen=True, eq=False)
class BaseNames:
    """Shapes by the names that stand in the files; `bytes_read` is the size of what was read for them.

    `loading` is the rule by which a loader gave them the names that they have here, where it did.
    """

    location: str
    shapes: Mapping[str, tuple[int, ...]]
    bytes_read: int
    config: Mapping[str, Any] = field(default_factory=dict)
    loading: str = ""


def base_names(spec: str | os.PathLike[str]) -> BaseNames:
    """The weights of a folder, a file or a hub id; of the hub, ranges of the headers are fetched.

    Raises `Missing` and `BadInput` as `open_whole`.
    """
    return _as_loaded(_read(spec))


def _read(spec: str | os.PathLike[str]) -> BaseNames:
    hub = None if os.path.lexists(Path(spec).expanduser()) else parse_hub_id(os.fspath(spec))
    found = None if hub is None else header_shapes(hub)
    if hub is None or found is None:
        return _of_disk(open_whole(spec))
    return BaseNames(hub.repo, *found)


def _as_loaded(base: BaseNames) -> BaseNames:
    """Files of GPT-2 and BLOOM leave out the `transformer.` that their loader puts in front of every name."""
    bare = any(name in base.shapes for name in _BARE) and any(name.startswith("h.") for name in base.shapes)
    return replace(base, shapes={f"transformer.{n}": s for n, s in base.shapes.items()}) if bare else base


_BARE = ("wte.weight", "word_embeddings.weight")


def _of_disk(model: WholeModel) -> BaseNames:
    shapes = {_as_stored(name, tensor.name): tensor.shape for name, tensor in model.tensors.items()}
    return BaseNames(
        model.location,
        shapes,
        sum(header_bytes(path) for file in model.files for path in file.paths),
        model.config,
    )


def _as_stored(name: str, stored: str) -> str:
    """The name in its file, wrappers included, behind the part of a pipeline that it belongs to."""
    plain = strip_wrappers(stored)
    return name.removesuffix(plain) + stored if name.endswith(plain) else name


def header_bytes(path: Path) -> int:
    """How much of a file is read for its names: the header of safetensors, all of any other."""
    size = path.stat().st_size
    if path.suffix.lower() == ".distcp":
        # What the index says of it is read alone.
        return 0
    if suffix_of(path) in (".npz", ".gguf", *PICKLED) or path.name == METADATA or size < 8:
        return size
    with path.open("rb") as file:
        return min(size, 8 + int.from_bytes(file.read(8), "little"))
