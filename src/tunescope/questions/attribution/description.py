"""Where the effect lies in plain sentences, and what could have been seen of single weights."""

import numpy as np
import polars as pl

from tunescope.address import Address
from tunescope.questions.attribution.case import FEWEST_SEQUENCES, Case, percent
from tunescope.questions.attribution.cell_findings import least_visible
from tunescope.questions.attribution.shape_findings import grid
from tunescope.statistics.groups import cuts
from tunescope.study.finding import named, significant

_MOVED = "frobenius_norm_normalized"
# A rank correlation of fewer weights says little.
_FEWEST_RANKED = 8
_FAMILIES = {"mlp": "MLP", "attention": "attention", "norm": "norms", "embedding": "embeddings"}


def where_it_lies(case: Case) -> list[str]:
    """Shares of depth and families, gross beside net, how few weights hold half, and what was visible.

    Gross: of all that was moved in either direction; net: of the sum, where parts cancel. These state what
    was measured on one run; what stands out against chance is in the findings.
    """
    if not case.clear or not case.frame.height:
        return []
    return [*_depth(case), *_families(case), _half(case), *_size_and_effect(case), _visible(case)]


def _depth(case: Case) -> list[str]:
    inside = case.frame.filter(pl.col("layer").is_not_null())
    stacks = inside["stack"].unique(maintain_order=True).to_list()
    said = []
    for stack in stacks:
        layers, _, values = grid(case.frame, stack)
        if len(layers) < 3:
            continue
        edges = cuts(len(layers))
        bands = [values[edges[i] : edges[i + 1]] for i in range(3)]
        whole = case.frame["attribution"]
        gross, net = float(whole.abs().sum()), float(whole.sum())
        parts = [
            f"{name} {percent(float(np.nansum(np.abs(band))) / (gross or 1.0))} "
            f"({percent(float(np.nansum(band)) / net) if net else 'n/a'} net)"
            for name, band in zip(("early", "middle", "late"), bands, strict=True)
        ]
        where = f" of {stack}" if len(stacks) > 1 else ""
        said.append(
            f"Thirds of the layers{where} by what they moved in either direction: {', '.join(parts)}."
        )
    return said


def _families(case: Case) -> list[str]:
    names = [Address("", 0, module).family for module in case.frame["module_type"].to_list()]
    sums = (
        case.frame.with_columns(pl.Series("family", names))
        .group_by("family", maintain_order=True)
        .agg(pl.col("attribution").abs().sum().alias("gross"), pl.col("attribution").sum().alias("net"))
        .sort("gross", descending=True)
    )
    if sums.height < 2:
        return []
    gross, net = float(sums["gross"].sum()), float(sums["net"].sum())
    parts = [
        f"{_FAMILIES.get(name, name)} {percent(part / (gross or 1.0))} "
        f"({percent(signed / net) if net else 'n/a'} net)"
        for name, part, signed in sums.iter_rows()
    ]
    return [f"By family: {', '.join(parts)}."]


def _half(case: Case) -> str:
    effect = case.frame.with_columns(pl.col("attribution").abs().alias("effect"))
    effect = effect.sort("effect", descending=True)
    count = int((effect["effect"].cum_sum() < 0.5 * float(effect["effect"].sum())).sum()) + 1
    top = effect["component_name"].head(min(count, 3)).to_list()
    holds, are = ("holds", "is") if count == 1 else ("hold", "are")
    return (
        f"{count} of {case.frame.height} changed weights {holds} half of all that was moved; the largest "
        f"{are if len(top) > 1 else 'is'} {named(top)}."
    )


def _size_and_effect(case: Case) -> list[str]:
    """Whether what changed most had the largest effect: a rank correlation, an overlap of the tops."""
    rows = case.frame.filter(pl.col(_MOVED).is_finite() & pl.col("attribution").is_finite())
    rank = case.summary["spearman_change_effect"]
    if rows.height < _FEWEST_RANKED or rank is None:
        return []
    moved, effect = rows[_MOVED].to_numpy(), rows["attribution"].abs().to_numpy()
    top = max(rows.height // 4, 1)
    both = np.intersect1d(np.argsort(-moved, kind="stable")[:top], np.argsort(-effect, kind="stable")[:top])
    return [
        "Is a large change an important one? Size of change and size of effect rank the "
        f"{rows.height} weights alike: Spearman {rank:.2f} (1: the larger change has the larger effect, "
        f"0: unrelated). Of the {top} that changed most, {len(both)} are among the {top} of largest effect, "
        f"by chance {significant(top * top / rows.height, 2)}."
    ]


def _visible(case: Case) -> str:
    cells, n = case.frame.height, case.n
    if n < FEWEST_SEQUENCES:
        return f"{n} sequences are too few to say of a single weight that it works against the gain."
    needed = least_visible(cells, n, case.alpha)
    few = "" if needed <= 6 else " — too few sequences to find most of those that matter"
    middle = case.frame["stderr"].drop_nulls().median()
    size = f", here about {significant(needed * float(middle), 2)} nats per token" if middle else ""  # type: ignore[arg-type]
    return (
        f"With {n} sequences and {cells} weights, one that works against the gain is found from "
        f"{needed:.1f} standard errors on{size}{few}."
    )
