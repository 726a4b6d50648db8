"""Means of a metric over the layers of a model, and over the thirds of its depth."""

import math

import polars as pl


def main_stack(rows: pl.DataFrame) -> str:
    """The stack with the most components in blocks, whose layers the readout speaks of."""
    counts = rows.filter(pl.col("layer").is_not_null()).group_by("stack", maintain_order=True).len()
    return (
        str(counts.sort("len", descending=True, maintain_order=True)["stack"][0])
        if counts.height
        else "model"
    )


def layer_means(rows: pl.DataFrame, metric: str) -> pl.DataFrame:
    """Mean of the metric over each layer's components: columns `layer`, `mean`, ordered by layer."""
    inside = rows.filter(pl.col("layer").is_not_null())
    return (
        inside.group_by("layer", maintain_order=True).agg(pl.col(metric).mean().alias("mean")).sort("layer")
    )


def thirds(layers: pl.DataFrame) -> dict[str, float | None]:
    """Mean of the layer means in each third of the n layers, cut at ⌈n/3⌉ and ⌈2n/3⌉."""
    n = layers.height
    cuts = [0, math.ceil(n / 3), math.ceil(2 * n / 3), n]
    names = ("early", "middle", "late")
    return {name: _mean(layers["mean"][cuts[i] : cuts[i + 1]]) if n else None for i, name in enumerate(names)}


def leading_third(
    layers: pl.DataFrame, least_ratio: float
) -> tuple[str, str, float, dict[str, float]] | None:
    """The third with the largest mean, the one with the smallest, their ratio and all three means.

    `None` below three layers, where a mean is zero, or where the ratio stays under `least_ratio`.
    """
    parts = {name: mean for name, mean in thirds(layers).items() if mean is not None}
    if layers.height < 3 or len(parts) < 3 or min(parts.values()) <= 0:
        return None
    most, least = max(parts, key=lambda name: parts[name]), min(parts, key=lambda name: parts[name])
    ratio = parts[most] / parts[least]
    return (most, least, ratio, parts) if ratio >= least_ratio else None


def _mean(values: pl.Series) -> float | None:
    return float(values.mean()) if len(values) else None  # type: ignore[arg-type]
