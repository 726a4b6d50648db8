"""What lies inside a weight as data for pictures: heads, experts, and how low the rank of a change is."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.picture.views import Curve, Grid, column_order, grids, limits_of, shared, with_component

HEAD_LABEL = "‖ΔW‖_F / √rows (unit of the weights)"
# Quantiles over the weights of a model between which a curve has its band.
BAND = (0.1, 0.9)


def head_maps(heads: pl.DataFrame, model: str, begin: str) -> list[Grid]:
    """Layer × head, one map for each kind of weight, all on one scale; heads of experts are averaged.

    Query heads and key-value heads of a fused projection are numbered apart, and are a map each.
    """
    rows = heads.filter((pl.col("model_id") == model) & pl.col("layer").is_not_null())
    if not rows.height:
        return []
    fused = rows.group_by("module_type").agg(pl.col("head_kind").n_unique()).filter(pl.col("head_kind") > 1)
    several = rows["module_type"].is_in(fused["module_type"].implode())
    found: list[Grid] = []
    if not several.all():
        found += _numbered(rows.filter(~several), model, "head", "frobenius_norm_normalized", HEAD_LABEL)
    for kind, said in (("query", "query"), ("key_value", "key-value")):
        part = rows.filter(several & (pl.col("head_kind") == kind))
        maps = _numbered(part, model, "head", "frobenius_norm_normalized", HEAD_LABEL) if part.height else []
        found += [replace(grid, title=f"{grid.title} · {said} heads") for grid in maps]
    return shared(found, begin)


def expert_maps(frame: pl.DataFrame, model: str, metric: str, label: str, begin: str) -> list[Grid]:
    """Layer × expert, one map for each kind of weight, all on one scale."""
    rows = frame.filter(
        (pl.col("model_id") == model) & pl.col("expert").is_not_null() & pl.col("layer").is_not_null()
    )
    if not rows.height:
        return []
    return shared(_numbered(rows, model, "expert", metric, label), begin)


def _numbered(rows: pl.DataFrame, model: str, number: str, metric: str, label: str) -> list[Grid]:
    """One map for each stack and kind of weight: rows are layers, columns the numbers that occur."""
    rows = with_component(rows)
    order = {column: k for k, column in enumerate(column_order(rows))}
    found = []
    kinds = rows.partition_by("stack", "module_type", maintain_order=True)
    for part in sorted(kinds, key=lambda part: (part.item(0, "stack"), order[part.item(0, "column")])):
        stack, kind = part.item(0, "stack"), part.item(0, "column")
        layers = part["layer"].unique().sort().to_list()
        count = int(part[number].max()) + 1  # type: ignore[arg-type]
        means = part.group_by("layer", number).agg(pl.col(metric).cast(pl.Float64).mean())
        values = np.full((len(layers), count), np.nan)
        broken = np.zeros(values.shape, dtype=bool)
        row = {layer: i for i, layer in enumerate(layers)}
        for layer, k, value in means.iter_rows():
            if value is not None:
                values[row[layer], k] = value if np.isfinite(value) else np.nan
                broken[row[layer], k] = not np.isfinite(value)
        title = f"{model} · {kind}" + (f" · {stack}" if rows["stack"].n_unique() > 1 else "")
        found.append(
            Grid(
                title, tuple(f"L{layer}" for layer in layers), tuple(map(str, range(count))), values, broken,
                label, limits_of([values]), across=number, numbered=True, model=model,
            )
        )  # fmt: skip
    return found


def moved_experts(frame: pl.DataFrame, model: str) -> list[Grid]:
    """Layer × kind of weight: the share of experts whose update is not zero."""
    rows = frame.filter((pl.col("model_id") == model) & pl.col("expert").is_not_null())
    size = pl.coalesce("frobenius_norm", "unscaled_frobenius_norm")
    known = rows.with_columns((size > 0).cast(pl.Float64).alias("moved")).filter(
        pl.col("moved").is_not_null()
    )
    if not known.height:
        return []
    keys = ["stack", "layer", "module_type"]
    shares = known.group_by(keys, maintain_order=True).agg(pl.col("moved").mean())
    maps = grids(shares, "moved", model, "share of experts that moved")
    return [replace(grid, limits=(0.0, 1.0), model=model) for grid in maps]


def low_rank_curves(low_rank: pl.DataFrame, models: Sequence[str]) -> list[Curve]:
    """The share of ‖ΔW‖² in the k leading directions: median over a model's weights, and where most lie."""
    found = []
    for model in models:
        rows = low_rank.filter((pl.col("model_id") == model) & pl.col("energy_share").is_not_null())
        if rows.height:
            shares = _shares(rows)
            low, middle, high = np.nanquantile(shares, (BAND[0], 0.5, BAND[1]), axis=1)
            found.append(Curve(model, np.arange(1, len(shares) + 1), middle, low, high))
    return found


def _shares(rows: pl.DataFrame) -> NDArray[np.float64]:
    """Shares (k, weights); a weight whose directions are all counted keeps its last share."""
    weights = rows.select("stack", "layer", "module_type", "expert").unique(maintain_order=True)
    column = {key: j for j, key in enumerate(weights.iter_rows())}
    out = np.full((int(rows["k"].max()), len(column)), np.nan)  # type: ignore[arg-type]
    for *key, k, share in rows.select(*weights.columns, "k", "energy_share").iter_rows():
        out[k - 1, column[tuple(key)]] = share
    for k in range(1, len(out)):
        out[k] = np.where(np.isnan(out[k]), out[k - 1], out[k])
    return out
