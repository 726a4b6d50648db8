"""Where a folder of checkpoints mixes training runs: breaks in direction, in schedule, in the log."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.errors import Notice
from tunescope.statistics.location import mean_differs
from tunescope.statistics.tails import leading_outliers, t5_scale
from tunescope.study.finding import Finding
from tunescope.words import counted, named

# A walk of random steps keeps a cosine with itself, √(t/t') at a constant rate; training keeps more. Half of
# that is a break, and no cosine above the ceiling is.
RANDOM_WALK_SHARE, CEILING = 0.5, 0.4
# A stretch is a jump when it adds this much to the way that ΔW goes otherwise; fewer stretches have no usual.
JUMP_SHARE, LEAST_STRETCHES = 0.15, 8
# With fewer weights the scatter of their cosines is itself unknown: four unrelated ones would pass or fail
# the t test by chance. From six on those of unrelated checkpoints pass it.
LEAST_WEIGHTS = 6
ALPHA = 0.01
Floats = NDArray[np.float64]
# Losses logged for one step that differ by more than this, relatively, were logged by two runs.
LOSS_TOLERANCE = 1e-6
# How many seams are told one by one, and how many turns a sentence names.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class SavedState:
    """What a checkpoint says of its run: the schedule's length, and the losses logged so far by step."""

    step: int
    max_steps: int | None = None
    losses: Mapping[int, float] = field(default_factory=dict)


def seams(
    run: str,
    by_step: pl.DataFrame,
    updates: pl.DataFrame,
    states: Sequence[SavedState] = (),
    runs: int = 1,
) -> Iterator[Finding]:
    """One finding for every pair of neighbouring checkpoints that do not belong to one run, or one for all of
    them where they are more than `_NAMED`.

    Held against each other are the direction of ΔW (its cosine, in the whole and in the single weights), how
    far it moved between them, `max_steps`, and the losses that both logs hold for one step. `step` is the
    first checkpoint of the later run, of the first seam where one finding tells of all.
    """
    found = list(_each(run, by_step, updates, states, runs))
    if len(found) <= _NAMED:
        yield from (replace(seam, text=f"{run} mixes runs: {seam.text}.") for seam in found)
        return
    places = max(by_step.height - 1, 1)
    text = f"{run} mixes runs at {len(found)} of the {places} places between its checkpoints; the first: "
    first, steps = found[0], [seam.step for seam in found]
    yield replace(
        first, text=f"{text}{first.text}.", evidence={**first.evidence, "steps": steps},
        strength=sum(seam.strength for seam in found),
    )  # fmt: skip


def _each(
    run: str, by_step: pl.DataFrame, updates: pl.DataFrame, states: Sequence[SavedState], runs: int
) -> Iterator[Finding]:
    """Every seam, of which the text says no more than where it is and why."""
    turns = _turns(by_step, updates, runs)
    jump = _jump(by_step, runs)
    known = {state.step: state for state in states}
    for before, after in pairwise(by_step["step"].sort().to_list()):
        evidence: dict[str, Any] = {"previous_step": before}
        reasons = []
        for found in (turns.get(after), jump if jump and jump.step == after else None):
            if found is not None:
                evidence |= found.evidence
                reasons.append(found.text)
        if before in known and after in known:
            reasons += _schedule(known[before], known[after], evidence)
            reasons += _log(known[before], known[after], evidence)
        if reasons:
            text = f"between step {before:,} and step {after:,} {' and '.join(reasons)}"
            yield Finding(
                "seam", text, (run,), step=after, evidence=evidence, severity="warning",
                strength=float(len(reasons)),
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Break:
    step: int
    text: str
    evidence: Mapping[str, Any]


def _turns(by_step: pl.DataFrame, updates: pl.DataFrame, runs: int) -> dict[int, _Break]:
    """Steps at which ΔW is dissimilar to the one before, in the whole and in its weights one by one."""
    found = {}
    looked_at = runs * max(by_step.height - 1, 1)
    for turn in _dissimilar(by_step, updates):
        n, walk = len(turn.values), turn.walk
        p = min(mean_differs(turn.values - walk).p * looked_at, 1.0) if n >= LEAST_WEIGHTS else 1.0
        if p <= ALPHA:
            evidence = {
                "statistic": "cosine of ΔW with the one before",
                "value": turn.cosine,
                "threshold": turn.threshold,
                "null": "a random walk, its cosine in every weight",
                "p": p,
                "n": n,
                "cosine": turn.cosine,
                "cosine_threshold": turn.threshold,
                "places_looked_at": looked_at,
            }
            text = f"ΔW is suddenly dissimilar (cosine {turn.cosine:.2f})"
            found[turn.after] = _Break(turn.after, text, evidence)
    return found


def untested_turns(by_step: pl.DataFrame, updates: pl.DataFrame) -> list[Notice]:
    """Turns of ΔW that would be a seam, in runs of too few weights to tell them from a random walk."""
    # Checkpoints without a weight in common are told elsewhere.
    found = [t for t in _dissimilar(by_step, updates) if 0 < len(t.values) < LEAST_WEIGHTS]
    if not found:
        return []
    where = named([f"steps {t.before:,} and {t.after:,} (cosine {t.cosine:.2f})" for t in found], _NAMED)
    n = max(len(t.values) for t in found)
    text = (
        f"ΔW is dissimilar between {where}; "
        f"{counted(n, 'weight is', 'weights are')} too few to tell whether another run begins there "
        f"(from {LEAST_WEIGHTS} on it is tested)"
    )
    return [Notice("untested-turn", text)]


@dataclass(frozen=True, eq=False, slots=True)
class _Turn:
    """Neighbouring checkpoints of which ΔW keeps less than half of what a random walk would."""

    before: int
    after: int
    cosine: float
    threshold: float
    walk: float
    values: Floats


def _dissimilar(by_step: pl.DataFrame, updates: pl.DataFrame) -> Iterator[_Turn]:
    cosines = dict(by_step.select("step", "cosine_to_previous").iter_rows())
    walks = kept_by_walks(by_step)
    for before, after in pairwise(by_step["step"].sort().to_list()):
        cosine = cosines.get(after)
        if cosine is None or not math.isfinite(cosine):
            continue
        walk = walks[after]
        threshold = min(CEILING, RANDOM_WALK_SHARE * walk)
        if cosine >= threshold:
            continue
        single = updates.filter((pl.col("step") == after) & pl.col("cosine_to_previous").is_finite())
        values = single["cosine_to_previous"].to_numpy().astype(np.float64)
        yield _Turn(before, after, cosine, threshold, walk, values)


def kept_by_walks(by_step: pl.DataFrame) -> dict[int, float]:
    """The cosine that a walk of random steps keeps with itself since the step before: `{step: cosine}`.

    √(Σ_{≤t} η²/Σ_{≤t'} η²) at neighbouring steps t and t'. The rate η goes from zero at the start in lines
    through those of the captures, as in a warm-up; where one of them is not known it may rise all the way:
    (t/t')^1.5. Never above √(t/t'), that of one rate.
    """
    there = by_step.filter(pl.col("step") > 0).sort("step")
    steps, rates = (
        np.concatenate([[0.0], there[name].cast(pl.Float64).fill_null(np.nan).to_numpy()])
        for name in ("step", "schedule_learning_rate")
    )
    squares = np.diff(steps) * (rates[:-1] ** 2 + rates[:-1] * rates[1:] + rates[1:] ** 2) / 3
    gone = dict(zip(steps.tolist(), [0.0, *np.cumsum(squares).tolist()], strict=True))
    kept = {}
    for before, after in pairwise(by_step["step"].sort().to_list()):
        share = max(before, 1) / max(after, 1)
        known = gone[after] > 0
        kept[after] = math.sqrt(min(share, gone[before] / gone[after])) if known else float(share**1.5)
    return kept


def _jump(by_step: pl.DataFrame, runs: int) -> _Break | None:
    """A stretch between two checkpoints that is far longer than its neighbours, by a fifth of the path."""
    known = stretches_of(by_step)
    if known is None:
        return None
    stretches, gaps = known
    at, share, p = longest(stretches, gaps, runs)
    if share < JUMP_SHARE or p > ALPHA:
        return None
    evidence = {
        "statistic": "length of a stretch beyond its neighbours', over the path",
        "value": share,
        "threshold": JUMP_SHARE,
        "null": "stretches that scatter about their neighbours, t₅",
        "p": p,
        "n": len(stretches),
        "places_looked_at": runs,
    }
    step = by_step["step"].sort().to_list()[at + 1]
    return _Break(step, f"ΔW jumps by {share:.0%} of the way it goes otherwise", evidence)


def stretches_of(by_step: pl.DataFrame) -> tuple[Floats, Floats] | None:
    """‖ΔW_t − ΔW_t'‖ between neighbouring captures, and the steps between them; `None` where not known."""
    rows = by_step.sort("step")
    norms = rows["delta_frobenius_norm"].cast(pl.Float64).to_numpy()
    cosines = rows["cosine_to_previous"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    square = norms[1:] ** 2 + norms[:-1] ** 2 - 2 * cosines[1:] * norms[1:] * norms[:-1]
    if len(square) < LEAST_STRETCHES or not np.isfinite(square).all() or (square <= 0).any():
        return None
    return np.sqrt(square), np.diff(rows["step"].to_numpy().astype(np.float64))


def longest(stretches: Floats, gaps: Floats, runs: int) -> tuple[int, float, float]:
    """The stretch farthest above its neighbours: where, its excess over the rest of the way, and its p."""
    rates = np.log(stretches / gaps)
    usual = _neighbours(rates)
    over = rates - usual
    at = int(np.argmax(over))
    excess = float(stretches[at] - np.exp(usual[at]) * gaps[at])
    _, p = leading_outliers(over / t5_scale(over), 1, 1.0)
    return at, excess / (float(stretches.sum()) - excess), min(p * runs, 1.0)


def _neighbours(values: Floats) -> Floats:
    """The median of the two values on either side of each, fewer at the ends."""
    beside = np.pad(values, 2, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(beside, 5)
    found: Floats = np.nanmedian(windows[:, [0, 1, 3, 4]], axis=1)
    return found


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
