"""The rows of whole weights: what became of each value, and how low the rank of the change is."""

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tunescope.delta import Delta, Pair
from tunescope.linalg import gram, spectrum
from tunescope.table import KEYS, Column, Schema
from tunescope.words import counted

if TYPE_CHECKING:
    from tunescope.measure.dense import Change

_NORM = "unit of the weights"
# The columns that need both tensors, or a base beside an adapter.
DENSE: Schema = {
    "relative_norm": Column(pl.Float64, "‖ΔW‖_F/‖W‖_F; null for a W of zeros"),
    "cosine_to_base": Column(pl.Float64, "⟨W, W'⟩/(‖W‖‖W'‖)", "[-1, 1]"),
    "mean": Column(pl.Float64, "mean of ΔW", _NORM),
    "variance": Column(pl.Float64, "population variance of ΔW", "square of the unit of the weights"),
    "abs_mean": Column(pl.Float64, "mean of |ΔW|", _NORM),
    "abs_variance": Column(pl.Float64, "population variance of |ΔW|", "square of the unit of the weights"),
    "max_abs": Column(pl.Float64, "largest |ΔW|", _NORM),
    "relative_l1": Column(pl.Float64, "Σ|ΔW|/Σ|W|; null for a W of zeros"),
    "changed_fraction": Column(pl.Float64, "share of values that differ", "[0, 1]"),
    "changed_fraction_1e-6": Column(pl.Float64, "share of values with |ΔW| > 1e-6", "[0, 1]"),
    "changed_fraction_1e-5": Column(pl.Float64, "share of values with |ΔW| > 1e-5", "[0, 1]"),
}
# What a merge into a file of each precision keeps; for adapters with a base.
MERGE: Schema = {
    f"merge_{name}_{grid}": Column(pl.Float64, f"{meaning}, W' stored in {grid}{note}")
    for grid, note in (("bf16", ""), ("fp16", ""), ("fp8", " (e4m3, one scale: max|W'|/448)"))
    for name, meaning in (
        ("projection", "⟨W' − W, ΔW⟩/‖ΔW‖²"),
        ("cosine", "cosine of W' − W and ΔW"),
        ("error", "‖W' − W − ΔW‖/‖ΔW‖"),
    )
}
LOW_RANK: Schema = {
    "model_id": Column(pl.String, "label of the model"),
    "stack": Column(pl.String, "stack of blocks or tower"),
    "layer": Column(pl.Int64, "index of the block in its stack"),
    "module_type": Column(pl.String, "name of the module inside its block"),
    "expert": Column(pl.Int64, "number of the expert"),
    "component_name": Column(pl.String, "short name of layer and module"),
    "k": Column(pl.Int64, "number of leading directions", "directions"),
    "singular_value": Column(pl.Float64, "σ_k of ΔW; null where it is not known well enough", _NORM),
    "residual": Column(pl.Float64, "‖ΔWᵀu − σv‖/σ₁ of this direction; 0 for an exact spectrum"),
    "energy_share": Column(pl.Float64, "Σ_{i≤k} σ²/‖ΔW‖²: how much of ΔW is of rank k", "[0, 1]"),
}
SPECTRA = ("none", "top", "full")
# Threads that read and sum up whole weights; NumPy lets go of Python's lock in each of its calls.
THREADS = min(4, os.cpu_count() or 1)
# Leading directions that `top` looks for, and the largest residual with which a value is stated.
_TOP, _RESIDUAL = 32, 1e-3
# The shorter side up to which an exact spectrum costs no more than a leading one.
_SMALL = 192
_BEYOND = "non-finite: norms beyond float64, of finite values"


def measured_pair(
    delta: Delta, pair: Pair, spectra: str, found: "Change"
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The columns of one whole weight beside its identity, and its rows of `low_rank`."""
    root = math.sqrt(max(delta.d_out, 1))
    sizes = {"frobenius_norm": found.norm, "frobenius_norm_normalized": found.norm / root}
    row = sizes | {f"unscaled_{name}": value for name, value in sizes.items()} | _columns(found)
    row["status"] = _status(delta.status, found)
    if row["status"] == _BEYOND:
        # No infinity from finite weights: what cannot be stated is not stated.
        row |= {name: None for name, value in row.items() if isinstance(value, float) and value - value != 0}
    curve: list[dict[str, Any]] = []
    if spectra != "none" and found.norm > 0 and math.isfinite(found.norm):
        values, residuals = _values(delta, pair, found.norm, spectra)
        shape, curve = _shape_of(values, residuals, found.norm, spectra == "full")
        row |= shape
    return row, curve


def _columns(found: "Change") -> dict[str, Any]:
    names = (
        "relative_norm", "cosine_to_base", "mean", "variance", "abs_mean", "abs_variance", "max_abs",
        "relative_l1", "changed_fraction",
    )  # fmt: skip
    above = dict(
        zip(("changed_fraction_1e-6", "changed_fraction_1e-5"), found.changed_fraction_above, strict=True)
    )
    return {name: getattr(found, name) for name in names} | above


def _status(status: str, found: "Change") -> str:
    if found.non_finite:
        return f"non-finite: {counted(found.non_finite, 'value')} of W or W'"
    if not math.isfinite(found.norm):
        return _BEYOND
    said = [] if status == "ok" else [status]
    if found.rounded_to is not None:
        said.append(f"dtypes differ: values compared after rounding to {found.rounded_to}")
    return "; ".join(said) or "ok"


def _values(delta: Delta, pair: Pair, norm: float, spectra: str) -> tuple[Any, Any]:
    least = min(delta.d_out, delta.d_in)
    if spectra == "full" or least <= 2 * _TOP or (least <= _SMALL and delta.d_out * delta.d_in <= 1 << 22):
        values = spectrum.dense_spectrum(gram.wide(delta.open().matrix))  # type: ignore[union-attr]
        return values, np.zeros(len(values))
    shape = (delta.d_in, delta.d_out) if pair.turned else (delta.d_out, delta.d_in)
    # Deferred: adapters have no whole weights.
    from tunescope.linalg.lanczos import leading_values
    from tunescope.measure.differences import DifferenceRows

    rows = DifferenceRows(pair, shape, norm)
    values, residuals = leading_values(rows, _TOP)
    return values * rows.unit, residuals


def _shape_of(
    values: Any, residuals: Any, norm: float, full: bool
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Spectral columns and the curve of rank, as far as the values are known."""
    known = np.where(residuals <= _RESIDUAL, values, np.nan)
    shares = np.minimum(np.cumsum(np.where(np.isnan(known), np.nan, known**2)) / norm**2, 1.0)
    row: dict[str, Any] = {}
    if known[0] == known[0]:
        row = {"spectral_norm": float(known[0]), "stable_rank": norm**2 / float(known[0]) ** 2}
        row |= {f"energy_rank_{p}": _reached(shares, p / 100) for p in (90, 99)}
    whole = not residuals.any() and (full or len(values) <= 2 * _TOP)
    if whole and row:
        row["effective_rank"] = spectrum.effective_rank(values)
        row["participation_ratio"] = spectrum.participation_ratio(values)
    curve = [
        {
            "k": k,
            "singular_value": None if np.isnan(known[k - 1]) else float(known[k - 1]),
            "residual": float(residuals[k - 1]),
            "energy_share": None if np.isnan(shares[k - 1]) else float(shares[k - 1]),
        }
        for k in range(1, min(len(values), _TOP) + 1)
    ]
    return row, curve


def _reached(shares: Any, share: float) -> float | None:
    at = np.flatnonzero(shares >= share * (1 - 1e-9))
    return float(at[0] + 1) if len(at) else None


def identified(row: dict[str, Any], curve: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the curve with the keys of the weight that they belong to."""
    keys = {name: row[name] for name in LOW_RANK if name in (*KEYS, "component_name") and name in row}
    return [keys | point for point in curve]
