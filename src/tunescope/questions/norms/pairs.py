"""What pairs of models state outright: equal updates, and models without a weight in common."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tunescope.study.finding import Finding, merged
from tunescope.words import counted, named

if TYPE_CHECKING:
    from tunescope.measure.between import Between

Member = TypeVar("Member", bound=Hashable)
Pair = tuple[int, int]

_MANY = 12
# A cosine of the whole updates below which one is the other with its sign turned.
_OPPOSITE = -0.999
# Groups of models that hold the same components and have a sentence each.
_FEW_GROUPS = 3


def equal_updates(both: "Between") -> list[Finding]:
    """Models with the same update everywhere (`duplicate`), or in the same few components (`frozen`)."""
    whole: list[Pair] = []
    parts: dict[bytes, list[Pair]] = {}
    for j in range(1, len(both.labels)):
        same = both.same(j, slice(j))
        counts = same.sum(axis=0)
        for i in np.flatnonzero(counts).tolist():
            if counts[i] == both.named[i, j]:
                whole.append((i, j))
            else:
                parts.setdefault(np.packbits(same[:, i]).tobytes(), []).append((i, j))
    frozen = list(_frozen(both, parts))
    few = len(frozen) <= _FEW_GROUPS
    return [*_duplicates(both, whole), *(frozen if few else merged(frozen, lambda _: "frozen", _groups))]


def _duplicates(both: "Between", pairs: Sequence[Pair]) -> Iterable[Finding]:
    groups = clusters(pairs)
    group_of = {model: g for g, models in enumerate(groups) for model in models}
    counts = [0] * len(groups)
    for i, j in pairs:
        counts[group_of[i]] = max(counts[group_of[i]], int(both.named[i, j]))
    for models, count in zip(groups, counts, strict=True):
        who = tuple(both.labels[i] for i in models)
        text = f"{named(who, _MANY)} hold exactly the same update in {_all(count)} they share."
        evidence = {"statistic": "identical components", "value": count, "n": count}
        yield Finding("duplicate", text, who, evidence=evidence, severity="warning", strength=float(len(who)))


def _all(count: int) -> str:
    return "the one component" if count == 1 else f"all {counted(count, 'component')}"


def opposite_updates(both: "Between") -> list[Finding]:
    """Models whose updates point in exactly opposite directions, such as an adapter and its negation."""
    with np.errstate(invalid="ignore"):
        turned = np.argwhere(np.triu(both.cosine <= _OPPOSITE, 1)).tolist()
    found = [_opposite(both, i, j) for i, j in turned]
    return merged(found, lambda _: "opposite", _opposites)


def _opposite(both: "Between", i: int, j: int) -> Finding:
    a, b, cosine, count = both.labels[i], both.labels[j], float(both.cosine[i, j]), int(both.compared[i, j])
    text = (
        f"{a} and {b} changed in opposite directions: the cosine of their updates is {cosine:.3f} over the "
        f"{counted(count, 'component')} compared. One undoes the other, or a sign is turned."
    )
    evidence = {"statistic": "cosine of ΔW", "value": cosine, "threshold": _OPPOSITE, "n": count}
    return Finding("opposite", text, (a, b), evidence=evidence, severity="warning")


def _opposites(found: Sequence[Finding]) -> str:
    pairs = named([f"{f.models[0]} and {f.models[1]}" for f in found])
    return (
        f"In {counted(len(found), 'pair')} of models the updates "
        "point in opposite directions (cosine at most "
        f"{_OPPOSITE}): {pairs}. One undoes the other, or a sign is turned."
    )


def _frozen(both: "Between", parts: Mapping[bytes, Sequence[Pair]]) -> Iterable[Finding]:
    for code, pairs in parts.items():
        bits = np.unpackbits(np.frombuffer(code, np.uint8), count=len(both.component_names))
        names = tuple(both.component_names[m] for m in np.flatnonzero(bits))
        for models in clusters(pairs):
            inside = set(models)
            count = max(int(both.named[i, j]) for i, j in pairs if i in inside)
            who = tuple(both.labels[i] for i in models)
            which = f"{len(names)} of {counted(count, 'component')} ({named(names)})"
            text = (
                f"{which} {'is' if len(names) == 1 else 'are'} identical in "
                f"{named(who, _MANY)}: frozen between them."
            )
            evidence = {"statistic": "identical components", "value": len(names), "n": count,
                        "identical_components": len(names), "shared_components": count}  # fmt: skip
            yield Finding(
                "frozen", text, who, names, evidence=evidence, severity="warning",
                strength=len(names) / count,
            )  # fmt: skip


def _groups(found: Sequence[Finding]) -> str:
    """Many groups of models with components in common, the largest first."""
    ordered = sorted(found, key=lambda f: -f.strength)
    parts = [
        f"{f.evidence['identical_components']} of {f.evidence['shared_components']} in {named(f.models)}"
        for f in ordered[:_FEW_GROUPS]
    ]
    rest = len(ordered) - len(parts)
    return (
        f"Components are identical in {len(ordered)} groups of models, frozen between them: "
        f"{'; '.join(parts)}; and {rest} more."
    )


def clusters(pairs: Iterable[tuple[Member, Member]]) -> list[list[Member]]:
    """The groups that pairs join, in order of first appearance.

    >>> clusters([("a", "b"), ("c", "d"), ("b", "e")])
    [['a', 'b', 'e'], ['c', 'd']]
    """
    group_of: dict[Member, int] = {}
    groups: dict[int, list[Member]] = {}
    for n, (a, b) in enumerate(pairs):
        first, *rest = sorted({group_of[m] for m in (a, b) if m in group_of}) or [n]
        group = groups.setdefault(first, [])
        for other in rest:
            moved = groups.pop(other)
            group += moved
            group_of |= dict.fromkeys(moved, first)
        new = [member for member in dict.fromkeys((a, b)) if member not in group_of]
        group += new
        group_of |= dict.fromkeys(new, first)
    return list(groups.values())


def strangers(models: Sequence[str], both: "Between") -> list[Finding]:
    """Models without a comparable module: their similarity is empty, and this says why.

    Where the models fall into groups without anything between them, that is one finding.
    """
    wanted = set(models)
    numbers = [i for i, label in enumerate(both.labels) if label in wanted]
    comparable = both.compared[np.ix_(numbers, numbers)] > 0
    if comparable[np.triu_indices(len(numbers), 1)].all():
        return []
    strange: list[Pair] = []
    near = [(i, i) for i in numbers]
    for (a, i), (b, j) in combinations(enumerate(numbers), 2):
        (near if comparable[a, b] else strange).append((i, j))
    groups = clusters(near)
    group_of = {model: g for g, group in enumerate(groups) for model in group}
    apart = [(i, j) for i, j in strange if group_of[i] != group_of[j]]
    found = [_apart(groups, apart, both)] if len(groups) > 1 else []
    within: dict[int, list[int]] = {}
    for i, j in strange:
        if group_of[i] == group_of[j]:
            within.setdefault(i, []).append(j)
    return [*found, *(_stranger(i, others, both) for i, others in within.items())]


def _apart(groups: Sequence[Sequence[int]], apart: Sequence[Pair], both: "Between") -> Finding:
    labels = [[both.labels[i] for i in group] for group in groups]
    if all(len(group) == 1 for group in labels):
        who = f"no two of {named([g[0] for g in labels], _MANY)} have" if len(labels) > 2 else (
            f"{labels[0][0]} and {labels[1][0]} have no module in common to compare"
        )  # fmt: skip
        who = who if len(labels) == 2 else f"{who} a module in common to compare"
    else:
        listed = "; ".join(named(group) for group in labels)
        who = f"these groups of models have no module in common to compare: {listed}"
    return _nothing(who, tuple(label for group in labels for label in group), apart, both)


def _stranger(model: int, others: Sequence[int], both: "Between") -> Finding:
    labels = [both.labels[other] for other in others]
    who = f"{both.labels[model]} has no module in common to compare with {named(labels)}"
    return _nothing(who, (both.labels[model], *labels), [(model, other) for other in others], both)


def _nothing(who: str, models: tuple[str, ...], among: Sequence[Pair], both: "Between") -> Finding:
    first, second = np.array(among).T
    rows = both.named[first, second]
    reasons = ["no module of the same name"] if not rows.all() else []
    reasons += _misfits(first, second, both)
    text = f"{who} ({named(reasons, 2)}); there is no similarity between them."
    evidence = {"statistic": "modules of the same name", "value": int(rows.sum()), "n": len(among)}
    return Finding(
        "nothing_in_common", text, models, evidence=evidence, severity="warning", strength=float(len(among))
    )


def _misfits(first: np.ndarray, second: np.ndarray, both: "Between") -> list[str]:
    """How the shapes of weights of one name differ, in the order of the weights."""
    reasons: dict[str, None] = {}
    for mine, theirs, a, b in zip(
        both.shapes[:, first], both.shapes[:, second], both.sides[:, first], both.sides[:, second],
        strict=True,
    ):  # fmt: skip
        met = (mine >= 0) & (theirs >= 0) & (mine != theirs) & ((a == 0) | (a != b))
        for one, other in dict.fromkeys(zip(mine[met].tolist(), theirs[met].tolist(), strict=True)):
            sizes = ["{}×{}".format(*both.sizes[shape]) for shape in (one, other)]
            reasons[f"shapes differ: {sizes[0]} and {sizes[1]}"] = None
    return list(reasons)
