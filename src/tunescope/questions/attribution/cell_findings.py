"""Single cells: those that work against the whole, and those whose effect does not follow their motion."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from tunescope.questions.attribution.case import ALPHA, FEWEST_SEQUENCES, Case, percent
from tunescope.statistics.multiplicity import benjamini_hochberg, holm
from tunescope.statistics.tails import leading_outliers, t5_scale
from tunescope.study.finding import Finding, significant
from tunescope.words import counted, named

Floats = NDArray[np.float64]
# Cells against the whole are worth a sentence from this share of Σ|attribution| on.
WORTH = 0.05
# A cell is out of step when its effect is this many times less, or more, than what its motion predicts.
FACTOR = 4.0
# Cells in the top or the bottom quarter of motion are looked at; of fewer cells there are no quarters.
QUARTER, FEWEST_CELLS = 0.25, 8
# One weight is named beside the gain where it surely holds more than this share of it.
LEADS = 0.25
# So many cells at most can stand out of the law of the rest.
MOST_OUTLIERS = 3


def level_of_one(cells: int, n: int, alpha: float = ALPHA) -> float:
    """How many standard errors a single cell must lie against the whole, of so many cells.

    >>> round(level_of_one(28, 32), 2), round(level_of_one(224, 8), 2)
    (3.15, 6.2)
    """
    return float(stats.t.isf(alpha / max(cells, 1), n - 1)) if n > 1 else float("inf")


def against(case: Case) -> Iterable[Finding]:
    """Cells that worked against the whole: a statement of sign, one-sided and over all cells."""
    frame, sign = case.frame, float(np.sign(case.summary["sum"]))
    if case.n < FEWEST_SEQUENCES or not frame.height:
        return
    opposed = -sign * frame["attribution"].to_numpy()
    p = _tails(opposed, frame, case.n)
    q = benjamini_hochberg(p)
    picked = (q <= case.alpha) & (opposed > 0)
    gross = float(np.abs(opposed).sum())
    share = float(opposed[picked].sum()) / gross if gross else 0.0
    if share < WORTH:
        return
    order = np.flatnonzero(picked)[np.argsort(-opposed[picked], kind="stable")]
    names = [frame["component_name"][int(i)] for i in order]
    verb = "raised" if sign < 0 else "lowered"
    text = (
        f"{len(names)} of {counted(frame.height, 'update')} {verb} the loss on {case.data} against the rest: "
        f"{named(names)}, {percent(share)} of all change of the loss, "
        f"up or down ({counted(case.n, 'sequence')})."
    )
    evidence = case.evidence(
        "attribution / standard error, one-sided t", float(max(opposed / _errors(frame))),
        null="no effect against the whole, Benjamini-Hochberg over cells", p=float(q[picked].max()),
        threshold={"q": case.alpha, "share_of_gross": WORTH}, cells=len(names), of=frame.height,
        share_of_gross=share, sum=float(-sign * opposed[picked].sum()),
    )  # fmt: skip
    yield Finding("works_against", text, (case.model,), tuple(names), evidence=evidence, strength=share)


def _errors(frame: pl.DataFrame) -> Floats:
    errors: Floats = frame["stderr"].cast(pl.Float64).fill_null(np.inf).to_numpy()
    return np.maximum(errors, np.finfo(float).tiny)


def _tails(values: Floats, frame: pl.DataFrame, n: int) -> Floats:
    """One-sided p of each value against zero, Student's t over sequences."""
    tails: Floats = stats.t.sf(values / _errors(frame), n - 1)
    return tails


def leading(case: Case) -> dict[str, Any] | None:
    """The one weight that surely holds more than a quarter of the gain, and how much; `None` where none does.

    Its lower bound, at a level for all weights, lies above a quarter of the gain's upper one.
    """
    frame, gain, error = case.frame, case.summary["gain"], case.summary["gain_stderr"]
    if case.n < FEWEST_SEQUENCES or frame.height < FEWEST_CELLS or gain <= 0 or error is None:
        return None
    lowered = -frame["attribution"].to_numpy()
    first = int(np.argmax(lowered))
    spread = float(_errors(frame)[first])
    margin = level_of_one(frame.height, case.n, case.alpha / 2)
    if lowered[first] - margin * spread < LEADS * (gain + stats.t.isf(case.alpha / 2, case.n - 1) * error):
        return None
    value = float(lowered[first])
    name = frame["component_name"][first]
    return {"cell": name, "lowered": value, "stderr": spread, "share_of_gain": value / gain}


def strangers(case: Case) -> Iterable[Finding]:
    """Cells that moved far to no effect, and cells that hardly moved and mattered."""
    frame = case.frame.filter(pl.col("frobenius_norm_normalized") > 0)
    if case.n < FEWEST_SEQUENCES or frame.height < FEWEST_CELLS:
        return
    moved = frame["frobenius_norm_normalized"].to_numpy()
    effect = np.abs(frame["attribution"].to_numpy())
    predicted = float(np.median(effect / moved)) * moved
    if predicted.min() > 0:
        yield from _without_effect(case, frame, predicted)
        yield from _without_motion(case, frame, predicted)


def _without_effect(case: Case, frame: pl.DataFrame, predicted: Floats) -> Iterable[Finding]:
    """An equivalence: the effect of a cell that moved far is surely below a quarter of the predicted one."""
    moved = frame["frobenius_norm_normalized"].to_numpy()
    limit = predicted / FACTOR
    far = moved >= np.quantile(moved, 1 - QUARTER)
    effect, errors = frame["attribution"].to_numpy(), _errors(frame)
    p = np.maximum(stats.t.sf((limit - effect) / errors, case.n - 1),
                   stats.t.sf((limit + effect) / errors, case.n - 1))  # fmt: skip
    q = np.ones(len(p))
    q[far] = holm(p[far])
    if (q <= case.alpha).any():
        yield _stranger(case, "moved_without_effect", frame, predicted, q)


def _without_motion(case: Case, frame: pl.DataFrame, predicted: Floats) -> Iterable[Finding]:
    """An outlier of effect per motion, among cells that moved least, by more than sampling explains."""
    moved = frame["frobenius_norm_normalized"].to_numpy()
    effect, errors = np.abs(frame["attribution"].to_numpy()), _errors(frame)
    logs = np.log(np.maximum(effect, 1e-300) / predicted)
    # What is surely there of the effect, at a level that covers every cell.
    margin = stats.t.isf(case.alpha / (2 * len(moved)), case.n - 1) * errors
    sure = np.log(np.maximum(effect - margin, 1e-300) / predicted)
    standard = (logs - np.median(logs)) / t5_scale(logs - np.median(logs))
    count, p = leading_outliers(standard, MOST_OUTLIERS, case.alpha)
    outlying = np.zeros(len(moved), dtype=bool)
    outlying[np.argsort(-standard, kind="stable")[:count]] = True
    least = moved <= np.quantile(moved, QUARTER)
    q = np.where(outlying & least & (sure >= np.log(FACTOR)), p, 1.0)
    if (q <= case.alpha).any():
        yield _stranger(case, "effect_without_motion", frame, predicted, q)


def _stranger(case: Case, kind: str, frame: pl.DataFrame, predicted: Floats, q: Floats) -> Finding:
    picked = np.flatnonzero(q <= case.alpha)
    effect = frame["attribution"].to_numpy()
    ratios = np.abs(effect) / predicted
    far = kind == "moved_without_effect"
    order = picked[np.argsort(ratios[picked] if far else -ratios[picked], kind="stable")]
    first = int(order[0])
    names = [frame["component_name"][int(i)] for i in order]
    verb = "moved far and had" if far else "hardly moved and had"
    how = "less than a quarter of" if far else f"more than {FACTOR:g} times"
    one = len(names) == 1
    text = (
        f"{named(names)} {verb} {how} the effect on {case.data} that {'its' if one else 'their'} motion "
        f"predicts{'' if one else f', {names[0]} most of all'}: {significant(effect[first])} ± "
        f"{significant(float(_errors(frame)[first]), 2)} nats per token where "
        f"{significant(predicted[first])} either way would be usual."
    )
    evidence: dict[str, Any] = case.evidence(
        "effect / what the motion predicts", float(ratios[first]),
        null="an effect of a quarter or more of the predicted one, Holm over cells" if far
        else "a t₅ law of effect per motion, beyond the next largest",
        p=float(q[order].max()), threshold=1 / FACTOR if far else FACTOR, cells=len(names),
        change=float(frame["frobenius_norm_normalized"][first]), attribution=float(effect[first]),
        stderr=float(_errors(frame)[first]), predicted=float(predicted[first]),
    )  # fmt: skip
    return Finding(kind, text, (case.model,), tuple(names), evidence=evidence,
                   strength=float(abs(np.log(max(ratios[first], 1e-9)))))  # fmt: skip
