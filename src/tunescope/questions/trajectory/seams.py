"""Where a folder of checkpoints mixes training runs: breaks in direction, in schedule, in the log."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import polars as pl

from tunescope.study.finding import Finding

# A walk of random steps keeps a cosine of √(t/t') with itself; training keeps more. Half of that is a break,
# and no cosine above the ceiling is.
RANDOM_WALK_SHARE, CEILING = 0.5, 0.4
# Losses logged for one step that differ by more than this, relatively, were logged by two runs.
LOSS_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class SavedState:
    """What a checkpoint says of its run: the schedule's length, and the losses logged so far by step."""

    step: int
    max_steps: int | None = None
    losses: Mapping[int, float] = field(default_factory=dict)


def seams(run: str, by_step: pl.DataFrame, states: Sequence[SavedState]) -> Iterator[Finding]:
    """One finding for every pair of neighbouring checkpoints that do not belong to one run.

    Held against each other are the direction of the whole ΔW (its cosine), `max_steps`, and the losses that
    both logs hold for one step. `step` is the first checkpoint of the later run.
    """
    cosines = dict(by_step.select("step", "cosine_to_previous").iter_rows())
    steps = by_step["step"].sort().to_list()
    known = {state.step: state for state in states}
    for before, after in pairwise(steps):
        evidence: dict[str, Any] = {"previous_step": before}
        reasons = _direction(before, after, cosines.get(after), evidence)
        if before in known and after in known:
            reasons += _schedule(known[before], known[after], evidence)
            reasons += _log(known[before], known[after], evidence)
        if reasons:
            text = f"{run} mixes runs: between step {before:,} and step {after:,} {' and '.join(reasons)}."
            yield Finding("seam", text, (run,), step=after, evidence=evidence, severity="warning")


def _direction(before: int, after: int, cosine: float | None, evidence: dict[str, Any]) -> list[str]:
    if cosine is None or not math.isfinite(cosine):
        return []
    threshold = min(CEILING, RANDOM_WALK_SHARE * math.sqrt(max(before, 1) / max(after, 1)))
    evidence |= {"cosine": cosine, "cosine_threshold": threshold}
    if cosine >= threshold:
        return []
    return [f"ΔW is suddenly dissimilar (cosine {cosine:.2f})"]


def _schedule(a: SavedState, b: SavedState, evidence: dict[str, Any]) -> list[str]:
    if a.max_steps is None or b.max_steps is None or a.max_steps == b.max_steps:
        return []
    evidence |= {"max_steps_before": a.max_steps, "max_steps_after": b.max_steps}
    return [f"the schedule changes (max_steps {a.max_steps:,} → {b.max_steps:,})"]


def _log(a: SavedState, b: SavedState, evidence: dict[str, Any]) -> list[str]:
    for step in sorted(set(a.losses) & set(b.losses)):
        x, y = a.losses[step], b.losses[step]
        if abs(x - y) > LOSS_TOLERANCE * max(abs(x), abs(y)):
            evidence |= {"logged_step": step, "loss_before": x, "loss_after": y}
            return [f"the logs disagree about step {step:,} (loss {x:.4g} and {y:.4g})"]
    return []
