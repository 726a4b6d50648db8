"""Runs that went wrong: weights that never move, captures between which nothing moves, runs that diverge."""

from collections.abc import Collection, Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.study.finding import Finding, Severity, significant
from tunescope.words import named

# Growth of ‖ΔW‖ after the first third of a run; a warm-up over the whole run reaches about nine.
GROWTH = 10.0
_WEIGHT = ("stack", "layer", "module_type", "expert", "component_name")
_EQUALS = ("it equals the one before", "each equals the one before")
# What weights that never move are where all were trained, and where nothing says that they were.
_STOPPED: tuple[str, Severity] = ("frozen", "warning")
_UNTRAINED: tuple[str, Severity] = ("unchanged", "note")
_NUMBERS = ("mean", "variance", "abs_mean", "abs_variance")


def frozen(run: str, motion: pl.DataFrame, whole: bool = False) -> Iterator[Finding]:
    """Weights that hold the same numbers in all captures, and captures in which no weight does anything else.

    A single capture counts as still where Δ is zero, but not against itself: what counts from the first
    checkpoint has no earlier state then. Evidence counts the still weights and all weights. `whole` runs are
    of whole models, which also hold what was not trained: there some still weights are no warning.
    """
    captures = motion["step"].n_unique()
    if captures == 1:
        motion = motion.filter(pl.col("reference") != "first_checkpoint")
    if not motion.height or motion["step"].max() == 0:
        return  # nothing to be still against, or the start itself, recorded before the first step
    again = pl.len() > 1
    same = pl.all_horizontal(pl.col(c).n_unique() == 1 for c in _NUMBERS) & again
    # What one capture alone holds is at zero there where it counts from itself.
    zero = (pl.col("abs_mean") == 0).all() & (again | (pl.col("reference") != "first_checkpoint").all())
    factors = motion.group_by(*_WEIGHT, "factor", maintain_order=True).agg(
        (pl.col("abs_mean").is_finite().all() & (same | zero)).alias("still")
    )
    weights = factors.group_by(*_WEIGHT, maintain_order=True).agg(pl.col("still").all())
    still = weights.filter("still")["component_name"].to_list()
    evidence = {"still_components": len(still), "components": weights.height, "captures": captures}
    if still and len(still) == weights.height:
        where = (
            f"the same in all {captures} captures" if captures > 1 else "where it began in the one capture"
        )
        text = f"{run} never moves: every {'tensor' if whole else 'trained weight'} is {where}."
        yield Finding("frozen", text, (run,), evidence=evidence, severity="warning")
        return
    if still:
        what = "tensors" if whole else "trained weights"
        verb = "moves" if len(still) == 1 else "move"
        text = f"{len(still)} of {weights.height} {what} of {run} never {verb} ({named(still)})."
        kind, severity = _UNTRAINED if whole else _STOPPED
        more = {**evidence, "names": still}
        yield Finding(kind, text, (run,), tuple(still), evidence=more, severity=severity)
    yield from _pauses(run, motion, weights.height)


def _pauses(run: str, motion: pl.DataFrame, components: int) -> Iterator[Finding]:
    key = [*_WEIGHT, "factor"]
    before = [pl.col(c).eq_missing(pl.col(c).shift(1).over(key)) for c in _NUMBERS]
    first = pl.col("step") == pl.col("step").min()
    steps = motion.sort("step", maintain_order=True).with_columns(same=pl.all_horizontal(before) & ~first)
    still = steps.group_by("step").agg(pl.col("same").all()).filter("same")["step"].sort().to_list()
    if not still:
        return
    which = named(f"{step:,}" for step in still)
    captured = "capture of step" if len(still) == 1 else "captures of steps"
    text = f"no weight of {run} has moved in the {captured} {which}: {_EQUALS[len(still) > 1]}."
    evidence = {"still_components": 0, "components": components, "steps": still}
    yield Finding("frozen", text, (run,), step=still[0], evidence=evidence, severity="warning")


def diverged(run: str, by_step: pl.DataFrame, seams: Collection[int | None]) -> Iterator[Finding]:
    """A run whose weights stop being finite, or whose ΔW explodes.

    Growth across a seam is the seam's, not the run's.
    """
    rows = by_step.sort("step")
    norms = rows["delta_frobenius_norm"].cast(pl.Float64).to_numpy()
    steps = rows["step"].to_numpy()
    broken = np.flatnonzero(~rows["finite"].to_numpy())
    if len(broken):
        at = int(steps[broken[0]])
        text = f"{run} has diverged: from step {at:,} on its weights are not finite."
        if len(broken) < len(steps) - broken[0]:
            which = named(f"{steps[i]:,}" for i in broken)
            noun = "step" if len(broken) == 1 else "steps"
            text = f"{run} has weights that are not finite at {noun} {which}, and finite ones after that: a "
            text += "file may be damaged, or written while it was saved."
        evidence = {"non_finite_captures": len(broken), "captures": len(steps)}
        yield Finding("diverged", text, (run,), step=at, evidence=evidence, severity="warning")
        return
    if not seams:
        yield from _exploded(run, steps, norms)


def _exploded(run: str, steps: NDArray[np.int64], norms: NDArray[np.float64]) -> Iterator[Finding]:
    if len(steps) < 3 or not np.isfinite(norms).all():
        return
    third = int(np.argmax(steps >= steps[-1] / 3))
    if norms[third] <= 0 or norms[-1] <= GROWTH * norms[third]:
        return
    growth = norms[1:] / np.maximum(norms[:-1], np.finfo(float).tiny)
    at = int(steps[third + 1 + int(np.argmax(growth[third:]))])
    ratio = float(norms[-1] / norms[third])
    text = (
        f"{run} has diverged: ‖ΔW‖ grows {ratio:.0f}× after the first third of the run (from "
        f"{significant(float(norms[third]))} to {significant(float(norms[-1]))}), most of it at step {at:,}."
    )
    evidence = {"growth": ratio, "threshold": GROWTH, "from_step": int(steps[third])}
    yield Finding("diverged", text, (run,), step=at, evidence=evidence, severity="warning")
