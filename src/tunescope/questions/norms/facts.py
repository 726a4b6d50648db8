"""What a norms table states outright: updates of zero, values that are not finite, models that are equal."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

import polars as pl

from tunescope.study.finding import Finding, merged, named

_MANY = 12


def untrained(frame: pl.DataFrame) -> list[Finding]:
    """Models of which all updates, or some, are exactly zero."""
    found = []
    for model, rows in _models(frame):
        zero = rows.filter(pl.col("unscaled_frobenius_norm").fill_null(pl.col("frobenius_norm")) == 0)
        if not zero.height:
            continue
        every = zero.height == rows.height
        components = () if every else tuple(zero["component_name"].to_list())
        evidence = {"statistic": "updates of zero", "value": zero.height, "n": rows.height}
        text = _zero([model], components, rows.height)
        found.append(
            Finding("untrained", text, (model,), components, evidence=evidence, severity="warning",
                    strength=zero.height / rows.height)
        )  # fmt: skip
    return merged(
        found,
        lambda f: (f.components, f.evidence["n"] if f.components else None),
        lambda group: _zero([f.models[0] for f in group], group[0].components, group[0].evidence["n"]),
    )


def _zero(models: Sequence[str], components: Sequence[str], of: int) -> str:
    who = named(models, _MANY)
    if not components:
        return f"every update of {who} is exactly zero: never trained, or its keys did not match when saved."
    return f"{len(components)} of {of} updates of {who} are exactly zero ({named(components)})."


def non_finite(frame: pl.DataFrame) -> Iterator[Finding]:
    """Models with NaN or infinite values, which are left out of every mean."""
    for model, rows in _models(frame):
        spoilt = rows.filter(pl.col("status").str.starts_with("non-finite"))
        if not spoilt.height:
            continue
        names, statuses = spoilt["component_name"].to_list(), spoilt["status"].to_list()
        values = [
            f"{name} ({status.removeprefix('non-finite:').strip()})"
            for name, status in zip(names, statuses, strict=True)
        ]
        are = "holds" if len(names) == 1 else "hold"
        out = "it is" if len(names) == 1 else "they are"
        text = f"{named(values)} of {model} {are} values that are not finite; {out} left out of every mean."
        evidence = {
            "statistic": "updates with values that are not finite",
            "value": len(names),
            "n": rows.height,
            "status": dict(zip(names, statuses, strict=True)),
        }
        yield Finding(
            "non_finite", text, (model,), tuple(names), evidence=evidence, severity="warning",
            strength=len(names) / rows.height,
        )  # fmt: skip


def _models(frame: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    for model in frame["model_id"].unique(maintain_order=True).to_list():
        yield model, frame.filter(pl.col("model_id") == model)


def equal_updates(pairs: pl.DataFrame) -> list[Finding]:
    """Models with the same update everywhere (`duplicate`), or in the same few components (`frozen`)."""
    sums = pairs.group_by("model_a", "model_b", maintain_order=True).agg(
        pl.col("component_name").filter(pl.col("identical").fill_null(False)).alias("same"),
        pl.len().alias("all"),
    )
    whole, parts = [], []
    for a, b, same, count in sums.iter_rows():
        if len(same) == count:
            whole.append((a, b, count))
        elif same:
            parts.append((a, b, tuple(same), count))
    twins = clusters([(a, b) for a, b, _ in whole])
    shared = {frozenset((a, b)): count for a, b, count in whole}
    found = [_duplicate(group, [c for pair, c in shared.items() if pair <= set(group)]) for group in twins]
    return found + _frozen(parts)


def _duplicate(models: Sequence[str], counts: Sequence[int]) -> Finding:
    text = f"{named(models, _MANY)} hold exactly the same update in all {max(counts)} components they share."
    evidence = {"statistic": "identical components", "value": max(counts), "n": max(counts)}
    return Finding(
        "duplicate", text, tuple(models), evidence=evidence, severity="warning", strength=float(len(models))
    )


def _frozen(parts: Iterable[tuple[str, str, tuple[str, ...], int]]) -> list[Finding]:
    by_names: dict[tuple[str, ...], list[tuple[str, str, int]]] = {}
    for a, b, names, count in parts:
        by_names.setdefault(names, []).append((a, b, count))
    found = []
    for names, among in by_names.items():
        for models in clusters([(a, b) for a, b, _ in among]):
            count = max(c for a, _, c in among if a in models)
            which = f"{len(names)} of {count} components ({named(names)})"
            text = f"{which} are identical in {named(models, _MANY)}: frozen between them."
            evidence = {"statistic": "identical components", "value": len(names), "n": count,
                        "identical_components": len(names), "shared_components": count}  # fmt: skip
            found.append(
                Finding("frozen", text, tuple(models), names, evidence=evidence, severity="warning",
                        strength=len(names) / count)
            )  # fmt: skip
    return found


def clusters(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The groups that pairs join, in order of first appearance.

    >>> clusters([("a", "b"), ("c", "d"), ("b", "e")])
    [['a', 'b', 'e'], ['c', 'd']]
    """
    groups: list[list[str]] = []
    for a, b in pairs:
        touched = [group for group in groups if a in group or b in group]
        joined = list(dict.fromkeys([name for group in touched for name in group] + [a, b]))
        if touched:
            groups[groups.index(touched[0])] = joined
            groups = [g for g in groups if not any(g is other for other in touched[1:])]
        else:
            groups.append(joined)
    return groups


def strangers(models: Sequence[str], pairs: pl.DataFrame) -> list[Finding]:
    """Models without a comparable module: their similarity is empty, and this says why.

    Where the models fall into groups without anything between them, that is one finding.
    """
    measured = pairs.filter(pl.col("inner").is_not_null())
    comparable = {frozenset(pair) for pair in measured.select("model_a", "model_b").iter_rows()}
    strange = [pair for pair in combinations(models, 2) if frozenset(pair) not in comparable]
    if not strange:
        return []
    near = [pair for pair in combinations(models, 2) if pair not in set(strange)]
    groups = clusters([*near, *((m, m) for m in models)])
    apart = [(a, b) for a, b in strange if not any(a in g and b in g for g in groups)]
    within = [pair for pair in strange if pair not in set(apart)]
    found = [_apart(groups, apart, pairs)] if len(groups) > 1 else []
    for model in models:
        if others := [b for a, b in within if a == model]:
            found.append(_stranger(model, others, pairs))
    return found


def _apart(groups: Sequence[Sequence[str]], apart: Sequence[tuple[str, str]], pairs: pl.DataFrame) -> Finding:
    if all(len(group) == 1 for group in groups):
        who = f"no two of {named([g[0] for g in groups], _MANY)} have" if len(groups) > 2 else (
            f"{groups[0][0]} and {groups[1][0]} have no module in common to compare"
        )  # fmt: skip
        who = who if len(groups) == 2 else f"{who} a module in common to compare"
    else:
        listed = "; ".join(named(group) for group in groups)
        who = f"these groups of models have no module in common to compare: {listed}"
    return _nothing(who, tuple(m for g in groups for m in g), apart, pairs)


def _stranger(model: str, others: Sequence[str], pairs: pl.DataFrame) -> Finding:
    who = f"{model} has no module in common to compare with {named(others)}"
    return _nothing(who, (model, *others), [(model, other) for other in others], pairs)


def _nothing(
    who: str, models: tuple[str, ...], among: Sequence[tuple[str, str]], pairs: pl.DataFrame
) -> Finding:
    wanted = {frozenset(pair) for pair in among}
    rows = [r for r in pairs.iter_rows(named=True) if frozenset((r["model_a"], r["model_b"])) in wanted]
    reasons = list(dict.fromkeys(row["status"] for row in rows))
    if len({frozenset((r["model_a"], r["model_b"])) for r in rows}) < len(wanted):
        reasons = ["no module of the same name", *reasons]
    text = f"{who} ({named(reasons, 2)}); there is no similarity between them."
    evidence = {"statistic": "modules of the same name", "value": len(rows), "n": len(wanted)}
    return Finding(
        "nothing_in_common", text, models, evidence=evidence, severity="warning", strength=float(len(wanted))
    )
