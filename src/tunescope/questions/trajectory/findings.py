"""What the motion of a training run says in words: where it lies, what moves first, what stops.

Everything here speaks of what changed, never of what matters.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.measure.depth import THIRDS_RATIO, depth_evidence, depth_of, leading_thirds
from tunescope.measure.towers import towers
from tunescope.questions.trajectory.seams import SavedState, seams
from tunescope.questions.trajectory.stillness import diverged, frozen
from tunescope.study.finding import Finding, named

# Half-way steps of the first and last layer that lie closer than this share of the run are one.
HALFWAY_SPREAD = 0.1
# A layer has stopped when its norm stays this close to its last value over at least this share of the run.
PLATEAU_CHANGE, PLATEAU_SHARE = 0.02, 0.25
# Fewer captures say nothing about what comes first or stops.
LEAST_CAPTURES = 5


def motion_findings(
    run: str,
    motion: pl.DataFrame,
    updates: pl.DataFrame,
    by_step: pl.DataFrame,
    norms: pl.DataFrame,
    states: Sequence[SavedState] = (),
) -> list[Finding]:
    """All findings of one run.

    `motion` has a row per step, weight and factor, `by_step` one per step; `updates` (a row per step and
    weight) and `norms` (per step and layer) hold the run once, or once for each of its towers.
    """
    breaks = list(seams(run, by_step, states))
    still = list(frozen(run, motion))
    if any(f.evidence["still_components"] == f.evidence["components"] for f in still):
        return [*still, *breaks]
    found = [*still, *diverged(run, by_step, {f.step for f in breaks}), *breaks]
    if not by_step["finite"].all():
        return found
    for series in norms["run"].unique(maintain_order=True).to_list():
        rows = norms.filter(pl.col("run") == series)
        found += _mass(series, updates.filter(pl.col("run") == series))
        found += _order(series, rows)
        found += _plateau(series, rows, by_step)
    return found


def _mass(run: str, updates: pl.DataFrame) -> Iterator[Finding]:
    """Where the change lies at the end of the run."""
    last = updates.filter(pl.col("step") == pl.col("step").max())
    found = [depth for tower in towers(last, "delta_frobenius_norm") if (depth := depth_of(tower))]
    for _, depth in leading_thirds(found):
        text = (
            f"{run} changed most in its {depth.most} layers: {depth.ratio:.2f}× the {depth.least} third in "
            f"‖ΔW‖ ({len(depth.layers)} layers)."
        )
        evidence = depth_evidence(depth, len(found))
        step, strength = int(last["step"].max()), math.log(depth.ratio) / math.log(THIRDS_RATIO)  # type: ignore[arg-type]
        yield Finding(f"{depth.most}_layers", text, (run,), step=step, evidence=evidence, strength=strength)


def _grid(norms: pl.DataFrame) -> tuple[list[int], NDArray[np.float64], NDArray[np.float64]]:
    """Layers, steps and ‖ΔW‖ `(layers, steps)`, over the layers whose norm is finite throughout."""
    wide = norms.pivot(on="step", index="layer", values="delta_frobenius_norm").sort("layer")
    values = wide.drop("layer").to_numpy().astype(np.float64)
    steps = np.array([int(c) for c in wide.columns[1:]], dtype=np.float64)
    order = np.argsort(steps)
    ok = (
        np.isfinite(values).all(axis=1) & (values[:, order[-1]] > 0)
        if len(order)
        else np.zeros(0, dtype=bool)
    )
    layers = [int(v) for v, keep in zip(wide["layer"].to_list(), ok, strict=True) if keep]
    return layers, steps[order], values[ok][:, order]


def _order(run: str, norms: pl.DataFrame) -> Iterator[Finding]:
    layers, steps, values = _grid(norms)
    if len(steps) < LEAST_CAPTURES or len(layers) < 3:
        return
    half = np.array([_halfway(steps, row) for row in values])
    spread = float(half.max() - half.min()) / float(steps[-1])
    if spread < HALFWAY_SPREAD:
        return
    order = np.argsort(half, kind="stable")
    first, last = [layers[i] for i in order[:3]], [layers[i] for i in order[::-1][:3]]
    text = (
        f"Half of their final ‖ΔW‖ is reached first by layers {named(map(str, first))} of {run} (step "
        f"{half.min():.0f} for layer {first[0]}) and last by {named(map(str, last))} (step {half.max():.0f})."
    )
    evidence = {
        "halfway_step": {str(layer): float(h) for layer, h in zip(layers, half, strict=True)},
        "spread": spread,
        "threshold": HALFWAY_SPREAD,
        "first_layers": first,
        "last_layers": last,
    }
    yield Finding("moves_first", text, (run,), step=round(float(half.min())), evidence=evidence)


def _halfway(steps: NDArray[np.float64], norms: NDArray[np.float64]) -> float:
    """The first step at which the norm reaches half its last value, between captures by a straight line."""
    x, y = np.concatenate([[0.0], steps]), np.concatenate([[0.0], norms])
    target = y[-1] / 2
    i = max(int(np.argmax(y >= target)), 1)
    rise = y[i] - y[i - 1]
    return float(x[i] if rise <= 0 else x[i - 1] + (x[i] - x[i - 1]) * (target - y[i - 1]) / rise)


def _plateau(run: str, norms: pl.DataFrame, by_step: pl.DataFrame) -> Iterator[Finding]:
    layers, steps, values = _grid(norms)
    if len(steps) < LEAST_CAPTURES or not layers:
        return
    since = {layer: _stops(steps, row) for layer, row in zip(layers, values, strict=True)}
    latest = float(steps[-1]) * (1 - PLATEAU_SHARE)
    stopped = {layer: step for layer, step in since.items() if step <= latest}
    if not stopped:
        return
    step = int(min(stopped.values()) if len(stopped) < len(layers) else max(stopped.values()))
    rate = _rate_at(by_step, step)
    who = f"all {len(layers)} layers" if len(stopped) == len(layers) else f"layers {named(map(str, stopped))}"
    text = f"‖ΔW‖ of {who} of {run} stays within {PLATEAU_CHANGE:.0%} of its last value from step {step:,} on"
    evidence: dict[str, Any] = {
        "stopped_at": {str(layer): int(at) for layer, at in stopped.items()},
        "layers": len(layers),
        "change_threshold": PLATEAU_CHANGE,
        "share_threshold": PLATEAU_SHARE,
        "learning_rate_share": rate,
    }
    rest = "" if rate is None else f"; the learning rate stood at {rate:.0%} of its peak there"
    yield Finding("plateau", f"{text}{rest}.", (run,), step=step, evidence=evidence)


def _stops(steps: NDArray[np.float64], norms: NDArray[np.float64]) -> float:
    near = np.abs(norms - norms[-1]) <= PLATEAU_CHANGE * norms[-1]
    away = np.flatnonzero(~near)
    return float(steps[0] if not len(away) else steps[away[-1] + 1])


def _rate_at(by_step: pl.DataFrame, step: int) -> float | None:
    rates = by_step.filter(pl.col("schedule_learning_rate").is_not_null())
    peak = rates["schedule_learning_rate"].max()
    here = rates.filter(pl.col("step") == step)["schedule_learning_rate"].to_list()
    return here[0] / peak if here and isinstance(peak, float) and peak > 0 else None
