"""Layers that have stopped moving before the run ended: measured, with the learning rate beside it."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.questions.trajectory.order import LEAST_CAPTURES
from tunescope.study.finding import Finding
from tunescope.words import named

# A layer has stopped when it stays this close to where it ends, over at least this share of the run; 10 %
# more motion lies twice as far. Without directions only ‖ΔW‖ is known; a turn of 10 % changes it by 0.5 %.
DISTANCE, NORM_ALONE, SHARE = 0.05, 0.004, 0.25
# Below this share of its peak a learning rate has fallen, and may be all that stopped the weights.
_FALLEN = 0.5


def plateaus(run: str, updates: pl.DataFrame, by_step: pl.DataFrame) -> Iterator[Finding]:
    """One finding for all layers of a run that stop: where, from which step on, at which learning rate."""
    layers, steps, away, directions = distances(updates)
    if len(steps) < LEAST_CAPTURES or not layers:
        return
    near = DISTANCE if directions else NORM_ALONE
    since = {layer: _stops(steps, row, near) for layer, row in zip(layers, away, strict=True)}
    latest = float(steps[-1]) * (1 - SHARE)
    stopped = {layer: step for layer, step in since.items() if step <= latest}
    if not stopped:
        return
    every = len(stopped) == len(layers)
    step = int(max(stopped.values()) if every else min(stopped.values()))
    rate = _rate_at(by_step, step)
    who = f"all {len(layers)} layers" if every else f"layers {named(map(str, stopped))}"
    what = "ΔW" if directions else "‖ΔW‖"
    text = f"{what} of {who} of {run} stays within {near:.1%} of where it ends from step {step:,} on"
    evidence: dict[str, Any] = {
        "statistic": "distance from the last ΔW over its norm" if directions else "‖ΔW‖ over its last value",
        "value": float(max(_largest(steps, away[layers.index(k)], s) for k, s in stopped.items())),
        "threshold": near,
        "null": "10 % more motion",
        "p": None,
        "n": len(layers),
        "stopped_at": {str(layer): int(at) for layer, at in stopped.items()},
        "layers": len(layers),
        "share_threshold": SHARE,
        "learning_rate_share": rate,
    }
    share = 1 - step / float(steps[-1])
    yield Finding(
        "plateau", f"{text}{_beside(rate)}.", (run,), step=step, evidence=evidence, strength=share / SHARE
    )


def _beside(rate: float | None) -> str:
    """The learning rate where layers stop, and what follows from it for why they do."""
    if rate is None:
        return ""
    if rate >= _FALLEN:
        return f"; the learning rate stood at {rate:.0%} of its peak there"
    return f"; the learning rate had fallen to {rate:.0%} of its peak by then, which alone stops weights"


def distances(
    updates: pl.DataFrame,
) -> tuple[list[int], NDArray[np.float64], NDArray[np.float64], bool]:
    """Layers, steps, and how far each layer is from its end over its last norm `(layers, steps)`.

    Of weights whose cosine to the last state is known, ‖ΔW_t − ΔW_T‖; of others |‖ΔW_t‖ − ‖ΔW_T‖|, which
    the last value says.
    """
    rows = updates.filter(pl.col("layer").is_not_null()).sort("step", maintain_order=True)
    directions = rows.height > 0 and rows["cosine_to_last"].is_not_null().all()
    weight = ["layer", "module_type", "expert"]
    norm, last = pl.col("delta_frobenius_norm"), pl.col("delta_frobenius_norm").last().over(weight)
    cosine = pl.col("cosine_to_last") if directions else pl.lit(1.0)
    # A weight that has not moved has no direction: its distance is that of the end from zero.
    cosine = pl.when(norm * last > 0).then(cosine).otherwise(0.0)
    wide = (
        rows.with_columns(square=norm**2 + last**2 - 2 * cosine * norm * last, end=last**2)
        .group_by("step", "layer", maintain_order=True)
        .agg((pl.col("square").sum() / pl.col("end").sum()).alias("away"))
        .pivot(on="step", index="layer", values="away")
        .sort("layer")
    )
    steps = np.array([int(c) for c in wide.columns[1:]], dtype=np.float64)
    values = np.sqrt(np.maximum(wide.drop("layer").to_numpy().astype(np.float64), 0.0))
    fine = np.isfinite(values).all(axis=1)
    order = np.argsort(steps)
    return (
        [k for k, ok in zip(wide["layer"], fine, strict=True) if ok],
        steps[order],
        values[fine][:, order],
        directions,
    )


def _stops(steps: NDArray[np.float64], away: NDArray[np.float64], near: float) -> float:
    far = np.flatnonzero(away > near)
    return float(steps[0] if not len(far) else steps[min(far[-1] + 1, len(steps) - 1)])


def _largest(steps: NDArray[np.float64], away: NDArray[np.float64], since: float) -> float:
    return float(away[steps >= since].max())


def _rate_at(by_step: pl.DataFrame, step: int) -> float | None:
    rates = by_step.filter(pl.col("schedule_learning_rate").is_not_null())
    peak = rates["schedule_learning_rate"].max()
    here = rates.filter(pl.col("step") == step)["schedule_learning_rate"].to_list()
    return here[0] / peak if here and isinstance(peak, float) and math.isfinite(peak) and peak > 0 else None
