"""What a metric is called in sentences and on axes, and which metric of a table can be shown."""

import polars as pl

from tunescope.questions.norms.measure import SCHEMA

LABELS = {
    "frobenius_norm": "‖ΔW‖_F",
    "frobenius_norm_normalized": "‖ΔW‖_F / √d_out",
    "unscaled_frobenius_norm": "‖BA‖_F (scale not applied)",
    "unscaled_frobenius_norm_normalized": "‖BA‖_F / √d_out (scale not applied)",
    "spectral_norm": "σ₁(ΔW)",
    "stable_rank": "stable rank ‖ΔW‖_F² / σ₁²",
    "effective_rank": "effective rank exp H(σ/Σσ)",
    "participation_ratio": "participation ratio (Σσ²)² / Σσ⁴",
    "energy_rank_90": "directions holding 90 % of ‖ΔW‖_F²",
    "energy_rank_99": "directions holding 99 % of ‖ΔW‖_F²",
    "relative_norm": "‖ΔW‖_F / ‖W‖_F",
    "relative_l1": "Σ|ΔW| / Σ|W|",
    "lora_A_norm": "‖A‖_F",
    "lora_B_norm": "‖B‖_F",
    "scale": "scale s",
}


def name_of(metric: str) -> str:
    """The name of a metric in sentences.

    >>> name_of("spectral_norm"), name_of("changed_fraction")
    ('σ₁(ΔW)', 'share of values that differ')
    """
    column = SCHEMA.get(metric)
    return LABELS.get(metric) or (metric if column is None else column.meaning.partition(";")[0])


def label_of(metric: str) -> str:
    """The name of a metric on an axis or a colour bar, with its unit.

    >>> label_of("spectral_norm"), label_of("stable_rank")
    ('σ₁(ΔW) (unit of the weights)', 'stable rank ‖ΔW‖_F² / σ₁² (directions)')
    """
    name, column = name_of(metric), SCHEMA.get(metric)
    unit = "" if column is None else column.unit
    return name if not unit or unit.startswith("[") or unit in name else f"{name} ({unit})"


def has_values(frame: pl.DataFrame, metric: str) -> bool:
    """Whether any row has a number for this metric."""
    return metric in frame.columns and frame[metric].is_not_null().any()


def measured(frame: pl.DataFrame, metric: str) -> dict[str, set[tuple[object, ...]]]:
    """The addresses at which every model has a number of the metric."""
    there: dict[str, set[tuple[object, ...]]] = {}
    rows = frame.filter(pl.col(metric).is_not_null())
    for model, *key in rows.select("model_id", "stack", "layer", "module_type", "expert").iter_rows():
        there.setdefault(model, set()).add(tuple(key))
    return there


def as_published(frame: pl.DataFrame, metric: str) -> str:
    """The metric, or its unscaled twin where all its values are published without the adapter's scale."""
    if f"unscaled_{metric}" not in frame.columns:
        return metric
    values = frame.filter(pl.col(metric).is_not_null())
    return f"unscaled_{metric}" if values.height and published_unscaled(values).all() else metric


def published_unscaled(frame: pl.DataFrame) -> pl.Series:
    """Which rows are of a published table whose norms are known to lack the adapter's scale."""
    return _published(frame, pl.col("unscaled_frobenius_norm").is_not_null())


def unsaid(frame: pl.DataFrame) -> list[str]:
    """The models of published tables that do not say whether their norms have the adapter's scale in."""
    rows = frame.filter(_published(frame, pl.col("unscaled_frobenius_norm").is_null()))
    return [str(model) for model in rows["model_id"].unique(maintain_order=True)]


def _published(frame: pl.DataFrame, which: pl.Expr) -> pl.Series:
    if not {"status", "scale", "unscaled_frobenius_norm"} <= set(frame.columns):
        return pl.Series([False] * frame.height, dtype=pl.Boolean)
    stated = (pl.col("status") == "published") & pl.col("scale").is_null()
    return frame.select((stated & which).fill_null(False).alias("published")).to_series()


def drawable(frame: pl.DataFrame, metric: str) -> str:
    """The metric, or its unscaled twin where the scale of a model or of some of its modules is unknown.

    One module of known scale must not stand for a model whose other modules are of unknown scale, and a
    published ‖BA‖ is none of ‖ΔW‖, whatever its column is called.
    """
    twin = f"unscaled_{metric}"
    if metric not in frame.columns or twin not in frame.columns or not has_values(frame, twin):
        return metric
    if published_unscaled(frame).any():
        return twin
    if not (frame[metric].is_null() & frame[twin].is_not_null()).any():
        return metric
    hidden = pl.col(metric).is_null() & pl.col(twin).is_not_null()
    part = frame.group_by("model_id").agg((hidden.any() & ~hidden.all()).alias("part"))["part"].any()
    return twin if part or not has_values(frame, metric) else metric
