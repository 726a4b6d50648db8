"""The readout of a trajectory study: a summary of every run, and what LoRA and full fine-tuning share."""

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from tunescope.questions.trajectory.gallery import drawn
from tunescope.study.finding import Finding


def run_summary(by_step: pl.DataFrame, motion: pl.DataFrame, by_layer: pl.DataFrame) -> dict[str, Any]:
    """Captures, first and last step, the whole ‖ΔW‖ and its cosine to the last checkpoint at every step.

    `layers_off_zero` counts the layers whose mean of Δ at the last step exceeds its standard deviation
    across the layer's matrices, of all layers.
    """
    last = drawn(by_layer.filter(pl.col("layer").is_not_null() & (pl.col("step") == pl.col("step").max())))
    off = last.filter(pl.col("mean").abs() > pl.col("mean_std"))
    rows = by_step.sort("step")
    known = rows.filter(pl.col("loss").is_not_null())["loss"].to_list()
    return {
        "domain": rows["domain"][0],
        "learning_rate": rows["learning_rate"][0],
        "seed": rows["seed"][0],
        "captures": rows.height,
        "steps": rows["step"].to_list(),
        "epochs": rows["epoch"].to_list(),
        "trained_weights": motion["component_name"].n_unique(),
        "references": motion["reference"].unique().sort().to_list(),
        "delta_frobenius_norm": rows["delta_frobenius_norm"].to_list(),
        "cosine_to_last": rows["cosine_to_last"].to_list(),
        "layers_off_zero": [off.height, last.height],
        "loss_first": known[0] if known else None,
        "loss_last": known[-1] if known else None,
    }


def verdict(correlation: float, low: float, high: float) -> str:
    """What an interval of a rank correlation says.

    >>> verdict(0.5, -0.1, 0.8)
    'not decided by these runs'
    """
    if math.isnan(correlation):
        return "no correlation: a profile is flat"
    if low > 0:
        return "they rank the layers alike"
    if high < 0:
        return "they rank the layers in opposite order"
    return "not decided by these runs"


def proxy_finding(record: Mapping[str, Any]) -> Finding:
    """What the rank correlation of a low-rank and a full run's layer profiles says, and what it does not."""
    rho, (low, high) = record["spearman"], record["interval_95"]
    family = "all weights that both train" if record["family"] == "all" else f"{record['family']} weights"
    text = (
        f"{record['lora']} and {record['full']}, {family}: Spearman {rho:.2f} "
        f"({low:.2f} to {high:.2f}) over {record['n_layers']} layers; {verdict(rho, low, high)}."
    )
    return Finding("lora_as_proxy", text, (record["lora"], record["full"]), evidence=dict(record))
