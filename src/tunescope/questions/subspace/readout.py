"""The readout of a subspace study as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunescope.study.finding import significant
from tunescope.study.markdown import escaped, finding_lines, table

CAUTION = (
    "Overlap is read against chance: the excess is (φ − chance)/(1 − chance), 0 for random subspaces and 1 "
    "for equal ones. The input side of two LoRA adapters also overlaps when they merely started alike."
)

FILLED = "as one of the two spans fills a side's whole space, and any other lies in it"


def subspace_markdown(document: Mapping[str, Any], coverage: Sequence[str] = ()) -> str:
    """The whole readout: the pairs, layers and Q against V, the base, findings, coverage."""
    lines = ["# In which directions", "", f"> {CAUTION}", "", *_pairs(document["pairs"])]
    lines += ["", "## Findings", "", *finding_lines(document["findings"])]
    if document["comparison"]:
        lines += ["", "## Layers and modules", "", *(f"- {escaped(text)}" for text in document["comparison"])]
    for model in document.get("base", []):
        lines += _base(model)
    if coverage:
        lines += ["", "## Coverage", "", *coverage]
    return "\n".join(lines) + "\n"


def _pairs(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    header = [
        "pair",
        "weights",
        "input φ",
        "chance",
        "excess",
        "output φ",
        "chance",
        "excess",
        "cosine of ΔW",
    ]
    names = (
        "overlap_input", "overlap_input_chance", "excess_input", "overlap_output", "overlap_output_chance",
        "excess_output", "delta_cosine",
    )  # fmt: skip
    rows = []
    for pair in pairs:
        counted = f"{pair['n_compared']} of {pair['n_components']}"
        rows.append([_title(pair), counted, *(_three(pair[name]) for name in names)])
    lines = table(header, rows)
    for pair in pairs:
        for status, count in pair["not_compared"].items():
            lines += ["", f"{_title(pair)}: {count} weights not compared, {escaped(status)}."]
        if pair["not_judged"]:
            lines += ["", f"{_title(pair)}: {pair['not_judged']} weights not judged, {FILLED}."]
    return lines


def _title(pair: Mapping[str, Any]) -> str:
    """The two models of a pair."""
    return f"{escaped(pair['model_a'])} · {escaped(pair['model_b'])}"


def _three(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _base(model: Mapping[str, Any]) -> list[str]:
    lines = ["", f"## {escaped(model['model_id'])} against its base", ""]
    header = ["rank", "along ΔW", "along W", "along random", "‖W‖", "‖ΔW‖", "amplification"]
    names = ("along_delta", "along_base", "along_random", "base_norm", "delta_norm", "amplification_median")
    rows = [[str(r["rank"]), *(significant(r[name]) for name in names)] for r in model["ranks"]]
    lines += table(header, rows)
    for status, count in model["not_measured"].items():
        lines += ["", f"{count} weights not measured: {escaped(status)}."]
    lines += [
        "",
        "‖UᵀWV‖ along each kind of direction, means over the weights; amplification ‖ΔW‖/‖UᵀWV‖, median.",
    ]
    if model["vectors"]:
        left = f", {model['undecided']} are undecided" if model["undecided"] else ""
        lines += [
            "",
            f"{model['intruders']} of {model['vectors']} leading singular vectors of W + ΔW are "
            f"intruders{left} (largest residual of the iteration {significant(model['intruder_residual'])}).",
        ]
    return lines
