"""How large is each ΔW, and how is its energy spread over directions?"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl

from tunescope.delta import Delta, Factored, Update
from tunescope.linalg import gram, spectrum

# Column -> (dtype, unit); the order is the order in every file.
SCHEMA: dict[str, tuple[Any, str]] = {
    "model_id": (pl.String, ""),
    "layer": (pl.Int64, ""),
    "module_type": (pl.String, ""),
    "component_name": (pl.String, ""),
    "lora_rank": (pl.Int64, ""),
    "lora_alpha": (pl.Float64, ""),
    "frobenius_norm": (pl.Float64, "‖ΔW‖_F, scale included"),
    "frobenius_norm_normalized": (pl.Float64, "‖ΔW‖_F/√d_out"),
    "lora_A_norm": (pl.Float64, "‖A‖_F"),
    "lora_B_norm": (pl.Float64, "‖B‖_F"),
    "stack": (pl.String, ""),
    "expert": (pl.Int64, ""),
    "family": (pl.String, ""),
    "method": (pl.String, ""),
    "scale": (pl.Float64, "s in ΔW = s·BA"),
    "d_out": (pl.Int64, ""),
    "d_in": (pl.Int64, ""),
    "unscaled_frobenius_norm": (pl.Float64, "‖BA‖_F"),
    "unscaled_frobenius_norm_normalized": (pl.Float64, "‖BA‖_F/√d_out"),
    "spectral_norm": (pl.Float64, "σ₁(ΔW), scale included"),
    "stable_rank": (pl.Float64, "‖ΔW‖_F²/σ₁²"),
    "effective_rank": (pl.Float64, "exp H(σ/Σσ)"),
    "participation_ratio": (pl.Float64, "(Σσ²)²/Σσ⁴"),
    "energy_rank_90": (pl.Float64, "least k with 90 % of Σσ²"),
    "energy_rank_99": (pl.Float64, "least k with 99 % of Σσ²"),
    "status": (pl.String, ""),
}
# Every number but those that say where a row belongs.
METRICS = tuple(
    name for name, (dtype, _) in SCHEMA.items() if dtype != pl.String and name not in ("layer", "expert")
)


def units() -> dict[str, str]:
    """Unit of every column that has one."""
    return {name: unit for name, (_, unit) in SCHEMA.items() if unit}


def frame(rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """Rows as a frame with the columns, order and types of `SCHEMA`; absent columns are null."""
    return pl.DataFrame(list(rows), schema={name: dtype for name, (dtype, _) in SCHEMA.items()})


def measure(delta: Delta, model_id: str, spectra: bool = True) -> dict[str, Any]:
    """One row of the norms table for one ΔW.

    Scaled columns are null where the scale is unknown. A factor with a NaN or infinity gives NaN norms
    and a status that counts the values.
    """
    update = delta.open()
    row = _identity(delta, model_id)
    norm, values = _sizes(update, spectra, row)
    root = math.sqrt(delta.d_out)
    row |= {"unscaled_frobenius_norm": norm, "unscaled_frobenius_norm_normalized": norm / root}
    if delta.scale is not None:
        scaled = norm * abs(delta.scale)
        row |= {"frobenius_norm": scaled, "frobenius_norm_normalized": scaled / root}
    if values is not None:
        # A scale of zero leaves no ΔW whose spectrum could have a shape.
        row |= _shape_of(values if delta.scale != 0 else np.zeros_like(values))
        row["spectral_norm"] = None if delta.scale is None else float(values[0]) * abs(delta.scale)
    if not math.isfinite(norm):
        row["status"] = _non_finite(update)
    return row


def _identity(delta: Delta, model_id: str) -> dict[str, Any]:
    address = delta.address
    return {
        "model_id": model_id,
        "layer": address.layer,
        "module_type": address.module_type,
        "component_name": delta.component_name,
        "lora_rank": delta.rank,
        "lora_alpha": delta.alpha,
        "stack": address.stack,
        "expert": address.expert,
        "family": address.family,
        "method": delta.method,
        "scale": delta.scale,
        "d_out": delta.d_out,
        "d_in": delta.d_in,
        "status": delta.status,
    }


def _sizes(update: Update, spectra: bool, row: dict[str, Any]) -> tuple[float, np.ndarray[Any, Any] | None]:
    """‖BA‖ unscaled and the singular values; the factors' own norms go into the row."""
    if not isinstance(update, Factored):
        norm = gram.frobenius(update.matrix)
        return norm, spectrum.dense_spectrum(update.matrix) if spectra and update.matrix.size else None
    values = None
    if spectra:
        values, norms = spectrum.product_spectrum(update.B, update.A)
    else:
        norms = gram.product_frobenius(update.B, update.A)
    row |= {"lora_A_norm": norms[1], "lora_B_norm": norms[2]}
    return norms[0], values if values is not None and len(values) else None


def _shape_of(values: np.ndarray[Any, Any]) -> dict[str, float]:
    return {
        "stable_rank": spectrum.stable_rank(values),
        "effective_rank": spectrum.effective_rank(values),
        "participation_ratio": spectrum.participation_ratio(values),
        "energy_rank_90": spectrum.energy_rank(values, 0.90),
        "energy_rank_99": spectrum.energy_rank(values, 0.99),
    }


def _non_finite(update: Update) -> str:
    arrays = {"B": update.B, "A": update.A} if isinstance(update, Factored) else {"ΔW": update.matrix}
    counts = {name: int((~np.isfinite(gram.wide(a))).sum()) for name, a in arrays.items()}
    parts = [f"{count} of {arrays[name].size} values of {name}" for name, count in counts.items() if count]
    return "non-finite: " + (", ".join(parts) or "the product overflows")
