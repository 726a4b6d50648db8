"""Runs on disk → one frame of motion: a row per run, step, weight and factor."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tunescope.address import Address, component_names
from tunescope.errors import Notice
from tunescope.questions.trajectory import layers
from tunescope.questions.trajectory.beginning import beginning
from tunescope.questions.trajectory.captured import recorded_rows, recording_notices
from tunescope.questions.trajectory.course import follow_whole
from tunescope.questions.trajectory.differing import (
    differences,
    refuse_mixture,
    refuse_other_kind,
    refuse_unrelated,
)
from tunescope.questions.trajectory.motion import Moments, Motion, follow
from tunescope.questions.trajectory.renamed import fitted, paired
from tunescope.questions.trajectory.stacked import batches, follow_together
from tunescope.questions.trajectory.vocabulary import all_addresses, common_rows, last_shape, resized_since
from tunescope.source.checkpoints import Saved, open_checkpoint
from tunescope.source.training_run import Checkpoint, Run
from tunescope.table import dtypes


def motion_of(
    run: Run, start: Path | None = None, scale: float | None = None, align_vocab: bool = False
) -> tuple[pl.DataFrame, list[Notice]]:
    """The motion of one run from its capture or its checkpoints, and what was noticed while reading.

    `scale` is that of adapters that do not say theirs; `align_vocab` follows tables of several lengths over
    the rows that all have.
    """
    if run.capture:
        frame = _captured(run)
        return frame, recording_notices(run, frame["step"])
    opened = [open_checkpoint(checkpoint.weights, scale) for checkpoint in run.checkpoints]
    begun, noticed = beginning(run, opened, start, scale)
    frame, said = _from_checkpoints(run, opened, begun, align_vocab, start)
    return frame, [*noticed, *said]


def _captured(run: Run) -> pl.DataFrame:
    frame = recorded_rows(run.folder)
    named = _keyed(frame.rename({"learning_rate": "schedule_learning_rate"}), run)
    named = named.with_columns(
        reference=pl.lit("start"),
        family=pl.col("module_type").replace_strict(_families(frame), return_dtype=pl.String),
        cosine_to_previous=pl.lit(None, pl.Float64),
        cosine_to_last=pl.lit(None, pl.Float64),
        changed_fraction=pl.lit(None, pl.Float64),
    )
    return named.select(pl.col(name).cast(dtype) for name, dtype in dtypes(layers.SCHEMA).items())


def _keyed(frame: pl.DataFrame, run: Run) -> pl.DataFrame:
    return frame.with_columns(
        run=pl.lit(run.label),
        domain=pl.lit(run.domain, pl.String),
        learning_rate=pl.lit(run.learning_rate, pl.Float64),
        seed=pl.lit(run.seed, pl.Int64),
    )


def _families(frame: pl.DataFrame) -> dict[str, str]:
    return {kind: Address("", 0, kind).family for kind in frame["module_type"].unique().to_list()}


def _from_checkpoints(
    run: Run, opened: Sequence[Saved], start: Saved | None, align_vocab: bool, place: Path | None
) -> tuple[pl.DataFrame, list[Notice]]:
    refuse_mixture(run, opened)
    opened, renamed = paired(run, opened)
    start, said = fitted(run, opened, start)
    refuse_other_kind(run, opened, start, place)
    if align_vocab:
        opened, start = common_rows(opened, start)
    refuse_unrelated(run, opened, start)
    resized = resized_since(opened, start)
    addresses = [address for address in all_addresses(opened) if address not in resized]
    names = dict(zip(addresses, component_names(addresses), strict=True))
    of_checkpoint = [_of_checkpoint(checkpoint) for checkpoint in run.checkpoints]
    together = _followed_together(addresses, opened) if start is None else {}
    rows = []
    for address in addresses:
        keys = _of_weight(address, names[address])
        for motion in together.pop(address, None) or _followed(address, opened, start):
            beside = keys | of_checkpoint[motion.index]
            rows += [_row(beside, f, m, motion) for f, m in motion.factors.items()]
    frame = layers.frame(rows).sort("step", maintain_order=True)
    return _keyed(frame, run), [*renamed, *said, *differences(run, opened, start)]


def _followed(address: Address, opened: Sequence[Saved], start: Saved | None) -> Iterator[Motion]:
    """The motion of one weight over the checkpoints in which it has the shape that it has at the end."""
    weights = [saved.weights.get(address) for saved in opened]
    shape = last_shape(address, opened)
    openers = [w.open if w is not None and w.shape == shape else None for w in weights]
    origin = None if start is None else start.weights.get(address)
    present = [w for w in weights if w is not None and w.shape == shape]
    if all(w.values is not None for w in (*present, *([] if origin is None else [origin]))):
        values = [w.values if w is not None and w.shape == shape else None for w in weights]
        begin = None if origin is None else origin.values
        yield from follow_whole(values, begin, "first_checkpoint" if begin is None else "start")
        return
    whole = any(weight is not None and weight.whole for weight in weights)
    yield from follow(
        openers, None if origin is None else origin.open, origin="first_checkpoint" if whole else "zero"
    )


def _followed_together(addresses: Sequence[Address], opened: Sequence[Saved]) -> dict[Address, list[Motion]]:
    """The motion of small updates that every checkpoint has, many at once."""
    here = [a for a in addresses if all((w := s.weights.get(a)) is not None and not w.whole for s in opened)]
    found: dict[Address, list[Motion]] = {}
    sizes = [(w.rank or 0) * sum(w.shape) for w in (opened[0].weights[address] for address in here)]
    for batch in batches(sizes):
        members = [here[i] for i in batch]
        followed = follow_together([[saved.weights[a].open for saved in opened] for a in members])
        found |= {a: motions for a, motions in zip(members, followed, strict=True) if motions is not None}
    return found


def _of_weight(address: Address, name: str) -> dict[str, Any]:
    return {
        "stack": address.stack,
        "layer": address.layer,
        "module_type": address.module_type,
        "expert": address.expert,
        "family": address.family,
        "component_name": name,
    }


def _of_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "step": checkpoint.step,
        "epoch": checkpoint.epoch,
        "loss": _latest(checkpoint.losses),
        "schedule_learning_rate": _latest(checkpoint.learning_rates),
    }


def _row(beside: Mapping[str, Any], factor: str, of: tuple[Moments, str], motion: Motion) -> dict[str, Any]:
    moments, reference = of
    return {
        **beside,
        "factor": factor,
        "reference": reference,
        "mean": moments.mean,
        "variance": moments.variance,
        "abs_mean": moments.abs_mean,
        "abs_variance": moments.abs_variance,
        "numel": moments.numel,
        # A norm that is unknown because the adapter does not say its scale is null; one of NaNs is NaN.
        "delta_frobenius_norm": None
        if math.isnan(motion.norm) and math.isfinite(moments.mean)
        else motion.norm,
        "cosine_to_previous": motion.cosine_to_previous,
        "cosine_to_last": motion.cosine_to_last,
        "changed_fraction": motion.changed_fraction,
    }


def _latest(logged: Mapping[int, float]) -> float | None:
    return logged[max(logged)] if logged else None
