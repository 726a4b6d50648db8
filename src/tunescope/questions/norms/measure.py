"""How large is each ΔW, and how is its energy spread over directions?"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl

from tunescope.delta import Delta, Factored, Update
from tunescope.linalg import gram, spectrum
from tunescope.measure.against_base import against_base
from tunescope.questions.norms.dense import DENSE, MERGE
from tunescope.table import KEYS, Column, Schema, dtypes

_NORM = "unit of the weights"
_RANK = "directions"
# The order is the order in every file: first what says where a row belongs.
SCHEMA: Schema = {
    "model_id": Column(pl.String, "label of the model"),
    "step": Column(pl.Int64, "optimizer step, where the source is a checkpoint of a run"),
    "stack": Column(pl.String, "stack of blocks or tower that the layer is counted in"),
    "layer": Column(pl.Int64, "index of the block in its stack, from 0; null outside blocks"),
    "module_type": Column(pl.String, "name of the module inside its block"),
    "expert": Column(pl.Int64, "number of the expert, from 0; null where there are none"),
    "component_name": Column(pl.String, "short name of layer and module"),
    "family": Column(pl.String, "attention, mlp, norm, embedding or other"),
    "method": Column(pl.String, "how the update is stored, such as lora"),
    "lora_rank": Column(pl.Int64, "rank r of the factors", _RANK),
    "lora_alpha": Column(pl.Float64, "alpha of the adapter"),
    "scale": Column(pl.Float64, "s in ΔW = s·BA; null where the source does not say it"),
    "d_out": Column(pl.Int64, "outputs of the weight"),
    "d_in": Column(pl.Int64, "inputs of the weight"),
    "frobenius_norm": Column(pl.Float64, "‖ΔW‖_F, scale included", _NORM),
    "frobenius_norm_normalized": Column(pl.Float64, "‖ΔW‖_F/√d_out", _NORM),
    "unscaled_frobenius_norm": Column(pl.Float64, "‖BA‖_F, scale not applied", _NORM),
    "unscaled_frobenius_norm_normalized": Column(pl.Float64, "‖BA‖_F/√d_out, scale not applied", _NORM),
    "lora_A_norm": Column(pl.Float64, "‖A‖_F", _NORM),
    "lora_B_norm": Column(pl.Float64, "‖B‖_F", _NORM),
    "spectral_norm": Column(pl.Float64, "σ₁(ΔW), scale included", _NORM),
    "stable_rank": Column(pl.Float64, "‖ΔW‖_F²/σ₁², from 1 to the rank", _RANK),
    "effective_rank": Column(pl.Float64, "exp of the entropy of σ/Σσ [Roy & Vetterli 2007]", _RANK),
    "participation_ratio": Column(pl.Float64, "(Σσ²)²/Σσ⁴", _RANK),
    "energy_rank_90": Column(pl.Float64, "least k with 90 % of Σσ²", _RANK),
    "energy_rank_99": Column(pl.Float64, "least k with 99 % of Σσ²", _RANK),
    **DENSE,
    **MERGE,
    "status": Column(pl.String, "ok, or what is the matter with the row"),
}
# Every number but those that say where a row belongs.
METRICS = tuple(name for name, column in SCHEMA.items() if column.dtype != pl.String and name not in KEYS)
SPECTRAL = (
    "spectral_norm",
    "stable_rank",
    "effective_rank",
    "participation_ratio",
    "energy_rank_90",
    "energy_rank_99",
)


def frame(rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """Rows as a frame with the columns, order and types of `SCHEMA`; absent columns are null."""
    return pl.DataFrame(list(rows), schema=dtypes(SCHEMA))


def measure(delta: Delta, model_id: str, step: int | None = None, spectra: bool = True) -> dict[str, Any]:
    """One row of the norms table for one ΔW.

    Scaled columns are null where the scale is unknown. A factor with a NaN or infinity gives NaN norms
    and a status that counts the values.
    """
    update = delta.open()
    row = identity(delta, model_id, step)
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
    if delta.base is not None and delta.scale is not None and math.isfinite(norm):
        row |= against_base(update, delta.base, (delta.d_out, delta.d_in))
    if not math.isfinite(norm):
        row["status"] = _non_finite(update)
    return row


def identity(delta: Delta, model_id: str, step: int | None) -> dict[str, Any]:
    """What says where a row belongs and how its update is stored."""
    address = delta.address
    return {
        "model_id": model_id,
        "step": step,
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
