"""What the directions of two or more models have in common, each finding with its test and its size."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from tunescope.questions.subspace import sentences as say
from tunescope.questions.subspace.kinds import THRESHOLDS, filled
from tunescope.questions.subspace.pairs import (
    ALPHA,
    INPUTS,
    RUN,
    Bools,
    Equivalence,
    Pair,
    Side,
    equivalence,
    length_ratio,
    means,
    one_start,
    started_alike,
    study_pairs,
    whole_cosine,
)
from tunescope.study.finding import Finding, Severity, merged
from tunescope.words import counted, named

_NUMBERS = (
    "excess_input", "excess_output", "overlap_input_chance", "overlap_output_chance", "overlap_input_z",
    "overlap_output_z", "overlap_input_p", "overlap_output_p", "delta_cosine", "dimensions_shared_input",
    "dimensions_shared_output", "dimensions_shared_input_sd", "dimensions_shared_output_sd",
    "excess_leading_input", "excess_leading_output", "start_cosine", "rank_a", "rank_b", "d_in", "d_out",
)  # fmt: skip
# A smaller share of the weights has a sentence of its own only where it shares much more than the others.
_APART = 0.25
_NULL = "random subspaces, Holm over weights, sides and pairs"


def subspace_findings(summary: pl.DataFrame) -> list[Finding]:
    """What every pair has in common, one finding for each fact with all the models it holds for."""
    found = [*_facts(summary, "untrained"), *_facts(summary, "non_finite")]
    for pair in study_pairs(summary):
        found += _of_pair(pair)
    return merged(found, _fact, say.together)


def _fact(finding: Finding) -> Any:
    if finding.kind in ("untrained", "non_finite"):
        return finding.kind, finding.models
    # What one pair shares in most of its weights and another in a few is no one fact.
    n = finding.evidence
    most = 2 * len(finding.components) >= (n.get("compared") or 0)
    return finding.kind, most, n.get("inputs_told")


def _facts(summary: pl.DataFrame, kind: str) -> list[Finding]:
    """Models with weights that cannot be compared at all, each once whatever it was paired with."""
    rows = summary.filter(pl.col("finding") == kind)
    marks: dict[str, dict[str, None]] = {}
    for a, b, status, name in rows.select("model_a", "model_b", "status", "component_name").iter_rows():
        for label in (a, b):
            if status in (f"ΔW of {label} is zero",) or str(status).startswith(f"{label}: non-finite"):
                marks.setdefault(label, {})[name] = None
    return [
        Finding(
            kind,
            say.fact(kind, label, list(names)),
            (label,),
            tuple(names),
            severity="warning",
            evidence={"weights": len(names)},
        )
        for label, names in marks.items()
    ]


def _of_pair(pair: Pair) -> list[Finding]:
    """All that one pair has in common: one run, a start, directions; or surely nothing."""
    same = (pair.rows["finding"] == "identical").fill_null(False).to_numpy()
    if same.all():
        return [_finding("duplicate", pair, same, severity="warning", strength=1.0)]
    found = [_finding("frozen", pair, same, severity="warning", strength=1.0)] if same.any() else []
    # Equal updates have their sentence; what is in common otherwise is asked of the other weights alone.
    pair = pair.part(~same)
    cosine = whole_cosine(pair.rows) or float(np.nan_to_num(pair.column("delta_cosine")).mean())
    if pair.run_like.mean() >= RUN and cosine >= THRESHOLDS["same_run_cosine"]:
        return [*found, _finding("same_run", pair, pair.run_like, strength=cosine)]
    learned = pair.some("output")
    if pair.inputs_alike.mean() >= INPUTS:
        kind = "shared_initialisation" if started_alike(pair) else "shared_inputs"
        severity: Severity = "warning" if kind == "shared_initialisation" else "note"
        strength = float(pair.excess("input")[pair.inputs_alike].mean())
        found.append(_finding(kind, pair, pair.inputs_alike, severity=severity, strength=strength))
        # Of outputs below the level of unrelated adapters the sentence about the inputs says the count.
        learned &= pair.excess("output") >= THRESHOLDS["little"]
    elif (only := pair.some("input") & ~learned).any():
        found.append(_inputs(pair, only))
    told = bool(found) and found[-1].kind in ("shared_initialisation", "shared_inputs")
    outputs = _directions(pair, learned, told)
    if told and outputs:
        # One fact, one sentence: the inputs in the first, the outputs in the second.
        found[-1] = _retold(found[-1])
    found += outputs
    return found or _nothing(pair)


def _retold(finding: Finding) -> Finding:
    """A finding about inputs, whose outputs have a sentence of their own."""
    evidence = {**finding.evidence, "outputs_told": True}
    a, b = finding.models
    text = say.single(finding.kind, a, b, evidence, list(finding.components)).strip()
    return replace(finding, evidence=evidence, text=text)


def _inputs(pair: Pair, where: Bools) -> Finding:
    """Input directions in common in some of the weights, where the outputs have none."""
    leading = pair.column("excess_leading_input")[where]
    below = float(pair.excess("input")[where].mean()) < THRESHOLDS["little"]
    first = below and bool(np.isfinite(leading).all())
    kind = "first_directions_shared" if first else "shared_inputs"
    return _finding(kind, pair, where, strength=float(pair.excess("input")[where].mean()))


def _directions(pair: Pair, learned: Bools, inputs_told: bool) -> list[Finding]:
    """Output directions in common beyond chance: most of them, or only the leading or a few ones."""
    rows = pair.rows
    full = np.array([filled(row, "output") for row in rows.iter_rows(named=True)])
    # Where the spans fill the space, leading directions in common are all that can be told.
    much = learned & ((pair.excess("output") >= THRESHOLDS["little"]) | full)
    above = pair.excess("output")
    if much.any() and above[learned].mean() >= THRESHOLDS["little"]:
        much = learned
    elif much.any() and much.sum() < _APART * learned.sum() and above[much].mean() < 2 * THRESHOLDS["little"]:
        # A few weights just above the line are no fact of their own.
        much = np.zeros_like(learned)
    few = learned & ~much
    leading = few & (pair.column("excess_leading_output") >= THRESHOLDS["most"])
    kinds = {
        "shared_directions": much,
        "first_directions_shared": leading,
        "few_directions_shared": few & ~leading,
    }
    return [
        _finding(kind, pair, where, strength=_strength(pair, where), more={"inputs_told": inputs_told})
        for kind, where in kinds.items()
        if where.any()
    ]


def _strength(pair: Pair, where: Bools) -> float:
    """The mean excess of the whole spans, times the share of weights that have it."""
    return float(pair.excess("output")[where].mean() * where.mean())


def _nothing(pair: Pair) -> list[Finding]:
    """An equivalence: on both sides less than the least that is worth saying, wherever it can be told."""
    sides: dict[Side, Equivalence] = {
        "input": equivalence(pair, "input"),
        "output": equivalence(pair, "output"),
    }
    count = pair.rows.height
    if any(side.bound >= side.limit for side in sides.values()):
        return []
    bounds = {f"bound_{name}": side.bound for name, side in sides.items()}
    limits = {f"limit_{name}": side.limit for name, side in sides.items()}
    return [
        _finding(
            "nothing_shared",
            pair,
            np.ones(count, dtype=bool),
            strength=0.1,
            more={
                **bounds,
                **limits,
                "null": "a quarter of the directions shared at cos² 0.9",
                "statistic": "upper bound of the mean excess, one-sided 95 %",
                "value": max(side.bound / side.limit for side in sides.values()),
                "threshold": 1.0,
            },
        )
    ]


def _finding(
    kind: str, pair: Pair, where: Bools, *, strength: float, severity: Severity = "note",
    more: Mapping[str, Any] | None = None,
) -> Finding:  # fmt: skip
    part = pair.rows.filter(pl.Series(where))
    side: Side = "input" if kind in ("shared_initialisation", "shared_inputs") else "output"
    start, start_p = one_start(pair)
    evidence: dict[str, Any] = {
        "statistic": f"overlap above chance, {side} side, mean of {counted(part.height, 'weight')}",
        "value": part[f"excess_{side}"].mean(),
        "threshold": THRESHOLDS["little"], "null": _NULL, "n": pair.compared,
        "p": float(pair.p[side][where].max()) if kind != "nothing_shared" else None,
        **means(part, _NUMBERS), "components": part.height, "compared": pair.compared,
        "whole_cosine": whole_cosine(part), "length_ratio": length_ratio(part), "start_p": start_p,
        "start_cosine": start, "outputs_shared": int((pair.some("output") & where).sum()),
        "outputs_told": False, "inputs_told": False,
        "thresholds": dict(THRESHOLDS) | {"p": ALPHA, "run": RUN, "inputs": INPUTS}, **(more or {}),
    }  # fmt: skip
    names = part["component_name"].to_list()
    text = say.single(kind, pair.a, pair.b, evidence, names)
    return Finding(kind, text, (pair.a, pair.b), tuple(names), evidence=evidence, severity=severity,
                   strength=strength)  # fmt: skip


def untold(summary: pl.DataFrame) -> list[str]:
    """For pairs of which nothing can be said: why, and what could have been seen."""
    lines: dict[str, list[str]] = {}
    for pair in study_pairs(summary):
        if not _of_pair(pair):
            lines.setdefault(say.cannot_tell(pair), []).append(f"{pair.a} and {pair.b}")
    whole = pl.col("excess_input").is_null() | pl.col("excess_output").is_null()
    full = summary.filter(
        (pl.col("model_a") != pl.col("model_b")) & pl.col("overlap_output").is_not_null() & whole
    )
    for a, b, count in full.group_by("model_a", "model_b", maintain_order=True).len().iter_rows():
        lines.setdefault(say.whole_space(count), []).append(f"{a} and {b}")
    return [f"{named(names)}: {text}" for text, names in lines.items()]


def with_every_number(findings: Iterable[Finding]) -> list[Finding]:
    """Findings about sources with a pair's numbers, all unknown: the keys of every finding are the same."""
    unknown = {**dict.fromkeys(_NUMBERS), "thresholds": dict(THRESHOLDS)}
    return [replace(finding, evidence={**unknown, **finding.evidence}) for finding in findings]
