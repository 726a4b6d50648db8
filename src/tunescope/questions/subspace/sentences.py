"""The words of what models have in common: for one pair, and for the same fact in several."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

from tunescope.questions.subspace.kinds import THRESHOLDS
from tunescope.questions.subspace.numbers import plain, span, tenths, turned, two, uncounted, whole
from tunescope.questions.subspace.pairs import Pair, equivalence
from tunescope.study.finding import Finding, listed, significant
from tunescope.words import counted, named

Evidence = Mapping[str, Any]
# A mean z beyond it is more than random subspaces give, which of trained updates says nothing.
LARGE_Z = 3.0
# Pairs that a sentence names one by one.
_FEW = 3


def single(kind: str, a: str, b: str, evidence: Evidence, names: Sequence[str]) -> str:
    """The sentence of one pair."""
    return _SINGLE[kind](a, b, evidence, _where(evidence, names))


def fact(kind: str, label: str, names: Sequence[str]) -> str:
    """Why weights of a model cannot be compared."""
    where = f"{len(names)} weight{'' if len(names) == 1 else 's'} ({named(names)})"
    if kind == "untrained":
        return (
            f"{label} cannot be compared in {where}: its ΔW is exactly zero. It was never trained, its keys "
            "did not match when it was saved, or its scale is 0."
        )
    return f"{label} cannot be compared in {where}: there are NaN or infinite values."


def _where(evidence: Evidence, names: Sequence[str]) -> str:
    count, total = evidence["components"], evidence["compared"]
    if count == total:
        return {1: "the one weight compared", 2: "both weights compared"}.get(
            total, "the one weight compared" if total == 1 else f"all {total} weights compared"
        )
    return f"{count} of {counted(total, 'weight')} ({named(names, 3)})"


def _duplicate(a: str, b: str, _: Evidence, where: str) -> str:
    parts = f"{1 / THRESHOLDS['identical_distance']:,.0f}"
    return f"{a} and {b} hold the same update in {where}: they differ by less than one part in {parts}."


def _frozen(a: str, b: str, _: Evidence, where: str) -> str:
    return f"{a} and {b} hold the same update in {where}: frozen between them."


def _same_run(a: str, b: str, n: Evidence, where: str) -> str:
    cosine = whole(n)
    same = "same direction" if cosine >= 0.8 else "a direction in part the same"
    ratio = "" if n["length_ratio"] is None else f", {b} {n['length_ratio']:.2f} times as long as {a}"
    return (
        f"{a} and {b} look like two steps of one run, or one start trained on much the same data: {same} "
        f"(cosine {two(cosine)}){ratio}, in {where}."
    )


def _initialisation(a: str, b: str, n: Evidence, where: str) -> str:
    return (
        f"{a} and {b} began from one random start, such as a library's default seed: their A matrices still "
        f"agree entry by entry (cosine {two(n['start_cosine'])}), and so do their input directions in "
        f"{where} ({two(n['excess_input'])} above chance). Compare them on the output side. {_outputs(n)}"
    )


def _inputs(a: str, b: str, n: Evidence, where: str) -> str:
    return (
        f"{a} and {b} share input directions in {where} ({two(n['excess_input'])} above chance): a common "
        f"start, or inputs learned alike, which their weights do not tell apart. {_outputs(n)}"
    )


def _outputs(n: Evidence) -> str:
    """What goes with inputs in common on the output side; nothing where a sentence of its own says it."""
    above = two(n["excess_output"])
    if n["outputs_told"]:
        return ""
    if n["outputs_shared"]:
        return (
            f"Of the outputs, {_count(n, 'output')} directions are shared beyond chance in "
            f"{n['outputs_shared']} of these weights ({_scatter([n], 'output')}; {above} above chance)."
        )
    return f"Their output directions, where learning shows, do not agree ({above} above chance)."


def _directions(a: str, b: str, n: Evidence, where: str) -> str:
    sides = ("output",) if n["inputs_told"] else ("output", "input")
    # Less than half a direction in the mean over weights is told by the overlap alone.
    counted = [side for side in sides if (n[f"dimensions_shared_{side}"] or 0.0) >= 0.5]
    counts = [f"{_count(n, side)} {side} directions" for side in counted]
    shared = f"; {' and '.join(counts)} are common one by one ({_scatter([n], *counted)})" if counts else ""
    inputs = "" if n["inputs_told"] else f" and {two(n['excess_input'])} on the input"
    return (
        f"{a} and {b} changed common directions{turned([n])} in {where}; in the mean over them, overlap "
        f"above chance {two(n['excess_output'])} on the output{inputs} side{shared}.{uncounted(n)}"
    )


def _first(a: str, b: str, n: Evidence, where: str) -> str:
    side = "output" if n["excess_leading_output"] is not None else "input"
    other = "input" if side == "output" else "output"
    count = n[f"dimensions_shared_{other}"]
    rest = "cannot be told" if count is None else f"{plain(count)}"
    return (
        f"{a} and {b} share only their leading {side} directions in {where}: {_count(n, side)} beyond chance "
        f"({_scatter([n], side)}; {two(n[f'excess_leading_{side}'])} of the way from chance to equal), with "
        f"{rest} on the {other} side."
    )


def _few(a: str, b: str, n: Evidence, where: str) -> str:
    return (
        f"{a} and {b} share a few output directions in {where}, not their leading ones: "
        f"{_count(n, 'output')} beyond chance ({_scatter([n], 'output')})."
    )


def _nothing(a: str, b: str, n: Evidence, where: str) -> str:
    return f"{a} and {b} share nothing worth a word in {where}: {_bounds([n])}"


def _bounds(numbers: Sequence[Evidence]) -> str:
    outputs, inputs = (span([n[f"excess_{side}"] for n in numbers]) for side in ("output", "input"))
    limit = min(min(n["limit_output"], n["limit_input"]) for n in numbers)
    zs = [abs(n[f"overlap_{side}_z"] or 0.0) for n in numbers for side in ("input", "output")]
    large = (
        f" Their z of up to {significant(max(zs), 2)} only says that trained updates are not random matrices."
        if max(zs) >= LARGE_Z
        else ""
    )
    return f"overlap above chance {outputs} (output) and {inputs} (input), surely below {two(limit)}.{large}"


_SINGLE: dict[str, Callable[[str, str, Evidence, str], str]] = {
    "duplicate": _duplicate,
    "frozen": _frozen,
    "same_run": _same_run,
    "shared_initialisation": _initialisation,
    "shared_inputs": _inputs,
    "shared_directions": _directions,
    "first_directions_shared": _first,
    "few_directions_shared": _few,
    "nothing_shared": _nothing,
}


def together(group: Sequence[Finding]) -> str:
    """One sentence for the same fact in several pairs."""
    kind, numbers = group[0].kind, [finding.evidence for finding in group]
    return _TOGETHER[kind](_pairs([finding.models for finding in group]), numbers)


def _pairs(models: Sequence[tuple[str, ...]]) -> str:
    """The models of several pairs: all together where (nearly) every pair of them is meant."""
    labels = list(dict.fromkeys(label for pair in models for label in pair))
    meant = {frozenset(pair) for pair in models}
    others = [pair for pair in combinations(labels, 2) if frozenset(pair) not in meant]
    if not others:
        return f"{named(labels, 8)}, any two of them,"
    if len(models) <= _FEW:
        return _with(models)
    if len(others) <= min(_FEW, len(models) // 2):
        return f"{named(labels, 8)}, any two of them but {_with(others)},"
    return f"{len(models)} pairs ({named([' with '.join(pair) for pair in models], _FEW)})"


def _with(pairs: Sequence[tuple[str, ...]]) -> str:
    return listed([" with ".join(pair) for pair in pairs], "and")


def _all_same_run(who: str, numbers: Sequence[Evidence]) -> str:
    cosines = [whole(n) for n in numbers]
    # Which of two comes first is the order in which they were named: of many pairs it tells nothing.
    ratios = [max(n["length_ratio"], 1 / n["length_ratio"]) for n in numbers if n["length_ratio"]]
    lengths = f", the longer of each pair {span(ratios)} times as long as the other" if ratios else ""
    return (
        f"{who} look like steps of one run, or of one start trained on much the same data: cosine of their "
        f"updates {span(cosines)}{lengths}, over {_weights(numbers)}."
    )


def _all_initialisation(who: str, numbers: Sequence[Evidence]) -> str:
    return (
        f"{who} began from one random start, such as a library's default seed: their A matrices agree "
        f"entry by entry (cosine {span([n['start_cosine'] for n in numbers])}). Output directions, where "
        f"learning shows: {span([n['excess_output'] for n in numbers])} above chance. Compare them there."
    )


def _all_inputs(who: str, numbers: Sequence[Evidence]) -> str:
    return (
        f"{who} share input directions ({span([n['excess_input'] for n in numbers])} above chance): a "
        "common start, or inputs learned alike, which their weights do not tell apart."
        f"{_all_outputs(numbers)}"
    )


def _all_outputs(numbers: Sequence[Evidence]) -> str:
    if all(n["outputs_told"] for n in numbers):
        return ""
    return f" Output directions: {span([n['excess_output'] for n in numbers])} above chance."


def _all_directions(who: str, numbers: Sequence[Evidence]) -> str:
    counts = [n["dimensions_shared_output"] or 0.0 for n in numbers]
    few = not counts or max(counts) < 0.5
    scatter = _scatter(numbers, "output")
    shared = "" if few else f"; {span(counts, plain)} output directions are common one by one ({scatter})"
    told = all(n["inputs_told"] for n in numbers)
    inputs = "" if told else f" and {span([n['excess_input'] for n in numbers])} on the input"
    where = span([n["components"] for n in numbers], str)
    return (
        f"{who} changed common directions{turned(numbers)} in {where} of "
        f"{span([n['compared'] for n in numbers], str)} weights; in the mean over them, overlap above "
        f"chance {span([n['excess_output'] for n in numbers])} on the output{inputs} side{shared}."
    )


def _all_first(who: str, numbers: Sequence[Evidence]) -> str:
    sides = ["output" if n["dimensions_shared_output"] else "input" for n in numbers]
    side = " or ".join(dict.fromkeys(sides))
    counts = [n[f"dimensions_shared_{one}"] for n, one in zip(numbers, sides, strict=True)]
    return (
        f"{who} share a few {side} directions in {span([n['components'] for n in numbers], str)} of "
        f"{span([n['compared'] for n in numbers], str)} weights: {span(counts, plain)} beyond chance "
        f"({_scatter(numbers, *dict.fromkeys(sides))})."
    )


def _all_nothing(who: str, numbers: Sequence[Evidence]) -> str:
    return f"{who} share nothing worth a word in {_weights(numbers)}: {_bounds(numbers)}"


def _weights(numbers: Sequence[Evidence]) -> str:
    """How many weights were compared in each pair."""
    return f"{span([n['compared'] for n in numbers], str)} weights each"


def _all_duplicate(who: str, numbers: Sequence[Evidence]) -> str:
    return (
        f"{who} hold the same update in {span([n['components'] for n in numbers], str)} of "
        f"{span([n['compared'] for n in numbers], str)} weights."
    )


_TOGETHER: dict[str, Callable[[str, Sequence[Evidence]], str]] = {
    "duplicate": _all_duplicate,
    "frozen": _all_duplicate,
    "same_run": _all_same_run,
    "shared_initialisation": _all_initialisation,
    "shared_inputs": _all_inputs,
    "shared_directions": _all_directions,
    "first_directions_shared": _all_first,
    "few_directions_shared": _all_first,
    "nothing_shared": _all_nothing,
}


def cannot_tell(pair: Pair) -> str:
    """Why nothing is said of a pair, and what could have been seen."""
    sides = {side: equivalence(pair, side) for side in ("output", "input")}
    filled = [f"{side} side" for side, e in sides.items() if not e.tellable]
    if filled:
        return (
            f"the two spans fill so much of the space on the {' and the '.join(filled)} that whether "
            f"directions are shared cannot be told from {counted(pair.rows.height, 'weight')}."
        )
    parts = [f"{two(e.excess)} on the {side} side" for side, e in sides.items()]
    return f"neither directions in common nor their absence can be told: {', '.join(parts)} above chance."


def whole_space(count: int) -> str:
    """What cannot be told of weights in which a span is the whole space."""
    where = counted(count, "weight")
    return f"in {where} a span is a side's whole space, in which any other lies, so that nothing can be told."


def _count(n: Evidence, side: str) -> str:
    """`4 of 16`: directions beyond chance."""
    count = n[f"dimensions_shared_{side}"]
    if count is None:
        return "an unknown number of"
    rank = min(n["rank_a"], n["rank_b"])
    return f"{plain(count)} of {plain(rank)}"


def _scatter(numbers: Sequence[Evidence], *sides: str) -> str:
    """How far counts of random subspaces scatter, the largest of some pairs and sides."""
    found = (n[f"dimensions_shared_{side}_sd"] or 0.0 for n in numbers for side in sides)
    return f"random subspaces: 0 ± {tenths(max(found))}, one standard deviation"
