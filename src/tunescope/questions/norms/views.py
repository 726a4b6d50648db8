"""The pictures of a norms table as data: heatmaps, layer profiles, top components, differences."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from tunescope.picture.views import Grid, Line, Profile, Ranking, grids
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


def drawable(frame: pl.DataFrame, metric: str) -> str:
    """The metric, or its unscaled twin where the scale of a model or of some of its modules is unknown.

    One module of known scale must not stand for a model whose other modules are of unknown scale.
    """
    twin = f"unscaled_{metric}"
    if metric not in frame.columns or twin not in frame.columns or not has_values(frame, twin):
        return metric
    hidden = pl.col(metric).is_null() & pl.col(twin).is_not_null()
    part = frame.group_by("model_id").agg((hidden.any() & ~hidden.all()).alias("part"))["part"].any()
    return twin if part or not has_values(frame, metric) else metric


def heatmaps(frame: pl.DataFrame, model_id: str, metric: str) -> list[Grid]:
    """One grid per stack of one model."""
    part = frame.filter(pl.col("model_id") == model_id)
    metric = drawable(part, metric)
    return [replace(grid, model=model_id) for grid in grids(part, metric, model_id, label_of(metric))]


def profiles(frame: pl.DataFrame, metric: str) -> list[Profile]:
    """Mean over a layer's modules, one profile per stack and family, one line per model."""
    inside = frame.filter(pl.col("layer").is_not_null() & pl.col(metric).is_finite())
    models = tuple(frame["model_id"].unique(maintain_order=True).to_list())
    out = []
    for stack in inside["stack"].unique(maintain_order=True).to_list():
        in_stack = inside.filter(pl.col("stack") == stack)
        lead = f"{stack}: " if inside["stack"].n_unique() > 1 else ""
        for family in ("mlp", "attention", "norm", "embedding", "other"):
            part = in_stack.filter(pl.col("family") == family)
            if part.height:
                lines = tuple(_lines(part, metric))
                out.append(Profile(f"{lead}{family}", lines, label_of(metric), models))
    return out


def _lines(part: pl.DataFrame, metric: str) -> list[Line]:
    means = part.group_by("model_id", "layer", maintain_order=True).agg(pl.col(metric).mean()).sort("layer")
    models = part["model_id"].unique(maintain_order=True).to_list()
    chosen = [(m, means.filter(pl.col("model_id") == m)) for m in models]
    return [Line(m, rows["layer"].to_numpy(), rows[metric].to_numpy()) for m, rows in chosen]


def profile_maps(found: Sequence[Profile]) -> list[Grid]:
    """Profiles as maps: models × layers, one for each."""
    maps = []
    for profile in found:
        layers = sorted({int(layer) for line in profile.lines for layer in line.layers})
        at = {layer: j for j, layer in enumerate(layers)}
        values = np.full((len(profile.lines), len(layers)), np.nan)
        for i, line in enumerate(profile.lines):
            values[i, [at[int(layer)] for layer in line.layers]] = line.values
        rows, columns = tuple(line.label for line in profile.lines), tuple(map(str, layers))
        none = np.zeros(values.shape, dtype=bool)
        label = f"mean of {profile.label}"
        maps.append(
            Grid(profile.title, rows, columns, values, none, label, (0.0, 1.0), "model", "layer", True)
        )
    return maps


def rankings(frame: pl.DataFrame, metric: str, most: int = 15) -> list[Ranking]:
    """The components with the largest values, per model; unscaled ones where its scale is unknown."""
    out = []
    for model in frame["model_id"].unique(maintain_order=True).to_list():
        part = frame.filter(pl.col("model_id") == model)
        column = drawable(part, metric)
        top = part.filter(pl.col(column).is_finite()).sort(column, descending=True).head(most)
        if top.height:
            names, families = tuple(top["component_name"].to_list()), tuple(top["family"].to_list())
            out.append(Ranking(model, names, top[column].to_numpy(), families, label_of(column)))
    return out


def differences(frame: pl.DataFrame, model_a: str, model_b: str, metric: str) -> list[Grid]:
    """Grids of `metric` in `model_b` minus `model_a` over the components both have; centred limits."""
    key = ["stack", "layer", "module_type", "expert"]
    a, b = (
        frame.filter(pl.col("model_id") == m).select(*key, "component_name", pl.col(metric).alias("value"))
        for m in (model_a, model_b)
    )
    joined = b.join(a, on=key, how="inner", nulls_equal=True, suffix="_a").with_columns(
        (pl.col("value") - pl.col("value_a")).alias("difference")
    )
    if not joined["difference"].is_not_null().any():
        return []
    found = grids(joined, "difference", f"{model_b} − {model_a}", f"difference of {label_of(metric)}")
    top = max(float(np.nanmax(np.abs(g.values), initial=0.0)) for g in found) or 1.0
    return [replace(grid, limits=(-top, top)) for grid in found]
