"""What an adapter's file leaves to its base: shapes of layers, the kind of model; from headers."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunescope.errors import TunescopeError
from tunescope.paths import is_folder
from tunescope.source.files.container import read_safetensors
from tunescope.source.files.documents import read_object
from tunescope.source.replication import replicated

Shapes = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class BaseHeaders:
    """What headers say of a base: the shapes of its tensors by name, and its `config.json`."""

    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


# The headers of a base that was named; asked only where the adapter's file leaves something open.
NamedBase = Callable[[], BaseHeaders]


def base_headers(config: Mapping[str, Any], named: NamedBase | None = None) -> BaseHeaders:
    """The headers of the adapter's base, empty where no base is known.

    The base is the `named` one, else `base_model_name_or_path`: a folder on this disk, or an id of which the
    hub's cache holds a snapshot.
    """
    found = _of_config(config) if named is None else named()
    return replace(found, shapes=replicated(found.shapes, config))


def base_shapes(config: Mapping[str, Any], modules: Iterable[str], named: NamedBase | None = None) -> Shapes:
    """(d_out, d_in) of the modules in the adapter's base, none where no base is known."""
    weights = _matrices(base_headers(config, named).shapes)
    flip = bool(config.get("fan_in_fan_out"))
    found = {module: _find(module, weights) for module in modules}
    return {m: (s[1], s[0]) if flip else s for m, s in found.items() if s is not None}


def _folder(config: Mapping[str, Any]) -> Path | None:
    name = config.get("base_model_name_or_path")
    if not isinstance(name, str) or not name or "\0" in name:
        return None
    if is_folder(Path(name)):
        return Path(name)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        return None
    snapshots = _cache() / ("models--" + name.replace("/", "--")) / "snapshots"
    wanted = config.get("revision")
    if isinstance(wanted, str) and is_folder(snapshots / wanted):
        return snapshots / wanted
    present = sorted(snapshots.iterdir()) if is_folder(snapshots) else []
    return present[-1] if present else None


def _cache() -> Path:
    home = Path(os.environ.get("HF_HOME") or Path("~/.cache/huggingface").expanduser())
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub")


def _of_config(config: Mapping[str, Any]) -> BaseHeaders:
    folder = _folder(config)
    if folder is None:
        return BaseHeaders()
    stated = folder / "config.json"
    try:
        files = [read_safetensors(path) for path in sorted(folder.glob("*.safetensors"))]
        kind = read_object(stated, "model-config", "the model's config") if stated.is_file() else {}
    except (TunescopeError, OSError):
        return BaseHeaders()
    shapes = {name: tensor.shape for file in files for name, tensor in file.tensors.items()}
    return BaseHeaders(shapes, kind)


def _matrices(shapes: Mapping[str, tuple[int, ...]]) -> Shapes:
    """The weights that are matrices, by module; a single column is how bitsandbytes packs one."""
    return {
        name.removesuffix(".weight"): (shape[0], shape[1])
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) == 2 and shape[1] > 1
    }


def _find(module: str, weights: Shapes) -> tuple[int, int] | None:
    """The module's shape; the model class may have put one name before the base's, or taken one off."""
    if module in weights:
        return weights[module]
    shorter = module.partition(".")[2]
    if shorter in weights:
        return weights[shorter]
    longer = [shape for name, shape in weights.items() if name.partition(".")[2] == module]
    return longer[0] if len(longer) == 1 else None
