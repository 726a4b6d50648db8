"""Where the score of a method lies, as it was measured: depth, families, how few layers hold half."""

from typing import Any

import numpy as np
import polars as pl

from tunescope.address import Address
from tunescope.study.finding import significant
from tunescope.words import counted, named

HALF = 0.5  # share of the sum that a band of layers must hold
_FEWEST = 4
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
