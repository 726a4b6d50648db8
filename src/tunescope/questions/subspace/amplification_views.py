"""Norms along ΔW's, W's and random directions by layer, amplification and intruder maps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.picture.views import Grid, column_order, grids, with_component

Float64 = NDArray[np.float64]
KINDS = ("base", "delta", "random")


@dataclass(frozen=True, eq=False)
class Along:
    """One module over the layers: ‖UᵀWV‖_F per kind of direction, beside ‖W‖_F and ‖ΔW‖_F."""

    title: str
    layers: Float64
    projected: dict[str, Float64]
    base_norm: Float64
    delta_norm: Float64


def at_own_rank(amplification: pl.DataFrame, model: str) -> pl.DataFrame:
    """The rows of one model at each weight's largest rank."""
    key = ["stack", "layer", "module_type", "expert"]
    rows = amplification.filter((pl.col("model_id") == model) & pl.col("projected_norm").is_not_null())
    return rows.filter(pl.col("rank") == pl.col("rank").max().over(key))


def along(amplification: pl.DataFrame, model: str) -> list[Along]:
    """One panel per module type with layers, in the order of the heatmaps' columns."""
    rows = at_own_rank(amplification, model).filter(pl.col("layer").is_not_null())
    if not rows.height:
        return []
    rows = with_component(rows)
    return [_along(rows.filter(pl.col("column") == column), column) for column in column_order(rows)]


def _along(rows: pl.DataFrame, title: str) -> Along:
    means = rows.group_by("layer", "directions", maintain_order=True).agg(
        pl.col("projected_norm", "base_norm", "delta_norm").mean()
    )
    layers = sorted(means["layer"].unique().to_list())

    def line(kind: str, column: str) -> Float64:
        part = means.filter(pl.col("directions") == kind)
        found = dict(zip(part["layer"].to_list(), part[column].to_list(), strict=True))
        return np.array([np.nan if found.get(k) is None else found[k] for k in layers], dtype=np.float64)

    return Along(
        title,
        np.array(layers, dtype=np.float64),
        {kind: line(kind, "projected_norm") for kind in KINDS},
        line("delta", "base_norm"),
        line("delta", "delta_norm"),
    )


def amplification_maps(amplification: pl.DataFrame, model: str) -> list[Grid]:
    """Layer × module maps of the amplification factor at each weight's own rank."""
    rows = at_own_rank(amplification, model).filter(pl.col("directions") == "delta")
    if rows["amplification"].drop_nulls().len() == 0:
        return []
    return grids(rows, "amplification", f"{model}: amplification by ΔW", "‖ΔW‖/‖UᵀWV‖")


def intruder_maps(intruders: pl.DataFrame, model: str) -> list[Grid]:
    """Layer × module maps of how many of the leading vectors are intruders."""
    rows = intruders.filter(pl.col("model_id") == model)
    if not rows.height:
        return []
    key = ["stack", "layer", "module_type", "expert"]
    counts = rows.group_by(key, maintain_order=True).agg(
        pl.col("intruder").sum().cast(pl.Float64).alias("intruders"), pl.len().alias("vectors")
    )
    top = float(counts["vectors"].max() or 1)  # type: ignore[arg-type]
    label = f"intruders among the top {int(top)}"
    return [
        replace(g, limits=(0.0, top))
        for g in grids(counts, "intruders", f"{model}: intruder dimensions", label)
    ]


def shown_lines(view: Sequence[Along]) -> bool:
    """Whether there are enough layers for a line."""
    return any(len(panel.layers) > 1 for panel in view)
