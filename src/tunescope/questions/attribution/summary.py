"""What an attribution says in numbers: a row per cell, the sums, how far they can be trusted."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from tunescope.linalg.ranks import spearman
from tunescope.questions.attribution.cells import Changes
from tunescope.questions.attribution.integral import Array, Integral, per_token
from tunescope.questions.attribution.verify import Check

SIGN = "change of the loss in nats per token; negative: this cell's ΔW lowered the loss"
# Column -> (dtype, unit), in the order of the file.
SCHEMA: dict[str, tuple[Any, str]] = {
    "stack": (pl.String, ""),
    "layer": (pl.Int64, ""),
    "module_type": (pl.String, ""),
    "expert": (pl.Int64, ""),
    "component_name": (pl.String, ""),
    "attribution": (pl.Float64, SIGN),
    "stderr": (pl.Float64, "nats per token, over sequences"),
    "share": (pl.Float64, "attribution / sum of all; positive: works in the direction of the whole"),
    "frobenius_norm_normalized": (pl.Float64, "‖ΔW‖_F/√d_out"),
}
_CHECKED: dict[str, Any] = {
    "component_name": pl.String,
    "stack": pl.String,
    "layer": pl.Int64,
    "module_type": pl.String,
    "expert": pl.Int64,
    "chosen": pl.String,
    "attribution": pl.Float64,
    "attribution_stderr": pl.Float64,
    "measured": pl.Float64,
    "measured_stderr": pl.Float64,
}


def cell_frame(changes: Changes, mean: Array, error: Array) -> pl.DataFrame:
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
    return pl.DataFrame(columns, schema={name: dtype for name, (dtype, _) in SCHEMA.items()})


def ordered(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows by stack, layer, module and expert; modules outside blocks last."""
    return frame.sort("stack", "layer", "module_type", "expert", nulls_last=True, maintain_order=True)


def sums(integral: Integral, frame: pl.DataFrame, changes: Changes) -> dict[str, Any]:
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
        "residual_at_nodes": {str(n): residual for n, residual in integral.history},
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


def split_half(integral: Integral) -> float | None:
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


def checked_frame(frame: pl.DataFrame, checks: Sequence[Check]) -> pl.DataFrame:
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
        pl.col(n).cast(t) for n, t in _CHECKED.items()
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
