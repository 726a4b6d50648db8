"""Which of the changes made by fine-tuning bought the gain: integrated gradients from base to tuned."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from torch import nn

from tunescope.errors import UsageError
from tunescope.gradient.attribution_cells import Changes
from tunescope.gradient.attribution_integral import (
    MOST_NODES,
    Array,
    Integral,
    Progress,
    integrate,
    per_token,
)
from tunescope.gradient.attribution_path import Path, opened_path
from tunescope.gradient.attribution_subject import Place, Subject, open_subject
from tunescope.gradient.attribution_verify import Check, choose, verify
from tunescope.gradient.batches import checked
from tunescope.gradient.parameters import is_sharded
from tunescope.linalg.ranks import spearman
from tunescope.table import Table

Batches = Iterable[Mapping[str, Any]]
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


@dataclass(frozen=True, eq=False)
class Attribution:
    """The attribution on one data set: a row per cell, the sums, and the cells that were put back."""

    frame: pl.DataFrame
    summary: Mapping[str, Any]
    verification: pl.DataFrame | None = None

    def table(self) -> Table:
        """The rows with units, sums and verification in their meta."""
        units = {name: unit for name, (_, unit) in SCHEMA.items() if unit}
        rows = [] if self.verification is None else self.verification.to_dicts()
        return Table(
            self.frame, "attribution", {"units": units, "summary": dict(self.summary), "verification": rows}
        )


def attribute(
    model: Place | nn.Module,
    batches: Batches,
    *,
    base: Place | nn.Module | None = None,
    nodes: int = 8,
    verify: int = 0,
    seed: int = 0,
    dtype: str = "auto",
    device: str = "cpu",
    scale: float | None = None,
    progress: Progress | None = None,
) -> Table:
    """How much of L(tuned) − L(base) each changed weight accounts for, in nats per token.

    Integrated gradients along W₀ + αΔW [Sundararajan et al. 2017, arXiv 1703.01365]: cell c is given
    ∫₀¹⟨∇L, ΔW_c⟩dα, and the cells add up to the change of the loss. Negative means that the cell's ΔW
    lowered the loss. `nodes` Gauss-Legendre nodes are doubled until the sum fits.

    `model` is an adapter, a checkpoint, a module or a live `PeftModel` (then without `base`); `batches` an
    iterable of mappings `input_ids`, `attention_mask`, `labels` (−100 ignored). `verify` puts the so many
    largest cells, and as many random ones, back to the base one at a time and measures what happens:
    `meta["verification"]`. The sums are in `meta["summary"]`.

    Raises `BadInput` where the two models do not belong together or no token has a label.
    """
    subject = open_subject(model, base, dtype=dtype, device=device, scale=scale)
    with path_of(subject, seed) as path:
        found = attribute_data(
            path, subject.changes, batches, nodes=nodes, verified=verify, seed=seed, progress=progress
        )
    return found.table()


@contextmanager
def path_of(subject: Subject, seed: int = 0) -> Iterator[Path]:
    """The path from base to tuned, open for any number of data sets."""
    if is_sharded(subject.model):
        raise UsageError(
            "sharded-model",
            "the model is split over processes",
            expected="a whole model",
            fix="attribute on one process; `device_map` may spread it over devices",
        )
    with subject.switched_off(), opened_path(subject.model, subject.changes, seed) as path:
        yield path


def attribute_data(
    path: Path,
    changes: Changes,
    batches: Batches,
    *,
    nodes: int = 8,
    most: int = MOST_NODES,
    verified: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Attribution:
    """The attribution on one data set along an open path."""
    taken = list(checked(batches))
    if not taken:
        raise UsageError("no-batches", "there are no batches", expected="one batch or more")
    integral = integrate(path, taken, nodes=nodes, most=most, progress=progress)
    mean, error = per_token(integral.parts, integral.tokens)
    frame = _frame(changes, mean, error)
    summary = _summary(integral, frame, changes)
    if not verified:
        return Attribution(_ordered(frame), summary)
    checks = verify(path, taken, integral, choose(mean, verified, seed), progress)
    rows = _checked(frame, checks)
    return Attribution(_ordered(frame), {**summary, "verification": agreement(rows), "seed": seed}, rows)


def _frame(changes: Changes, mean: Array, error: Array) -> pl.DataFrame:
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


def _ordered(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows by stack, layer, module and expert; modules outside blocks last."""
    return frame.sort("stack", "layer", "module_type", "expert", nulls_last=True, maintain_order=True)


def _summary(integral: Integral, frame: pl.DataFrame, changes: Changes) -> dict[str, Any]:
    tokens = float(integral.tokens.sum())
    gain, error = integral.gain
    return {
        "base_loss": float(integral.base.sum()) / tokens,
        "tuned_loss": float(integral.tuned.sum()) / tokens,
        "gain": gain,
        "gain_stderr": _number(error),
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
    }


def change_effect(frame: pl.DataFrame) -> float | None:
    """Spearman between ‖ΔW‖_F/√d_out and |attribution| over the cells; `None` for fewer than three."""
    return correlation(frame["frobenius_norm_normalized"], frame["attribution"].abs())


def correlation(a: pl.Series, b: pl.Series) -> float | None:
    """Spearman's correlation, `None` for fewer than three pairs or where a side is constant."""
    return _number(spearman(a.to_numpy(), b.to_numpy())) if len(a) > 2 else None


def _checked(frame: pl.DataFrame, checks: Sequence[Check]) -> pl.DataFrame:
    rows = frame.rename({"stderr": "attribution_stderr"})[[check.cell for check in checks]]
    measured = pl.DataFrame(
        {
            "chosen": [check.chosen for check in checks],
            "measured": [check.measured for check in checks],
            "measured_stderr": [_number(check.stderr) for check in checks],
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


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
