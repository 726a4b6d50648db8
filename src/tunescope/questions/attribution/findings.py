"""What an attribution says in words, each sentence with its test, its null and the numbers it rests on."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
import polars as pl
from scipy import stats

from tunescope.questions.attribution.case import ALPHA, Case, Summary, gain_p, percent
from tunescope.questions.attribution.cell_findings import against, leading, strangers
from tunescope.questions.attribution.losses import written
from tunescope.questions.attribution.put_back_findings import put_back
from tunescope.questions.attribution.shape_findings import depth, explained, tilt
from tunescope.questions.attribution.sight import visible_gain
from tunescope.questions.attribution.stopping import left_over
from tunescope.statistics.multiplicity import benjamini_hochberg, holm
from tunescope.statistics.types import Float64
from tunescope.study.finding import Finding, least_found, significant
from tunescope.words import counted, named

# Weights with an effect on one data set alone meet the test of the other at its whole level.
TRADE_ALPHA = ALPHA / 2


def attribution_findings(
    frame: pl.DataFrame,
    summary: Summary,
    model: str,
    data: str,
    verification: pl.DataFrame | None = None,
    data_sets: int = 1,
) -> list[Finding]:
    """All findings of one attribution on one of `data_sets`; `data` is named in every one of them.

    Nothing is said of cells where the gain itself is not told from zero.
    """
    case = Case(frame, summary, model, data, data_sets)
    found = [finding for check in _OF_THE_WHOLE for finding in check(case)]
    if case.clear:
        found += [finding for check in _OF_CELLS for finding in check(case)]
    if verification is not None:
        found += put_back(case, verification)
    return found


def _gain(case: Case) -> Iterable[Finding]:
    summary, data = case.summary, case.data
    gain, error = summary["gain"], summary["gain_stderr"]
    evidence = case.evidence(
        "gain / standard error",
        gain / error if error else None,
        null="a gain of zero",
        p=case.p,
        threshold={"p": ALPHA},
        **{key: summary[key] for key in ("base_loss", "tuned_loss", "gain", "gain_stderr")},
    )
    base, tuned, size, spread = written(summary)
    both = f"from {base} to {tuned} nats per token"
    if not case.frame["frobenius_norm_normalized"].sum():
        kind, text = "no_gain", (
            f"The tuned model and the base are identical: their loss on {data} is "
            f"{summary['base_loss']:.4g} nats per token, and there is no gain."
        )  # fmt: skip
    elif error is None:
        kind, text = "no_gain", (
            f"The loss of {case.model} on the one sequence of {data} went {both}; one sequence says "
            "nothing of other texts of the kind."
        )  # fmt: skip
    elif not case.clear:
        kind, text = "no_gain", (
            f"The loss of {case.model} on {data} went {both}, a {'gain' if gain >= 0 else 'rise'} of "
            f"{size} ± {spread} over {case.n} sequences, which "
            f"cannot be told from none: so nothing is said of single weights.{_told_from(summary)}"
        )  # fmt: skip
    else:
        kind, verb, by = ("gain", "lowered", "a gain of") if gain > 0 else ("no_gain", "raised", "by")
        text = (
            f"Fine-tuning {verb} the loss of {case.model} on {data} {both}, {by} {size} ± {spread} over "
            f"{counted(case.n, 'sequence')}."
        )
    strength = abs(gain / error) if error else 0.0
    told = Finding(kind, text, (case.model,), evidence=evidence, strength=strength,
                   severity="note" if kind == "gain" else "warning")  # fmt: skip
    yield _with_leading(told, case) if kind == "gain" else told


def _with_leading(gain: Finding, case: Case) -> Finding:
    """The gain with the one weight that holds much of it, where there is one."""
    held = leading(case)
    if held is None:
        return gain
    size, error = significant(held["lowered"]), significant(held["stderr"], 2)
    text = f"{gain.text} {held['cell']} alone holds {percent(held['share_of_gain'])} of it, {size} ± {error}."
    return replace(gain, text=text, components=(held["cell"],), evidence={**gain.evidence, "leading": held})


def _told_from(summary: Summary) -> str:
    """From which size on a gain would have been told."""
    visible = visible_gain(summary)
    if visible is None:
        return ""
    return least_found([f"a gain of {significant(visible, 2)} nats per token"])


def _not_converged(case: Case) -> Iterable[Finding]:
    summary = case.summary
    if summary["converged"]:
        return
    text = (
        f"On {case.data} the weights add up to {significant(summary['sum'])} nats per token where the loss "
        f"changed by {significant(-summary['gain'])}: after "
        f"{counted(summary['nodes'], 'node')} the difference is "
        f"{significant(summary['residual'])} ({significant(summary['tolerance'])} would do), and "
        f"{left_over(summary)}."
    )
    evidence = {k: summary.get(k) for k in ("sum", "gain", "residual", "tolerance", "nodes", "stopped")}
    yield Finding("not_converged", text, (case.model,), evidence=evidence | {"data": case.data},
                  severity="warning")  # fmt: skip


def _left(case: Case) -> Iterable[Finding]:
    left = case.summary["not_attributed"]
    if left:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(left.items())[:3])
        text = (
            f"{counted(len(left), 'changed tensor is', 'changed tensors are')} not "
            f"attributed; the tuned loss is without them ({reasons})."
        )
        yield Finding("not_attributed", text, (case.model,), tuple(left), evidence={"tensors": len(left)},
                      severity="warning")  # fmt: skip


def difference_findings(
    frames: Mapping[str, pl.DataFrame], summaries: Mapping[str, Summary], model: str
) -> list[Finding]:
    """What the fine-tune gained on one data set and cost on another, as a whole and cell by cell."""
    names = list(summaries)
    tested = dict(zip(names, holm([gain_p(summaries[name]) for name in names]), strict=True))
    clear = [name for name in names if tested[name] <= ALPHA]
    found = []
    for a in (name for name in clear if summaries[name]["gain"] > 0):
        for b in (name for name in clear if summaries[name]["gain"] < 0):
            gains = {name: summaries[name]["gain"] for name in (a, b)}
            text = (
                f"The fine-tune gained {significant(gains[a])} nats per token on {a} and cost "
                f"{significant(-gains[b])} on {b}."
            )
            p = float(max(tested[a], tested[b]))
            evidence = {
                **gains, "statistic": "larger p of the two, Holm over data sets", "value": p, "p": p,
                "threshold": ALPHA, "null": "no change on either", "n": _counts(summaries, a, b),
            }  # fmt: skip
            found.append(Finding("gain_here_cost_there", text, (model,), evidence=evidence,
                                 strength=min(abs(g) for g in gains.values())))  # fmt: skip
            found += _trades(frames, summaries, model, (a, b))
    return found


def _counts(summaries: Mapping[str, Summary], *names: str) -> list[int]:
    return [int(summaries[name]["sequences"]) for name in names]


def _trades(
    frames: Mapping[str, pl.DataFrame], summaries: Mapping[str, Summary], model: str, names: tuple[str, str]
) -> Iterable[Finding]:
    """Cells that lowered the loss on one data set and raised it on the other, both told from zero."""
    a, b = names
    rows = frames[a].join(frames[b], on="component_name", suffix="_b", maintain_order="left")
    counts = _counts(summaries, a, b)
    if min(counts) < 5 or not rows.height:
        return
    ps = np.maximum(
        _one_sided(-rows["attribution"], rows["stderr"], counts[0]),
        _one_sided(rows["attribution_b"], rows["stderr_b"], counts[1]),
    )
    rows = rows.with_columns(pl.Series("q", benjamini_hochberg(ps))).filter(pl.col("q") <= TRADE_ALPHA)
    if rows.height:
        rows = rows.sort("attribution_b", descending=True)
        found = rows["component_name"].to_list()
        text = (
            f"{len(found)} of {counted(len(ps), 'weight')} lowered the loss on {a} and raised it on {b}: "
            f"{named(found, 3)}."
        )
        p = max(rows["q"].to_list())
        evidence = {
            "statistic": "larger one-sided p of the two", "value": p, "p": p, "threshold": TRADE_ALPHA,
            "null": "no effect on one of them, Benjamini-Hochberg over weights", "n": counts,
            "cells": len(found),
        }  # fmt: skip
        yield Finding("trade_off", text, (model,), tuple(found), evidence=evidence,
                      strength=float(rows["attribution_b"].sum()))  # fmt: skip


def _one_sided(values: pl.Series, errors: pl.Series, n: int) -> Float64:
    """P of a mean as far above zero, 1 where its error is not known; of an error of zero the sign decides."""
    value = values.cast(pl.Float64).fill_null(math.nan).to_numpy()
    error = errors.cast(pl.Float64).fill_null(math.nan).to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        tails = np.where(error == 0, np.where(value > 0, 0.0, 1.0), stats.t.sf(value / error, n - 1))
    found: Float64 = np.nan_to_num(tails, nan=1.0)
    return found


Check = Callable[[Case], Iterable[Finding]]
_OF_THE_WHOLE: tuple[Check, ...] = (_gain, _not_converged, _left)
_OF_CELLS: tuple[Check, ...] = (against, strangers, depth, tilt, explained)
