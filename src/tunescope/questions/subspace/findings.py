"""What a subspace summary says in words, each finding with the numbers and thresholds it rests on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from tunescope.address import Address
from tunescope.study.finding import Finding, Severity, named, significant

Thresholds = Mapping[str, float]
_NUMBERS = (
    "excess_input", "excess_output", "overlap_input_chance", "overlap_output_chance", "overlap_input_z",
    "overlap_output_z", "delta_cosine", "dimensions_shared_input", "dimensions_shared_output",
)  # fmt: skip
# Layers or modules are said to differ when one's mean overlap above chance exceeds the other's by this much.
DIFFERENCE = 0.02
# A mean z below it is nothing that random subspaces would not give.
LARGE_Z = 3.0


def subspace_findings(summary: pl.DataFrame, thresholds: Thresholds) -> list[Finding]:
    """One finding per pair of different models and kind, over the weights that are of that kind."""
    found = []
    for a, b in pairs_of(summary):
        if a == b:
            continue
        rows = of_pair(summary, a, b)
        compared = rows.filter(pl.col("finding").is_not_null())
        counts = compared["finding"].value_counts(sort=True)
        for kind in counts["finding"].to_list():
            part = compared.filter(pl.col("finding") == kind)
            found.append(_finding(kind, part, compared.height, a, b, thresholds))
    return found


def pairs_of(summary: pl.DataFrame) -> list[tuple[str, str]]:
    """The pairs of models, in the order they were compared."""
    return [(a, b) for a, b in summary.select("model_a", "model_b").unique(maintain_order=True).iter_rows()]


def of_pair(summary: pl.DataFrame, model_a: str, model_b: str) -> pl.DataFrame:
    """The rows of one pair."""
    return summary.filter((pl.col("model_a") == model_a) & (pl.col("model_b") == model_b))


def _finding(kind: str, part: pl.DataFrame, total: int, a: str, b: str, thresholds: Thresholds) -> Finding:
    numbers: dict[str, Any] = {name: part[name].mean() for name in _NUMBERS}
    names = part["component_name"].to_list()
    where = (
        f"all {total} weights"
        if part.height == total
        else f"{part.height} of {total} weights ({named(names)})"
    )
    text = _TEXTS[kind](numbers, a, b, where, thresholds)
    evidence = numbers | {"components": part.height, "compared": total, "thresholds": dict(thresholds)}
    severity: Severity = (
        "warning" if kind in ("shared_initialisation", "untrained", "non_finite", "identical") else "note"
    )
    return Finding(kind, text, (a, b), tuple(names), evidence=evidence, severity=severity)


def _identical(_: Mapping[str, Any], a: str, b: str, where: str, limits: Thresholds) -> str:
    share = f"{limits['identical_distance']:g}"
    return f"{a} and {b} hold the same update in {where}: they differ by less than {share} of their size."


def _same_run(n: Mapping[str, Any], a: str, b: str, where: str, limits: Thresholds) -> str:
    return (
        f"{a} and {b} look like one run at two steps (or one start trained on much the same data) "
        f"in {where}: overlap above chance {_two(n['excess_input'])} on the input side "
        f"(threshold {limits['same_start']:g}) and {_two(n['excess_output'])} on the output side "
        f"(threshold {limits['little']:g}), cosine of ΔW {_two(n['delta_cosine'])}."
    )


def _initialisation(n: Mapping[str, Any], a: str, b: str, where: str, limits: Thresholds) -> str:
    share = "" if n["excess_input"] >= limits["most"] else "in part "
    return (
        f"{a} and {b} share their input directions {share}but not their output directions in {where}: "
        f"overlap above chance {_two(n['excess_input'])} on the input side, with "
        f"{_one(n['dimensions_shared_input'])} dimensions shared, against {_two(n['excess_output'])} on the "
        f"output side (below {limits['little']:g}), with none. That is what a common initialisation leaves, "
        "such as a library's default seed; it is not something both have learned."
    )


def _directions(n: Mapping[str, Any], a: str, b: str, where: str, limits: Thresholds) -> str:
    return (
        f"{a} and {b} changed {where} in common directions: overlap above chance "
        f"{_two(n['excess_output'])} on the output side and {_two(n['excess_input'])} on the input side, "
        f"where adapters of one base without anything in common stay below {limits['little']:g}; "
        f"{_one(n['dimensions_shared_output'])} output and {_one(n['dimensions_shared_input'])} input "
        f"dimensions are shared on average. Cosine of ΔW: {_two(n['delta_cosine'])}."
    )


def _first(n: Mapping[str, Any], a: str, b: str, where: str, limits: Thresholds) -> str:
    output, inputs = (n[f"dimensions_shared_{side}"] for side in ("output", "input"))
    alone = "" if output else " Nothing is in common on the output side."
    return (
        f"{a} and {b} share only their first directions in {where}, on average {_one(output)} on the "
        f"output side and {_one(inputs)} on the input side: those lie at least {limits['most']:g} above "
        f"chance in one another, the whole spans only {_two(n['excess_output'])} (output) and "
        f"{_two(n['excess_input'])} (input).{alone}"
    )


def _nothing(n: Mapping[str, Any], a: str, b: str, where: str, limits: Thresholds) -> str:
    zs = [n["overlap_input_z"], n["overlap_output_z"]]
    large = max((abs(z) for z in zs if z is not None), default=0.0) >= LARGE_Z
    meaning = "only says that trained updates are not random matrices" if large else "is what chance gives"
    return (
        f"{a} and {b} share nothing in {where}: overlap above chance {_two(n['excess_input'])} on the input "
        f"side and {_two(n['excess_output'])} on the output side, below {limits['little']:g}. Their z of "
        f"{significant(zs[0])} and {significant(zs[1])} {meaning}."
    )


def _untrained(_: Mapping[str, Any], a: str, b: str, where: str, __: Thresholds) -> str:
    return (
        f"{a} and {b} cannot be compared in {where}: ΔW is exactly zero in one of them. It was never "
        "trained, its keys did not match when it was saved, or its scale is 0."
    )


def _non_finite(_: Mapping[str, Any], a: str, b: str, where: str, __: Thresholds) -> str:
    return f"{a} and {b} cannot be compared in {where}: there are NaN or infinite values."


_TEXTS: dict[str, Callable[[Mapping[str, Any], str, str, str, Thresholds], str]] = {
    "identical": _identical,
    "same_run": _same_run,
    "shared_initialisation": _initialisation,
    "shared_directions": _directions,
    "first_directions_shared": _first,
    "nothing_shared": _nothing,
    "untrained": _untrained,
    "non_finite": _non_finite,
}


def _two(value: float | None) -> str:
    # Adding zero takes the sign from a rounded -0.00.
    return "n/a" if value is None else f"{round(value, 2) + 0.0:.2f}"


def _one(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1f}".removesuffix(".0")


def comparison_sentences(summary: pl.DataFrame) -> list[str]:
    """Which layers share most, and Q against V, for every pair that has numbers."""
    out: list[str] = []
    for a, b in pairs_of(summary):
        rows = of_pair(summary, a, b).filter(pl.col("excess_output").is_not_null())
        if a != b and rows.height:
            out += [f"{a} and {b}: {text}" for text in (*_depth(rows), *_query_value(rows))]
    return out


def _depth(rows: pl.DataFrame) -> Iterable[str]:
    layers = (
        rows.filter(pl.col("layer").is_not_null())
        .group_by("layer", maintain_order=True)
        .agg(pl.col("excess_input", "excess_output").mean())
        .sort("layer")
    )
    if layers.height < 3:
        return
    for side in ("input", "output"):
        values = layers[f"excess_{side}"]
        order = values.arg_sort(descending=True).to_list()
        most, least = order[0], order[-1]
        parts = [_two(mean) for mean in _thirds(values.to_list())]
        if values[most] - values[least] < DIFFERENCE:
            mean = _two(float(np.mean(values.to_numpy())))
            yield f"on the {side} side all layers overlap alike, {mean} above chance."
            continue
        yield (
            f"on the {side} side L{layers['layer'][most]} overlaps most ({_two(values[most])} above chance) "
            f"and L{layers['layer'][least]} least ({_two(values[least])}); early, middle and late thirds: "
            f"{', '.join(parts)}."
        )


def _thirds(values: Sequence[float]) -> list[float]:
    n = len(values)
    cuts = [0, -(-n // 3), -(-2 * n // 3), n]
    return [sum(values[i:j]) / max(j - i, 1) for i, j in pairwise(cuts)]


def _query_value(rows: pl.DataFrame) -> Iterable[str]:
    kinds = {m: Address("", 0, m).component for m in rows["module_type"].unique().to_list()}
    both = [
        rows.filter(pl.col("module_type").replace_strict(kinds, return_dtype=pl.String) == kind)
        for kind in ("ATTN_Q", "ATTN_V")
    ]
    if not (both[0].height and both[1].height):
        return
    for side in ("input", "output"):
        (q, q_shared), (v, v_shared) = (_means(part, side) for part in both)
        if abs(q - v) < DIFFERENCE:
            yield f"on the {side} side Q and V overlap alike ({_two(q)} and {_two(v)} above chance)."
            continue
        first, second = ("Q", "V") if q > v else ("V", "Q")
        shared = (q_shared, v_shared) if q > v else (v_shared, q_shared)
        yield (
            f"on the {side} side {first} overlaps more than {second}: {_two(max(q, v))} against "
            f"{_two(min(q, v))} above chance, {_one(shared[0])} against {_one(shared[1])} "
            "shared dimensions on average."
        )


def _means(rows: pl.DataFrame, side: str) -> tuple[float, float]:
    """Mean excess and mean number of shared dimensions on a side."""
    return float(np.mean(rows[f"excess_{side}"].to_numpy())), float(
        np.mean(rows[f"dimensions_shared_{side}"].to_numpy())
    )
