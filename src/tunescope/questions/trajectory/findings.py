"""What the motion of a training run says in words: where it lies, what moves first, what stops.

Everything here speaks of what changed, never of what matters.
"""

import math
from collections.abc import Iterator, Sequence

import polars as pl

from tunescope.measure.depth import (
    ALPHA,
    THIRDS_RATIO,
    depth_evidence,
    depth_of,
    leading_thirds,
)
from tunescope.measure.towers import towers
from tunescope.questions.trajectory.loss import rising_loss
from tunescope.questions.trajectory.order import moves_first
from tunescope.questions.trajectory.plateau import plateaus
from tunescope.questions.trajectory.seams import SavedState, seams
from tunescope.questions.trajectory.stillness import diverged, frozen
from tunescope.study.finding import Finding, merged
from tunescope.words import named


def motion_findings(
    run: str,
    motion: pl.DataFrame,
    updates: pl.DataFrame,
    by_step: pl.DataFrame,
    states: Sequence[SavedState] = (),
    runs: int = 1,
) -> list[Finding]:
    """All findings of one run of a study of `runs`, by whose number every p is multiplied.

    `motion` has a row per step, weight and factor, `by_step` one per step; `updates` (a row per step and
    weight) holds the run once, or once for each of its towers.
    """
    breaks = list(seams(run, by_step, updates, states, runs))
    # Captures record what is trained; a checkpoint of a whole model holds everything.
    still = list(frozen(run, motion, whole=bool(states) and bool((motion["factor"] == "W").all())))
    if any(f.evidence["still_components"] == f.evidence["components"] for f in still):
        return [*still, *breaks]
    found = [*still, *diverged(run, by_step, {f.step for f in breaks}), *breaks]
    if not by_step["finite"].all():
        return found
    found += rising_loss(run, by_step, states, runs)
    series = updates["run"].unique(maintain_order=True).to_list()
    places = runs * max(len(series), 1)
    for one in series:
        rows = updates.filter(pl.col("run") == one)
        found += _mass(one, rows, places)
        found += moves_first(one, rows, places)
        found += plateaus(one, rows, by_step)
    return found


def together(findings: Sequence[Finding]) -> list[Finding]:
    """The findings of all runs, with a leading third that several runs share told once."""
    depth = [f for f in findings if f.kind.endswith("_layers")]
    rest = [f for f in findings if not f.kind.endswith("_layers")]
    return rest + merged(depth, lambda f: (f.kind, f.evidence["stack"]), _together)


def _together(group: Sequence[Finding]) -> str:
    ratios = [f.evidence["ratio"] for f in group]
    place = group[0].kind.removesuffix("_layers")
    others = {f.evidence["least"] for f in group}
    against = f"their {others.pop()} third" if len(others) == 1 else "the third that changed least"
    spans = {f.evidence["leading_layers"] for f in group}
    where = f" ({spans.pop()})" if len(spans) == 1 else ""
    low, high = f"{min(ratios):.2f}×", f"{max(ratios):.2f}×"
    return (
        f"{named([f.models[0] for f in group], 12)} changed most in their {place} layers{where}: "
        f"{low if low == high else f'{low} to {high}'} {against} in ‖ΔW‖."
    )


def _mass(run: str, updates: pl.DataFrame, runs: int) -> Iterator[Finding]:
    """Where the change lies at the end of the run."""
    last = updates.filter(pl.col("step") == pl.col("step").max())
    found = [depth for tower in towers(last, "delta_frobenius_norm") if (depth := depth_of(tower))]
    for _, depth in leading_thirds(found, ALPHA / runs):
        text = (
            f"{run} changed most in its {depth.most} layers, {depth.span}: {depth.ratio:.2f}× the "
            f"{depth.least} third in ‖ΔW‖ ({len(depth.layers)} layers)."
        )
        evidence = {**depth_evidence(depth, runs), "p": min(depth.p * runs, 1.0), "least": depth.least}
        step, strength = int(last["step"].max()), math.log(depth.ratio) / math.log(THIRDS_RATIO)  # type: ignore[arg-type]
        yield Finding(f"{depth.most}_layers", text, (run,), step=step, evidence=evidence, strength=strength)
