"""What an attribution says in numbers: a row per cell, the sums, how far they can be trusted."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tunescope.linalg.ranks import spearman
from tunescope.questions.attribution.convergence import Array, per_token
from tunescope.table import Column, Schema, dtypes

if TYPE_CHECKING:
    from tunescope.questions.attribution.cells import Changes
    from tunescope.questions.attribution.integral import Integral
    from tunescope.questions.attribution.verify import Check

SIGN = "change of the loss in nats per token; negative: this cell's ΔW lowered the loss"
_LOSS = "nats/token"
_ADDRESS: Schema = {
    "stack": Column(pl.String, "stack of blocks or tower that the layer is counted in"),
    "layer": Column(pl.Int64, "index of the block in its stack, from 0; null outside blocks"),
    "module_type": Column(pl.String, "name of the module inside its block"),
    "expert": Column(pl.Int64, "number of the expert, from 0; null where there are none"),
    "component_name": Column(pl.String, "short name of layer and module"),
}
SCHEMA: Schema = {
    **_ADDRESS,
    "attribution": Column(pl.Float64, SIGN, _LOSS),
    "stderr": Column(pl.Float64, "standard error over sequences", _LOSS),
    "share": Column(pl.Float64, "attribution / sum of all; positive: in the direction of the whole"),
    "frobenius_norm_normalized": Column(pl.Float64, "‖ΔW‖_F/√d_out", "unit of the weights"),
}
PUT_BACK: Schema = {
    **_ADDRESS,
    "chosen": Column(pl.String, "largest or random"),
    "attribution": Column(pl.Float64, SIGN, _LOSS),
    "attribution_stderr": Column(pl.Float64, "standard error over sequences", _LOSS),
    "measured": Column(pl.Float64, "change of the loss that the weight makes at the tuned end", _LOSS),
    "measured_stderr": Column(pl.Float64, "standard error over sequences, paired", _LOSS),
}
DIFFERENCE: Schema = {
    "model_id": Column(pl.String, "label of the tuned model"),
    "data_a": Column(pl.String, "name of the first data set"),
    "data_b": Column(pl.String, "name of the second"),
    **_ADDRESS,
    "attribution_a": Column(pl.Float64, SIGN + ", on the first data set", _LOSS),
    "attribution_b": Column(pl.Float64, SIGN + ", on the second", _LOSS),
    "difference": Column(pl.Float64, "the second minus the first", _LOSS),
    "stderr": Column(pl.Float64, "its standard error, where the data sets are independent", _LOSS),
}


def cell_frame(changes: "Changes", mean: Array, error: Array) -> pl.DataFrame:
    addresses = [cell.address for cell in changes.cells]
    total = float(mean.sum())
    columns = {
        "stack": [a.stack for a in addresses],
        "layer": [a.layer for a in addresses],
        "module_type": [a.module_type for a in addresses],
        "expert": [a.expert for a in addresses],
        "component_name": changes.names(),
        "attribution": mean,
        "stderr": [None if math.isnan(e) else e for e in error.tolist()],
        "share": mean / total if total else [None] * len(mean),
        "frobenius_norm_normalized": [cell.moved for cell in changes.cells],
    }
    return pl.DataFrame(columns, schema=dtypes(SCHEMA))


def ordered(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows by stack, layer, module and expert; modules outside blocks last."""
    return frame.sort("stack", "layer", "module_type", "expert", nulls_last=True, maintain_order=True)


def sums(integral: "Integral", frame: pl.DataFrame, changes: "Changes") -> dict[str, Any]:
    tokens = float(integral.tokens.sum())
    gain, error = integral.gain
    sizes = [cell.numel for cell in changes.cells]
    return {
        "base_loss": float(integral.base.sum()) / tokens,
        "tuned_loss": float(integral.tuned.sum()) / tokens,
        "gain": gain,
        "gain_stderr": number(error),
        "sum": float(frame["attribution"].sum()),
        "residual": integral.residual,
        "tolerance": integral.tolerance,
        "converged": integral.converged,
        "nodes": integral.nodes,
        "stopped": integral.stopped,
        "residual_at_nodes": {str(step.nodes): step.residual for step in integral.history},
        "cell_change_at_nodes": {str(step.nodes): step.change for step in integral.history},
        "unit": "nats per token",
        "sign": f"gain = base_loss − tuned_loss (positive: improved); attribution: {SIGN}",
        "sequences": len(integral.tokens),
        "tokens": int(tokens),
        "data_sha256": integral.data_hash,
        "cells": len(changes.cells),
        "unchanged_tensors": changes.unchanged,
        "not_attributed": dict(changes.left),
        "spearman_change_effect": change_effect(frame),
        "spearman_numel": correlation(pl.Series(sizes), frame["attribution"].abs()),
        "split_half_spearman": split_half(integral),
    }


def split_half(integral: "Integral") -> float | None:
    """Spearman between the maps of the even and of the odd sequences: its reliability."""
    if len(integral.tokens) < 4:
        return None
    halves = [per_token(integral.parts[i::2], integral.tokens[i::2])[0] for i in (0, 1)]
    return correlation(*(pl.Series(half) for half in halves)) if np.isfinite(halves).all() else None


def change_effect(frame: pl.DataFrame) -> float | None:
    """Spearman between ‖ΔW‖_F/√d_out and |attribution| over the cells; `None` for fewer than three."""
    return correlation(frame["frobenius_norm_normalized"], frame["attribution"].abs())


def correlation(a: pl.Series, b: pl.Series) -> float | None:
    """Spearman's correlation, `None` for fewer than three pairs or where a side is constant."""
    return number(spearman(a.to_numpy(), b.to_numpy())) if len(a) > 2 else None


def checked_frame(frame: pl.DataFrame, checks: Sequence["Check"]) -> pl.DataFrame:
    rows = frame.rename({"stderr": "attribution_stderr"})[[check.cell for check in checks]]
    measured = pl.DataFrame(
        {
            "chosen": [check.chosen for check in checks],
            "measured": [check.measured for check in checks],
            "measured_stderr": [number(check.stderr) for check in checks],
        },
        schema_overrides={"measured_stderr": pl.Float64},
    )
    return pl.concat([rows, measured], how="horizontal").select(
        pl.col(n).cast(t) for n, t in dtypes(PUT_BACK).items()
    )


def agreement(rows: pl.DataFrame) -> dict[str, Any]:
    """How well attribution and measurement agree: Spearman over all cells, the largest, the random."""
    found: dict[str, Any] = {"cells": rows.height}
    for name, part in (
        ("", rows),
        *((f"_{w}", rows.filter(pl.col("chosen") == w)) for w in ("largest", "random")),
    ):
        found[f"spearman{name}"] = correlation(part["attribution"], part["measured"])
    same = (np.sign(rows["attribution"].to_numpy()) == np.sign(rows["measured"].to_numpy())).mean()
    return {**found, "same_sign": float(same) if rows.height else None}


def number(value: float) -> float | None:
    return None if math.isnan(value) else value
