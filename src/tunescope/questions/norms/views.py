"""The pictures of a norms table as data: heatmaps, layer profiles, top components, differences."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from tunescope.picture.lettering import names
from tunescope.picture.views import Grid, Line, Profile, Ranking, grids
from tunescope.questions.norms.metrics import drawable, label_of


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
        moved = part.filter(pl.col(column).is_finite() & (pl.col(column) != 0))
        top = moved.sort(column, descending=True).head(most)
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
    title = " − ".join(names([model_b, model_a], 24))
    found = grids(joined, "difference", title, f"difference of {label_of(metric)}")
    top = max(float(np.nanmax(np.abs(g.values), initial=0.0)) for g in found) or 1.0
    return [replace(grid, limits=(-top, top)) for grid in found]
