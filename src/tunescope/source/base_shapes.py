"""Shapes of a base model's layers, for the adapter methods that do not save them; only headers are read."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tunescope.errors import TunescopeError
from tunescope.paths import is_folder
from tunescope.source.files.container import read_safetensors

Shapes = dict[str, tuple[int, int]]
# The shapes of a named base's tensors by name; asked only for a method that does not save them.
BaseShapes = Callable[[], Mapping[str, tuple[int, ...]]]


def base_shapes(config: Mapping[str, Any], modules: Iterable[str], named: BaseShapes | None = None) -> Shapes:
    """(d_out, d_in) of the modules in the adapter's base, none where no base is known.

    The base is the `named` one, else `base_model_name_or_path`: a folder on this disk, or an id of which the
    hub's cache holds a snapshot.
    """
    weights = _of_config(config) if named is None else _matrices(named())
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


def _of_config(config: Mapping[str, Any]) -> Shapes:
    folder = _folder(config)
    if folder is None:
        return {}
    try:
        files = [read_safetensors(path) for path in sorted(folder.glob("*.safetensors"))]
    except (TunescopeError, OSError):
        return {}
    return _matrices({name: tensor.shape for file in files for name, tensor in file.tensors.items()})


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
