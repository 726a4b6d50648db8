"""What a norms table says in words: findings with the numbers they rest on.

Everything here speaks of what changed, never of what matters: a norm is a size, not an effect.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

import numpy as np
import polars as pl

from tunescope.errors import Notice
from tunescope.measure.depth import layer_means, leading_third, main_stack
from tunescope.study.finding import Finding, named, noticed, significant

# A third holds the mass when its mean exceeds the smallest third's by this factor.
MASS_RATIO = 1.1
# The families differ when their means do by this factor.
TILT_RATIO = 1.1
# A cell is hot when it lies this many median absolute deviations above the median, and twice the median.
HOT_DEVIATIONS, HOT_RATIO = 6.0, 2.0
# A component has collapsed when its norm is below this share of the median of its own kind.
COLLAPSE_SHARE = 0.02


def norm_findings(
    frame: pl.DataFrame,
    metric: str,
    pairs: pl.DataFrame | None = None,
    notices: Sequence[tuple[str, Notice]] = (),
) -> list[Finding]:
    """All findings of a norms table, of its pairs, and of what was noticed while reading."""
    found: list[Finding] = []
    for model in frame["model_id"].unique(maintain_order=True).to_list():
        rows = frame.filter(pl.col("model_id") == model)
        for check in _CHECKS:
            found += check(rows, model, metric)
    found += [noticed(label, notice) for label, notice in notices]
    if pairs is None:
        return found
    published = {label for label, notice in notices if notice.slug == "published-norms"}
    models = [model for model in frame["model_id"].unique(maintain_order=True) if model not in published]
    return found + _pair_findings(pairs) + _strangers(models, pairs)


def _untrained(rows: pl.DataFrame, model: str, _: str) -> Iterable[Finding]:
    zero = rows.filter(pl.col("unscaled_frobenius_norm").fill_null(pl.col("frobenius_norm")) == 0)
    if not zero.height:
        return
    evidence = {"zero_components": zero.height, "components": rows.height}
    if zero.height == rows.height:
        text = f"every ΔW of {model} is exactly zero: never trained, or its keys did not match when saved."
        yield Finding("untrained", text, (model,), evidence=evidence, severity="warning")
    else:
        text = f"{zero.height} of {rows.height} updates of {model} are exactly zero ({named(_names(zero))})."
        yield Finding("untrained", text, (model,), tuple(_names(zero)), evidence=evidence, severity="warning")


def _non_finite(rows: pl.DataFrame, model: str, _: str) -> Iterable[Finding]:
    for name, status in (
        rows.filter(pl.col("status").str.starts_with("non-finite"))
        .select("component_name", "status")
        .iter_rows()
    ):
        text = f"{name} of {model} is {status}; it is left out of every mean."
        yield Finding("non_finite", text, (model,), (name,), evidence={"status": status}, severity="warning")


def _mass(rows: pl.DataFrame, model: str, metric: str) -> Iterable[Finding]:
    stack = main_stack(rows)
    layers = layer_means(rows.filter(pl.col(metric).is_finite() & (pl.col("stack") == stack)), metric)
    if (leading := leading_third(layers, MASS_RATIO)) is None:
        return
    most, least, ratio, parts = leading
    span = layers["layer"].to_list()
    text = (
        f"{model} {_most(metric)} in its {most} layers: mean {metric} {significant(parts[most])} there "
        f"against {significant(parts[least])} in the {least} third "
        f"({ratio:.2f}×; {'' if stack == 'model' else f'{stack} '}layers {span[0]}–{span[-1]})."
    )
    yield Finding(
        f"{most}_layers", text, (model,), evidence={**parts, "ratio": ratio, "threshold": MASS_RATIO}
    )


def _is_size(metric: str) -> bool:
    return "norm" in metric


def _most(metric: str) -> str:
    """Only a norm says how much a weight changed; a rank or a shape is merely large."""
    return "changed most" if _is_size(metric) else "has the largest values"


def _tilt(rows: pl.DataFrame, model: str, metric: str) -> Iterable[Finding]:
    means = dict(
        rows.filter(pl.col(metric).is_finite() & pl.col("family").is_in(["mlp", "attention"]))
        .group_by("family", maintain_order=True)
        .agg(pl.col(metric).mean())
        .iter_rows()
    )
    if len(means) < 2 or min(means.values()) <= 0:
        return
    most, least = sorted(means, key=lambda k: -means[k])
    ratio = means[most] / means[least]
    if ratio >= TILT_RATIO:
        text = (
            f"{model} changed its {most} weights {ratio:.2f}× as much as its {least} weights (mean {metric})."
        )
        if not _is_size(metric):
            text = (
                f"Mean {metric} of {model} is {ratio:.2f}× as large in {most} weights as in {least} weights."
            )
        evidence = {**means, "ratio": ratio, "threshold": TILT_RATIO}
        yield Finding("family_tilt", text, (model,), evidence=evidence)


def _hot(rows: pl.DataFrame, model: str, metric: str) -> Iterable[Finding]:
    usable = rows.filter(pl.col(metric).is_finite())
    values = usable[metric].to_numpy()
    if len(values) < 8:
        return
    median = float(np.median(values))
    deviation = float(np.median(np.abs(values - median)))
    edge = max(median + HOT_DEVIATIONS * deviation, HOT_RATIO * median)
    for name, value in (
        usable.sort(metric, descending=True).select("component_name", metric).head(3).iter_rows()
    ):
        if deviation > 0 and value > edge:
            times = f"{value / median:.1f}× the median component"
            text = f"{name} of {model} stands out: {significant(value)}, {times}."
            evidence = {"value": value, "median": median, "mad": deviation, "threshold": edge}
            yield Finding("hot_cell", text, (model,), (name,), evidence=evidence)


def _collapsed(rows: pl.DataFrame, model: str, metric: str) -> Iterable[Finding]:
    usable = rows.filter(pl.col(metric).is_finite() & (pl.col(metric) > 0))
    peers = usable.with_columns(
        pl.col(metric).median().over("module_type").alias("median"), pl.len().over("module_type")
    )
    low = peers.filter((pl.col("len") >= 4) & (pl.col(metric) < COLLAPSE_SHARE * pl.col("median")))
    for name, value, median in low.select("component_name", metric, "median").iter_rows():
        text = (
            f"{name} of {model} has collapsed: {significant(value)} where its peers in other layers have a "
            f"median of {significant(median)}."
        )
        evidence = {"value": value, "median": median, "threshold": COLLAPSE_SHARE * median}
        yield Finding("collapsed", text, (model,), (name,), evidence=evidence, severity="warning")


Check = Callable[[pl.DataFrame, str, str], Iterable[Finding]]
_CHECKS: tuple[Check, ...] = (_untrained, _non_finite, _mass, _tilt, _hot, _collapsed)


def _names(rows: pl.DataFrame) -> list[str]:
    return rows["component_name"].to_list()


def _pair_findings(pairs: pl.DataFrame) -> list[Finding]:
    found = []
    sums = pairs.group_by("model_a", "model_b", maintain_order=True).agg(
        pl.col("identical").fill_null(False).sum().alias("same"), pl.len().alias("all")
    )
    for a, b, same, count in sums.iter_rows():
        evidence = {"identical_components": same, "shared_components": count}
        if same == count:
            text = f"{a} and {b} hold exactly the same update in all {count} components they share."
            found.append(Finding("duplicate", text, (a, b), evidence=evidence, severity="warning"))
        elif same:
            rows = pairs.filter((pl.col("model_a") == a) & (pl.col("model_b") == b) & pl.col("identical"))
            which = f"{same} of {count} components ({named(_names(rows))})"
            text = f"{which} are identical in {a} and {b}: frozen between them."
            found.append(
                Finding("frozen", text, (a, b), tuple(_names(rows)), evidence=evidence, severity="warning")
            )
    return found


def _strangers(models: Sequence[str], pairs: pl.DataFrame) -> list[Finding]:
    """Models without a comparable module: their cosine is null, and this says why, once for each model."""
    usable = pairs.filter(pl.col("inner").is_not_null())
    comparable = {frozenset(pair) for pair in usable.select("model_a", "model_b").iter_rows()}
    strange = [pair for pair in combinations(models, 2) if frozenset(pair) not in comparable]
    return [
        _stranger(model, others, pairs)
        for model in models
        if (others := [b for a, b in strange if a == model])
    ]


def _stranger(model: str, others: Sequence[str], pairs: pl.DataFrame) -> Finding:
    rows = pairs.filter((pl.col("model_a") == model) & pl.col("model_b").is_in(others))
    reasons = rows["status"].unique(maintain_order=True).to_list()
    if rows["model_b"].n_unique() < len(others):
        reasons = ["no module of the same name", *reasons]
    whose = "their similarity is" if len(others) == 1 else "these similarities are"
    who = (
        f"{model} and {others[0]} have no module in common to compare"
        if len(others) == 1
        else f"{model} has no module in common to compare with {named(others)}"
    )
    text = f"{who} ({named(reasons, 2)}); {whose} null."
    evidence = {"shared_names": rows.height}
    return Finding("nothing_in_common", text, (model, *others), evidence=evidence, severity="warning")
