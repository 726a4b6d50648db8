"""What a training leaves on disk while it runs and when it was stopped."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from safetensors.numpy import save

import tunescope

from . import packing
from .kind import Kind
from .mutations import bytewise, json_values

_JSON = {"bytes": bytewise, "values": json_values}
_TABLE = {"bytes": bytewise, "values": packing.parquet_values}
_WEIGHTS = {
    "bytes": bytewise, "header": packing.safetensors_header, "shapes": packing.other_tensors,
}  # fmt: skip
_NAME = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight"


def _part(folder: Path) -> Path:
    """A recording of three steps that goes on; its last part."""
    import polars as pl

    from tunescope.training.recording import PARTS, SCHEMA, Recording

    number = {pl.Int64: 1, pl.Float64: 0.5, pl.String: "x"}
    recording = Recording(folder, {"run": "x", "planned_steps": 9})
    recording.begin(0)
    for step in (0, 1, 2):
        rows = [{n: number[t] for n, t in SCHEMA.items()} | {"step": step, "factor": f} for f in "AB"]  # type: ignore[index]
        recording.append(step, pl.DataFrame(rows, schema=SCHEMA))
    (folder / "run.json").write_text('{"domain": "x", "learning_rate": 1e-4, "seed": 0, "steps": 9}')
    return sorted((folder / PARTS).glob("step-*.parquet"))[-1]


def _stopped(folder: Path) -> Path:
    path = _part(folder).with_name("stopped.json")
    path.write_text(json.dumps({"reason": "the disk is full"}))
    return path


def _start(folder: Path) -> Path:
    from tunescope.training.start import FILE

    path = folder / FILE
    path.write_bytes(save({_NAME: np.ones((2, 6), np.float32)}))
    return path


def _started(path: Path) -> object:
    import torch

    from tunescope.training.start import load_start

    return load_start(path.parent, {_NAME: torch.zeros(2, 6)})


def _losses(folder: Path) -> Any:
    from tunescope.training.base_losses import BaseLosses
    from tunescope.training.recipe import Recipe

    return BaseLosses(folder, Recipe(model="m"), {"x": SimpleNamespace(record={"sha256": "0"})})  # type: ignore[dict-item]


def _base_losses(folder: Path) -> Path:
    losses = _losses(folder)
    losses._write({"x": SimpleNamespace(loss=2.5, tokens=12)})
    return folder / "base_losses.json"


TRAINING = {
    "capture_part": Kind(_part, lambda p: tunescope.trajectory(p.parents[1]), _TABLE, slow=12),
    "capture_stopped": Kind(_stopped, lambda p: tunescope.trajectory(p.parents[1]), _JSON, slow=8),
    "capture_start": Kind(
        _start,
        _started,
        {"bytes": bytewise, "header": packing.safetensors_header, "shapes": packing.other_tensors},
    ),
    "base_losses": Kind(_base_losses, lambda p: _losses(p.parent).read(), _JSON),
}
