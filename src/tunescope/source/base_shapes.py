"""Shapes of a base model's layers, for the adapter methods that do not save them; only headers are read."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tunescope.errors import TunescopeError
from tunescope.paths import is_folder
from tunescope.source.files.container import read_safetensors

Shapes = dict[str, tuple[int, int]]


def base_shapes(config: Mapping[str, Any], modules: Iterable[str]) -> Shapes:
    """(d_out, d_in) of the modules that the adapter's base model has on this disk, none where it is not here.

    The base is `base_model_name_or_path`: a folder, or an id of which the hub's cache holds a snapshot.
    """
    folder = _folder(config)
    if folder is None:
        return {}
    try:
        weights = _weights(folder)
    except (TunescopeError, OSError):
        return {}
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


def _weights(folder: Path) -> Shapes:
    shapes: Shapes = {}
    for path in sorted(folder.glob("*.safetensors")):
        for name, tensor in read_safetensors(path).tensors.items():
            if name.endswith(".weight") and len(tensor.shape) == 2:
                shapes[name.removesuffix(".weight")] = (tensor.shape[0], tensor.shape[1])
    return shapes


def _find(module: str, weights: Shapes) -> tuple[int, int] | None:
    """The module's shape; the model class may have put one name before the base's, or taken one off."""
    if module in weights:
        return weights[module]
    shorter = module.partition(".")[2]
    if shorter in weights:
        return weights[shorter]
    longer = [shape for name, shape in weights.items() if name.partition(".")[2] == module]
    return longer[0] if len(longer) == 1 else None
