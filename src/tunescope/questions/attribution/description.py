"""Where the effect lies in plain sentences, and what could have been seen of single weights."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl

from tunescope.address import Address
from tunescope.questions.attribution.case import FEWEST_SEQUENCES, Case, percent
from tunescope.questions.attribution.shape_findings import grid
from tunescope.questions.attribution.summary import correlation
from tunescope.statistics.neighbours import cuts
from tunescope.study.finding import listed, significant
from tunescope.words import named

_SIZED = ("component_name", "attribution", "stderr")
_MOVED = "frobenius_norm_normalized"
# A rank correlation of fewer weights says little.
_FEWEST_RANKED = 8
_FAMILIES = {"mlp": "MLP", "attention": "attention", "norm": "norms", "embedding": "embeddings"}


def where_it_lies(case: Case, visible: float | None, quiet: bool = False) -> list[str]:
    """Shares of depth and families, gross beside net, how few weights hold half, and what was `visible`.

    Gross: of all change of the loss, up or down; net: of the sum, where parts cancel. These state what
    was measured on one run; what stands out against chance is in the findings.
    Of `quiet` cases, of which no part stands out, a sentence under the findings says what was visible.
    """
    if not case.clear or not case.frame.height:
        return []
    said = [*_depth(case), *_families(case), _half(case), *_size_and_effect(case)]
    return said if quiet else [*said, _visible(case, visible)]


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
        spans = [_span(layers[edges[i]], layers[edges[i + 1] - 1]) for i in range(3)]
        names = [f"{name} {span}" for name, span in zip(("early", "middle", "late"), spans, strict=True)]
        sums = [(float(np.nansum(np.abs(band))), float(np.nansum(band))) for band in bands]
        where = f" of {stack}" if len(stacks) > 1 else ""
        beside, evenly = _outside(case, sums)
        even = listed([percent((b - a) / len(layers)) for a, b in pairwise(edges)], "and")
        said.append(
            f"Thirds of the layers{where} ({', '.join(names)}){beside} {_shares(case, sums)}; {evenly} "
            f"it would be {even}."
        )
    return said


def _outside(case: Case, sums: list[tuple[float, float]]) -> tuple[str, str]:
    """Adds what the weights outside the layers moved to `sums`; the words for it and for an even spread."""
    effects = case.frame.filter(pl.col("layer").is_null())["attribution"].drop_nulls()
    if not effects.abs().sum():
        return "", "spread evenly over the layers"
    sums.append((float(effects.abs().sum()), float(effects.sum())))
    return " and the weights outside them", "of what the layers hold, spread evenly,"


def _span(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first}–{last}"


def _shares(case: Case, sums: Sequence[tuple[float, float]]) -> str:
    """What parts moved, gross and net, in percent of the whole."""
    gross, net = float(case.frame["attribution"].abs().sum()), float(case.frame["attribution"].sum())
    moved = listed([percent(part / (gross or 1.0)) for part, _ in sums], "and")
    kept = listed([percent(part / net) for _, part in sums], "and") if net else moved
    if kept == moved:
        return f"hold {moved} of the {case.whole}"
    text = f"hold {moved} of all change of the loss, up or down"
    return f"{text}; of the {case.whole} itself, in which parts cancel, they hold {kept}"


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
    families = listed([_FAMILIES.get(name, name) for name in sums["family"].to_list()], "and")
    parts = _shares(case, list(sums.select("gross", "net").iter_rows()))
    return [f"By family, {families} {parts}."]


def _half(case: Case) -> str:
    effect = case.frame.with_columns(pl.col("attribution").abs().alias("effect"))
    effect = effect.sort("effect", descending=True)
    count = int((effect["effect"].cum_sum() < 0.5 * float(effect["effect"].sum())).sum()) + 1
    top = [_sized(*row) for row in effect.head(min(count, 3)).select(_SIZED).iter_rows()]
    holds, are = ("holds", "is") if count == 1 else ("hold", "are")
    return (
        f"{count} of {case.frame.height} changed weights {holds} half of all change of the loss; the largest "
        f"{are if len(top) > 1 else 'is'} {named(top)}."
    )


def _sized(name: str, effect: float, error: float | None) -> str:
    """A weight with what it did, and the standard error of that."""
    return f"{name} ({significant(effect, 2)}{'' if error is None else f' ± {significant(error, 2)}'})"


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
        f"Size of change and size of effect rank the {rows.height} weights with Spearman {rank:.2f} (1: the "
        f"larger change has the larger effect, 0: unrelated){within_kinds(rows)}. Of the {top} that changed "
        f"most, {len(both)} are among the {top} of largest effect, by chance "
        f"{significant(top * top / rows.height, 2)}."
    ]


def within_kinds(rows: pl.DataFrame) -> str:
    """The same correlation inside each kind of weight, where kinds do not stand for sizes of effect."""
    kinds = [part for part in rows.partition_by("stack", "module_type") if part.height >= _FEWEST_RANKED]
    found = [correlation(part[_MOVED], part["attribution"].abs()) for part in kinds]
    known = [value for value in found if value is not None]
    if len(kinds) < 2 or len(known) < 2:
        return ""
    of = sorted({part.height for part in kinds})
    count = f"{of[0]}" if len(of) == 1 else f"{of[0]} to {of[-1]}"
    return f"; inside one kind of weight, {count} each, with {min(known):.2f} to {max(known):.2f}"


def _visible(case: Case, needed: float | None) -> str:
    """From how many nats per token on a single weight against the whole is found nine times in ten."""
    cells, n = case.frame.height, case.n
    if n < FEWEST_SEQUENCES or needed is None:
        return f"{n} sequences are too few to say of a single weight that it works against the {case.whole}."
    middle = case.frame["attribution"].abs().median()
    times = needed / float(middle) if middle else math.inf  # type: ignore[arg-type]
    size = f", {significant(times, 2)} times what the middle one did" if math.isfinite(times) else ""
    return (
        f"With {n} sequences and {cells} weights, one that works against the {case.whole} is found nine "
        f"times in ten from {significant(needed, 2)} nats per token on{size}."
    )
