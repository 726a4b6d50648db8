"""The readout of a norms study: the numbers that sum up each model, and the document with its findings."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from tunescope.measure.depth import layer_means, main_stack, third_layers, thirds
from tunescope.questions.norms.compared import moved_kinds, ratio_of_common, ratios_of_means, summed
from tunescope.questions.norms.findings import model_towers
from tunescope.questions.norms.sight import looked_at, outside_layers, uncompared
from tunescope.study.finding import Finding, ordered
from tunescope.table import SCHEMA_VERSION


def readout(
    frame: pl.DataFrame,
    labels: Sequence[str],
    metric: str,
    findings: Sequence[Finding],
    focus: int | None = None,
) -> dict[str, Any]:
    """The readout document: per-model sums, ratios of the means of what two models share, findings.

    Every mean is over the finite values of `metric` in the kinds of weight that changed anywhere in the
    model, in all kinds where none did, and in matrices: norms and biases count where there is nothing else.
    A model without any has nulls.
    """
    parts = {rows["model_id"][0]: rows for rows in frame.partition_by("model_id", maintain_order=True)}
    models = {label: _model(parts.get(label, frame.clear()), metric) for label in labels}
    looked = looked_at(model_towers(frame, metric))
    without = [label for label in labels if label not in looked["each"]]
    looked["outside"] = {label: n for label, rows in parts.items() if (n := outside_layers(rows, metric))}
    looked["uncompared"] = {label: uncompared(parts.get(label, frame.clear()), metric) for label in without}
    document = {
        "schema_version": SCHEMA_VERSION,
        "metric": metric,
        "models": models,
        "ratios": ratios_of_means(frame, models, metric),
        "looked_at": looked,
        "findings": [finding.record() for finding in ordered(findings)],
    }
    if focus is not None:
        _add_focus(frame, models, metric, focus)
    return document


def _model(rows: pl.DataFrame, metric: str) -> dict[str, Any]:
    finite = rows.filter(pl.col(metric).is_finite())
    moved = moved_kinds(finite)
    usable = summed(finite)
    stack = main_stack(rows)
    layers = layer_means(usable.filter(pl.col("stack") == stack), metric)
    leading = layers.sort(["mean", "layer"], descending=[True, False]).head(6)
    means = tower_means(usable, metric)
    # Families are compared within one tower. A family of which nothing moved keeps its own mean.
    own = pl.col("stack") == stack if means else pl.lit(True)
    by_family = {**_family_means(finite.filter(own), metric), **_family_means(usable.filter(own), metric)}
    by_size = usable.sort(metric, descending=True)
    top, inside = by_size.head(1), by_size.filter(pl.col("layer").is_not_null())
    return {
        "n_components": rows.height,
        "n_excluded": rows.height - finite.height,
        "n_unmoved_kinds": finite.height - moved.height,
        "n_vectors": moved.height - usable.height,
        "n_without_scale": rows["scale"].null_count() if rows.height else 0,
        "layer_stack": stack,
        "overall_mean": usable[metric].mean(),
        "family_means": {family: by_family.get(family) for family in ("mlp", "attention")},
        "top_layers": leading["layer"].to_list(),
        "top_layer_means": leading["mean"].to_list(),
        "max_cell": _cell(top, metric),
        # Weights outside the layers have shapes of their own, of which the metric may make most.
        **(
            {"max_cell_in_layers": _cell(inside, metric)} if inside.height and top["layer"][0] is None else {}
        ),
        "n_layers": layers.height,
        "thirds": thirds(layers),
        "third_layers": third_layers(layers),
        **({"tower_means": means} if means else {}),
    }


def _cell(rows: pl.DataFrame, metric: str) -> dict[str, Any]:
    """The name and value of the first row; `None` where there is none."""
    return {
        "component_name": rows["component_name"][0] if rows.height else None,
        "value": rows[metric][0] if rows.height else None,
    }


def tower_means(rows: pl.DataFrame, metric: str) -> dict[str, float]:
    """The mean of every tower that has layers, where there are several; empty for a model with one."""
    inside = rows.filter(pl.col("layer").is_not_null())
    means = inside.group_by("stack", maintain_order=True).agg(pl.col(metric).mean())
    return dict(means.iter_rows()) if means.height > 1 else {}


def _family_means(rows: pl.DataFrame, metric: str) -> dict[str, float]:
    return dict(rows.group_by("family", maintain_order=True).agg(pl.col(metric).mean()).iter_rows())


def _add_focus(frame: pl.DataFrame, models: dict[str, dict[str, Any]], metric: str, layer: int) -> None:
    """Rank, percentile and growth of one layer, in the metric and in its summed raw MLP norms."""
    first: pl.DataFrame | None = None
    for label, model in models.items():
        rows = frame.filter(pl.col("model_id") == label)
        rows = rows.filter(pl.col("stack") == main_stack(rows))
        counted = summed(rows.filter(pl.col(metric).is_finite()))
        means = layer_means(counted, metric)
        record = _standing(means.rename({"mean": "value"}), layer)
        mlp, raw = _summed_mlp(rows)
        model["focus_layer"] = {
            "layer": layer, **record, "mlp": {**_standing(mlp, layer), "measure": raw}
        }  # fmt: skip
        here = counted.filter(pl.col("layer") == layer)
        first = here if first is None and record["value"] is not None else first
        model["focus_layer"]["growth"] = None if first is None else ratio_of_common(here, first, metric)


def _summed_mlp(rows: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """The sum of ‖BA‖ over each layer's MLP weights, of ‖ΔW‖ where no ‖BA‖ is known."""
    known = rows["unscaled_frobenius_norm"].null_count() < rows.height
    raw = "unscaled_frobenius_norm" if known else "frobenius_norm"
    usable = rows.filter(
        (pl.col("family") == "mlp") & pl.col("layer").is_not_null() & pl.col(raw).is_finite()
    )
    return usable.group_by("layer", maintain_order=True).agg(pl.col(raw).sum().alias("value")), raw


def _standing(values: pl.DataFrame, layer: int) -> dict[str, Any]:
    """Where a layer stands: `rank` 1 is the largest; `percentile` is the share of layers at or below it."""
    mine = values.filter(pl.col("layer") == layer)["value"].to_list()
    if not mine:
        return {"value": None, "rank": None, "of": values.height, "percentile": None}
    return {
        "value": mine[0],
        "rank": int((values["value"] > mine[0]).sum()) + 1,
        "of": values.height,
        "percentile": 100.0 * int((values["value"] <= mine[0]).sum()) / values.height,
    }
