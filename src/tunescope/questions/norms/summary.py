"""The readout of a norms study: the numbers that sum up each model, and the document with its findings."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from tunescope.measure.depth import layer_means, main_stack, thirds
from tunescope.questions.norms.findings import model_towers
from tunescope.questions.norms.sight import looked_at
from tunescope.study.finding import Finding, ordered
from tunescope.table import SCHEMA_VERSION

# The most models of which the ratios of all pairs are told.
ALL_RATIOS = 32


def readout(
    frame: pl.DataFrame,
    labels: Sequence[str],
    metric: str,
    findings: Sequence[Finding],
    focus: int | None = None,
) -> dict[str, Any]:
    """The readout document: per-model sums, ratios of the overall means, findings.

    Every mean is over the finite values of `metric`; a model without any has nulls.
    """
    parts = {rows["model_id"][0]: rows for rows in frame.partition_by("model_id", maintain_order=True)}
    models = {label: _model(parts.get(label, frame.clear()), metric) for label in labels}
    document = {
        "schema_version": SCHEMA_VERSION,
        "metric": metric,
        "models": models,
        "ratios": _ratios(models),
        "looked_at": looked_at(model_towers(frame, metric)),
        "findings": [finding.record() for finding in ordered(findings)],
    }
    if focus is not None:
        _add_focus(frame, models, metric, focus)
    return document


def _model(rows: pl.DataFrame, metric: str) -> dict[str, Any]:
    usable = rows.filter(pl.col(metric).is_finite())
    stack = main_stack(rows)
    layers = layer_means(usable.filter(pl.col("stack") == stack), metric)
    by_family = dict(usable.group_by("family", maintain_order=True).agg(pl.col(metric).mean()).iter_rows())
    top = usable.sort(metric, descending=True).head(1)
    return {
        "n_components": rows.height,
        "n_excluded": rows.height - usable.height,
        "n_without_scale": rows["scale"].null_count() if rows.height else 0,
        "layer_stack": stack,
        "overall_mean": usable[metric].mean(),
        "family_means": {family: by_family.get(family) for family in ("mlp", "attention")},
        "top_layers": layers.sort(["mean", "layer"], descending=[True, False])["layer"].head(6).to_list(),
        "max_cell": {
            "component_name": top["component_name"][0] if top.height else None,
            "value": top[metric][0] if top.height else None,
        },
        "thirds": thirds(layers),
    }


def _ratios(models: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    """Every model over every other; of more than `ALL_RATIOS` every one over the first."""
    means = {label: model["overall_mean"] for label, model in models.items()}
    below = list(means)[: None if len(means) <= ALL_RATIOS else 1]
    return {
        f"{a}/{b}": means[a] / means[b] if means[a] is not None and means[b] else None
        for a in means
        for b in below
        if a != b
    }


def _add_focus(frame: pl.DataFrame, models: dict[str, dict[str, Any]], metric: str, layer: int) -> None:
    """Rank, percentile and growth of one layer, in the metric and in its summed raw MLP norms."""
    first: float | None = None
    for label, model in models.items():
        rows = frame.filter(pl.col("model_id") == label)
        rows = rows.filter(pl.col("stack") == main_stack(rows))
        means = layer_means(rows.filter(pl.col(metric).is_finite()), metric)
        record = _standing(means.rename({"mean": "value"}), layer)
        mlp, raw = _summed_mlp(rows)
        model["focus_layer"] = {
            "layer": layer, **record, "mlp": {**_standing(mlp, layer), "measure": raw}
        }  # fmt: skip
        value = record["value"]
        first = value if first is None else first
        model["focus_layer"]["growth"] = value / first if value is not None and first else None


def _summed_mlp(rows: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """The sum of ‖BA‖ over each layer's MLP weights, of ‖ΔW‖ where no ‖BA‖ is known (published tables)."""
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
