"""What a training leaves on disk while it runs and when it was stopped."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from safetensors.numpy import save

import tunescope
from tunescope.errors import TunescopeError

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
    from tunescope.training.recording import START

    path = folder / START
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


def _sweep(folder: Path) -> Path:
    """A run of a sweep that was trained and whose capture stopped; its record."""
    run = _run(folder)
    run.folder.mkdir(parents=True)
    stopped = {"status": "failed", "reason": "the disk is full", "exit_code": 5}
    losses = {"x": {"before": 2.5, "after": None, "tokens": 12}}
    said = {"status": "capture_stopped", "capture": stopped, "losses": losses, "settings": {"rank": 2}}
    run.finish(said | {"seed": 0, "learning_rate": 1e-4})
    return run.folder / "run.json"


def _run(root: Path) -> Any:
    from tunescope.training.run import Run

    return Run("x", 1e-4, 0, root)


def _asked_of_run(path: Path) -> object:
    """What a sweep asks of a run that is there, but for the refusal that a stopped capture ends with."""
    from tunescope.training.run import refuse_stopped
    from tunescope.training.transfer import transfer

    run = _run(path.parents[3])
    said = run.complete, run.trained, run.begun, transfer([run])
    try:
        refuse_stopped([run])
    except TunescopeError as error:
        if error.slug != "capture-stopped":
            raise
    return said


def _marker(folder: Path) -> Path:
    """What says that a run is whole."""
    record = _sweep(folder)
    (record.parent / "complete").write_text(hashlib.sha256(record.read_bytes()).hexdigest() + "\n")
    return record.parent / "complete"


def _checkpoint(folder: Path) -> Path:
    state = {"global_step": 5, "max_steps": 9, "log_history": [{"step": 5, "loss": 1.5}], "epoch": 0.5}
    path = folder / "checkpoint-5" / "trainer_state.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(state))
    return path


def _went_on(path: Path) -> bool:
    from tunescope.training.checkpoints import is_last

    return is_last(path.parent)


TRAINING = {
    "sweep_record": Kind(_sweep, _asked_of_run, _JSON),
    "sweep_marker": Kind(_marker, _asked_of_run, {"bytes": bytewise}),
    "checkpoint_state": Kind(_checkpoint, _went_on, _JSON),
    "capture_part": Kind(_part, lambda p: tunescope.trajectory(p.parents[1]), _TABLE, slow=32),
    "capture_stopped": Kind(_stopped, lambda p: tunescope.trajectory(p.parents[1]), _JSON, slow=8),
    "capture_start": Kind(
        _start,
        _started,
        {"bytes": bytewise, "header": packing.safetensors_header, "shapes": packing.other_tensors},
    ),
    "base_losses": Kind(_base_losses, lambda p: _losses(p.parent).read(), _JSON),
}
