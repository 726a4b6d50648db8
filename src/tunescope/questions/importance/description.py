"""Where the score of a method lies, as it was measured: depth, families, how few layers hold half."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from tunescope.address import Address
from tunescope.linalg.ranks import spearman
from tunescope.study.finding import listed, named, significant
from tunescope.words import counted

HALF = 0.5  # share of the sum that a band of layers must hold
_FEWEST = 4
# A rank correlation of fewer layers says little.
_FEWEST_RANKED = 7
_OF_LAYERS = ("stack", "layer", "layer_importance", "layer_importance_stderr")
_FAMILIES = {
    "mlp": "MLP weights", "attention": "attention weights", "norm": "norms", "embedding": "embeddings",
    "other": "other weights",
}  # fmt: skip


def where_it_lies(frame: pl.DataFrame, method: str) -> list[str]:
    """Plain sentences on one method's map; what stands out against chance is in the findings."""
    rows = frame.filter((pl.col("method") == method) & pl.col("score").is_not_null())
    inside = rows.filter(pl.col("layer").is_not_null())
    stacks = inside["stack"].unique(maintain_order=True).to_list()
    said = []
    for stack in stacks:
        name = f" of {stack}" if len(stacks) > 1 else ""
        said += _band(inside.filter(pl.col("stack") == stack), name)
    return [*said, *_families(rows)]


def _band(part: pl.DataFrame, name: str) -> list[str]:
    sums = part.group_by("layer", maintain_order=True).agg(pl.col("score").sum()).sort("layer")
    layers, values = sums["layer"].to_numpy(), sums["score"].to_numpy()
    if len(layers) < _FEWEST or not values.sum() > 0:
        return []
    start, stop = densest_band(values)
    share = float(values[start:stop].sum() / values.sum())
    one = stop - start == 1
    band = f"layer {layers[start]}" if one else f"layers {layers[start]} to {layers[stop - 1]}"
    even = (stop - start) / len(layers)
    return [
        f"{share:.0%} of the sum over layers{name} lies in {band}, "
        f"{stop - start} of {counted(len(layers), 'layer')}: "
        f"spread evenly it would be {even:.0%}."
    ]


def densest_band(sums: np.ndarray[Any, Any], share: float = HALF) -> tuple[int, int]:
    """The shortest run of layers (first, one past last) that holds `share` of the sum; the fullest of those.

    >>> densest_band(np.array([1.0, 1.0, 6.0, 2.0]))
    (2, 3)
    """
    total, count = sums.sum(), len(sums)
    edges = np.concatenate([[0.0], np.cumsum(sums)])
    for width in range(1, count + 1):
        held = edges[width:] - edges[:-width]
        best = int(np.argmax(held))
        if held[best] >= share * total:
            return best, best + width
    return 0, count


def _families(rows: pl.DataFrame) -> list[str]:
    families = [Address("", 0, parameter).family for parameter in rows["parameter"].to_list()]
    totals = (
        rows.with_columns(pl.Series("family", families))
        .group_by("family", maintain_order=True)
        .agg(pl.col("share").sum(), pl.col("numel").sum())
        .sort("share", descending=True)
    )
    if totals.height < 2:
        return []
    names = [_FAMILIES.get(family, family) for family in totals["family"].to_list()]
    parts = [f"{name} {share:.0%}" for name, share in zip(names, totals["share"].to_list(), strict=True)]
    density = totals["share"].to_numpy() / (totals["numel"].to_numpy() / float(totals["numel"].sum()))
    best = int(np.argmax(density))
    return [
        f"Of the sum over all tensors: {named(parts, 5)}. Per parameter, {names[best]} score most, "
        f"{significant(float(density[best]))} times the average."
    ]


def left_out(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    """What leaving out a whole layer does to the loss, and whether the methods' sums order the layers alike.

    `layers` are the readout's rows: the two that count most, and the middle one, are told.
    """
    known = [row for row in layers if row.get("layer_importance") is not None]
    if len(known) < 2:
        return []
    several = len({row["stack"] for row in known}) > 1
    known.sort(key=lambda row: -row["layer_importance"])
    (one, most), (two, next_one) = (
        (
            f"{row['stack'] + ' ' if several else ''}layer {row['layer']}",
            f"{significant(row['layer_importance'], 3)}{_error(row)}",
        )
        for row in known[:2]
    )
    worth = np.array([row["layer_importance"] for row in known], dtype=np.float64)
    below = int((worth < 0).sum())
    lower = f"; without {counted(below, 'layer')} it falls" if below else ""
    text = (
        f"Leaving out {one} as a whole raises the model's loss by {most} nats per token, more than any other "
        f"of {counted(len(known), 'layer')}; next is {two} with {next_one}, and the median is "
        f"{significant(float(np.median(worth)), 2)}{lower}."
    )
    return [f"{text}{_agreement(known, worth)}"]


def _error(row: Mapping[str, Any]) -> str:
    error = row.get("layer_importance_stderr")
    return "" if error is None else f" ± {significant(error, 2)}"


def _agreement(known: Sequence[Mapping[str, Any]], worth: np.ndarray[Any, Any]) -> str:
    """Rank correlations of what leaving out layers costs with the methods' sums over them."""
    names = [name for name in known[0] if name not in _OF_LAYERS]
    found = {
        name: spearman(worth, np.array([row[name] for row in known], dtype=np.float64)) for name in names
    }
    told = [f"{rho:.2f} with those of {name}" for name, rho in found.items() if np.isfinite(rho)]
    if len(known) < _FEWEST_RANKED or not told:
        return ""
    return f" This order of layers agrees with their sums at Spearman {listed(told, 'and')}."
