"""The weights before training: as given, or as the capture of the same training kept them beside."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl

from tunescope.delta import Factored, Update
from tunescope.errors import BadInput, Notice
from tunescope.questions.trajectory.captured import recorded_rows
from tunescope.questions.trajectory.motion import moments
from tunescope.source.checkpoints import Saved, Weight, open_checkpoint
from tunescope.source.training_run import Run, has_capture
from tunescope.training.recording import START

# Methods whose factors and scale say the whole update.
_PLAIN = ("lora", "rslora")
# What a capture says of a factor and what its checkpoint says differ by less, in any dtype that trains.
_ALIKE = 0.01


def beginning(
    run: Run, opened: Sequence[Saved], given: Path | None, scale: float | None
) -> tuple[Saved | None, list[Notice]]:
    """The start that was `given`, or else what lies beside the checkpoints and is shown to be of their run.

    It is of their run where it has all their weights, and the capture beside it holds the mean |Δ| that each
    of them has at the step of a checkpoint.
    """
    if given is not None:
        return open_checkpoint(given, scale), []
    path = run.folder / START
    if not path.is_file() or not has_capture(run.folder):
        return None, []
    try:
        start = _under_settings(open_checkpoint(path, 1.0), opened[0])
        known = start is not None and _is_of(run, opened, start)
    except BadInput:
        known = False
    if not known:
        text = f"{START} beside the checkpoints is not shown to be of their run, and is not used"
        return None, [Notice("start-beside", text)]
    return start, [Notice("start-beside", f"Δ counts from {START}, which lies beside the checkpoints")]


def _under_settings(start: Saved, first: Saved) -> Saved | None:
    """The start with the scales of the first checkpoint, whose settings it shares; `None` of another kind."""
    weights = {}
    for address, wanted in first.weights.items():
        own = start.weights.get(address)
        if own is None or (own.whole, own.shape, own.rank) != (wanted.whole, wanted.shape, wanted.rank):
            return None
        if not wanted.whole and wanted.method not in _PLAIN:
            return None
        weights[address] = own if own.whole else _scaled(own, wanted.scale)
    return replace(start, weights=weights, notices=())


def _scaled(weight: Weight, scale: float | None) -> Weight:
    return replace(weight, open=partial(_open_scaled, weight, scale), scale=scale)


def _open_scaled(weight: Weight, scale: float | None) -> Update:
    return replace(weight.open(), scale=scale)


def _is_of(run: Run, opened: Sequence[Saved], start: Saved) -> bool:
    """Whether mean |Δ| between the start and a checkpoint is what the capture holds of that step."""
    rows = recorded_rows(run.folder)
    steps = set(rows["step"].to_list())
    both = [s for c, s in zip(run.checkpoints, opened, strict=True) if c.step in steps]
    at = [c.step for c in run.checkpoints if c.step in steps]
    if not both:
        return False
    captured = _by_factor(rows.filter(pl.col("step") == at[-1]))
    found = [
        (captured.get((address.stack, address.layer, address.module_type, address.expert, factor)), size)
        for address, origin in start.weights.items()
        for factor, size in _sizes(both[-1].weights[address].open(), origin.open())
    ]
    return all(one is not None and math.isclose(one, two, rel_tol=_ALIKE) for one, two in found)


def _by_factor(rows: pl.DataFrame) -> dict[tuple[object, ...], float]:
    keys = ("stack", "layer", "module_type", "expert", "factor")
    return {tuple(row[:-1]): row[-1] for row in rows.select(*keys, "abs_mean").iter_rows()}


def _sizes(now: Update, start: Update) -> list[tuple[str, float]]:
    """Mean |Δ| of each factor, or of the whole weight."""
    if isinstance(now, Factored) and isinstance(start, Factored):
        return [("A", moments(now.A, start.A).abs_mean), ("B", moments(now.B, start.B).abs_mean)]
    assert not isinstance(now, Factored)
    assert not isinstance(start, Factored)
    return [("W", moments(now.matrix, start.matrix).abs_mean)]
