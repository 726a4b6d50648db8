"""Runs on disk → one frame of motion: a row per run, step, weight and factor."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tunescope.address import Address, component_names
from tunescope.errors import BadInput, Notice
from tunescope.questions.trajectory import layers
from tunescope.questions.trajectory.captured import recorded_rows, recording_notices
from tunescope.questions.trajectory.course import follow_whole
from tunescope.questions.trajectory.motion import Moments, Motion, follow
from tunescope.questions.trajectory.renamed import fitted, paired
from tunescope.questions.trajectory.stacked import batches, follow_together
from tunescope.source.checkpoints import Saved, open_checkpoint
from tunescope.source.training_run import Checkpoint, Run
from tunescope.study.finding import named
from tunescope.table import dtypes


def motion_of(
    run: Run, start: Path | None = None, scale: float | None = None
) -> tuple[pl.DataFrame, list[Notice]]:
    """The motion of one run from its capture or its checkpoints, and what was noticed while reading.

    `scale` is that of adapters that do not say theirs.
    """
    if run.capture:
        frame = _captured(run)
        return frame, recording_notices(run, frame["step"])
    opened = [open_checkpoint(checkpoint.weights, scale) for checkpoint in run.checkpoints]
    return _from_checkpoints(run, opened, None if start is None else open_checkpoint(start, scale))


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
    run: Run, opened: Sequence[Saved], start: Saved | None
) -> tuple[pl.DataFrame, list[Notice]]:
    _refuse_mixture(run, opened)
    opened, renamed = paired(run, opened)
    start, said = fitted(run, opened, start)
    _refuse_unrelated(run, opened, start)
    addresses = list(dict.fromkeys(address for saved in opened for address in saved.weights))
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
    return _keyed(frame, run), [*renamed, *said, *_notices(opened)]


def _followed(address: Address, opened: Sequence[Saved], start: Saved | None) -> Iterator[Motion]:
    """The motion of one weight over the checkpoints in which it has the shape that it has at the end."""
    weights = [saved.weights.get(address) for saved in opened]
    shape = _last_shape(address, opened)
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


def _last_shape(address: Address, opened: Sequence[Saved]) -> tuple[int, ...]:
    return next(saved.weights[address].shape for saved in reversed(opened) if address in saved.weights)


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


def _refuse_mixture(run: Run, opened: Sequence[Saved]) -> None:
    kinds = {saved.kind for saved in opened}
    if len(kinds) > 1:
        first = {
            saved.kind: c.path.name
            for saved, c in zip(reversed(opened), reversed(run.checkpoints), strict=True)
        }
        raise BadInput(
            "mixed-checkpoints",
            "the folder holds checkpoints of adapters and of whole models",
            file=run.folder,
            expected="checkpoints of one kind",
            found=", ".join(f"{name} ({kind})" for kind, name in sorted(first.items())),
            fix="keep one kind, or name the checkpoints one by one",
        )


def _refuse_unrelated(run: Run, opened: Sequence[Saved], start: Saved | None) -> None:
    if start is None:
        return
    trained = {address for saved in opened for address in saved.weights}
    shared = [address for address in trained if address in start.weights]
    other = [a for a in shared if start.weights[a].shape != _last_shape(a, opened)]
    if shared and not other:
        return
    raise BadInput(
        "start-unrelated",
        "the start that was given is not this run's",
        file=run.folder,
        tensor=None if not other else component_names(other)[0],
        expected=f"{opened[0].kind} weights" if not other else _last_shape(other[0], opened),
        found=f"{start.kind} weights of other modules" if not other else start.weights[other[0]].shape,
        fix="give the adapter as it was initialised, or the base of a full fine-tune",
    )


def _notices(opened: Sequence[Saved]) -> list[Notice]:
    found = [n for saved in opened for n in saved.notices]
    everything = list(dict.fromkeys(address for saved in opened for address in saved.weights))
    lacking = [a for a in everything if any(a not in saved.weights for saved in opened)]
    changed = [
        a
        for a in everything
        if any(a in saved.weights and saved.weights[a].shape != _last_shape(a, opened) for saved in opened)
    ]
    if lacking:
        text = f"not in every checkpoint, and followed where they are: {_few(lacking)}"
        found.append(Notice("weights-differ", text))
    if changed:
        text = f"of another shape in other checkpoints, which are other models then: {_few(changed)}"
        found.append(Notice("shapes-differ", text))
    return list(dict.fromkeys(found))


def _few(addresses: Sequence[Address]) -> str:
    return f"{named(component_names(addresses))} ({len(addresses)} in all)"
