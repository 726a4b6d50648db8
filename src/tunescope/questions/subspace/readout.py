"""The readout of a subspace study as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunescope.questions.subspace.pairs import ALPHA
from tunescope.questions.subspace.sight import nothing_stands_out
from tunescope.study.finding import significant
from tunescope.study.markdown import escaped, finding_lines, read_line, table
from tunescope.words import counted, tower_name

CAUTION = (
    "Overlap is read against chance: 0 for random subspaces, 1 for equal ones. The input side of two LoRA "
    "adapters also overlaps when they merely started alike; what was learned shows on the output side."
)


def subspace_markdown(
    document: Mapping[str, Any], coverage: Sequence[str] = (), sources: Sequence[Mapping[str, Any]] = ()
) -> str:
    """The whole readout: findings, the pairs in numbers, the base, what was read, methods."""
    pairs = document["pairs"]
    lines = ["# In which directions", "", f"> {CAUTION}", "", "## Findings", ""]
    lines += finding_lines(
        document["findings"],
        escaped(nothing_stands_out(pairs, document["visible"], document.get("room"))),
        sources=sources,
        paired=bool(pairs),
    )
    lines += [line for text in document["untold"] for line in ("", escaped(text))]
    lines += ["", "## Pairs", "", *_of_a_part(document["findings"]), *_pairs(pairs), *_layers(pairs)]
    for model in document.get("base", []):
        lines += _base(model)
    if coverage:
        lines += ["", "## Coverage", "", *coverage]
    text = f"{methods(document)} {read_line(sources)}"
    return "\n".join([*lines, "", "## Methods", "", escaped(text)]) + "\n"


def _of_a_part(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """That the means of a pair are over more weights than some finding's, where they are."""
    numbers = [finding["evidence"] for finding in findings]
    if not any((n.get("components") or 0) < (n.get("compared") or 0) for n in numbers):
        return []
    return ["Means over all weights of a pair; a finding that names fewer gives the means of those.", ""]


def _pairs(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    header = ["pair", "weights", "input φ", "chance", "above", "output φ", "chance", "above", "cosine of ΔW",
              "lengths", "not compared"]  # fmt: skip
    names = (
        "overlap_input", "overlap_input_chance", "excess_input", "overlap_output", "overlap_output_chance",
        "excess_output", "delta_cosine", "length_ratio",
    )  # fmt: skip
    return table(header, [
        [_title(pair), f"{pair['n_compared']} of {pair['n_components']}",
         *(_three(pair[name]) for name in names), _left(pair)]
        for pair in pairs
    ])  # fmt: skip


def _left(pair: Mapping[str, Any]) -> str:
    """What was not compared, and why."""
    left = [f"{count} {escaped(status)}" for status, count in pair["not_compared"].items()]
    left += [f"{counted(pair['not_judged'], 'weight')} not judged"] if pair["not_judged"] else []
    return "; ".join(left) or "none"


# More pairs than this are told as a range: each has its row in the table.
_FEW_PAIRS = 6


def pair_sentences(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each of a few pairs: overlaps beside their chance, the cosine of the updates."""
    if len(pairs) > _FEW_PAIRS:
        numbers = {
            name: [pair[name] for pair in pairs if pair[name] is not None]
            for name in ("excess_output", "excess_input", "delta_cosine")
        }
        words = ("output overlap {} above chance", "input overlap {}", "cosine of ΔW {}")
        told = [
            text.format(f"{_three(min(values))} to {_three(max(values))}")
            for text, values in zip(words, numbers.values(), strict=True)
            if values
        ]
        return [f"{counted(len(pairs), 'pair')}: {', '.join(told)}."] if told else []
    return [
        f"{pair['model_a']} and {pair['model_b']}: output φ {_three(pair['overlap_output'])} (chance "
        f"{_three(pair['overlap_output_chance'])}), input φ {_three(pair['overlap_input'])} (chance "
        f"{_three(pair['overlap_input_chance'])}), cosine of ΔW {_three(pair['delta_cosine'])}, over "
        f"{counted(pair['n_compared'], 'weight')}."
        for pair in pairs
    ]


def _layers(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Overlap above chance by thirds of the layers, and of query against value weights."""
    header = ["pair", "side", "early", "middle", "late", "query", "value"]
    rows = []
    for pair in pairs:
        for side in ("input", "output"):
            thirds, both = pair[f"thirds_{side}"], pair[f"query_value_{side}"]
            if thirds or both:
                numbers = [*(thirds or [None] * 3), *(both or [None] * 2)]
                rows.append([_title(pair), side, *map(_three, numbers)])
    stacks = dict.fromkeys(pair["stack"] for pair in pairs if pair.get("stack"))
    towers = ", ".join(map(tower_name, stacks))
    said = ["", f"Of several towers these are of the one with the most weights: {towers}."] if towers else []
    lead = ["", "## Thirds of the layers, and query beside value, overlap above chance", ""]
    return [*lead, *table(header, rows), *said] if rows else []


def _title(pair: Mapping[str, Any]) -> str:
    """The two models of a pair."""
    return f"{escaped(pair['model_a'])} · {escaped(pair['model_b'])}"


def _three(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def methods(document: Mapping[str, Any]) -> str:
    """How the numbers were made, for an appendix."""
    limits = document["thresholds"]
    return (
        "φ(i, j) = ‖UᵀU'‖²/min(i, j) of the leading singular vectors of ΔW (Hu et al. 2021), above chance: "
        "(φ − chance)/(1 − chance), chance max(i, j)/d. Tested against random subspaces (Beta tails with φ's "
        "own mean and variance, exact for one direction; counts of principal directions against simulated "
        "ones; of updates on few coordinates against random placements of those), "
        f"Holm over weights, sides and pairs at {ALPHA:.0%}; worth a word from {limits['little']:g} "
        "above chance or one direction beyond it. One start: cosine of the A matrices, entry by entry, "
        f"{limits['start_cosine']:g} or more. Absence: the mean overlap's upper bound below what a quarter "
        f"of the directions at cos² 0.9 would give."
    )


def _base(model: Mapping[str, Any]) -> list[str]:
    lines = ["", f"## {escaped(model['model_id'])} against its base", ""]
    header = ["rank", "along ΔW", "along W", "along random", "‖W‖", "‖ΔW‖", "amplification"]
    names = ("along_delta", "along_base", "along_random", "base_norm", "delta_norm", "amplification_median")
    rows = [[str(r["rank"]), *(significant(r[name]) for name in names)] for r in model["ranks"]]
    lines += table(header, rows)
    for status, count in model["not_measured"].items():
        lines += ["", f"{counted(count, 'weight')} not measured: {escaped(status)}."]
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
