"""How large is each ΔW, and how is its energy spread over directions?"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from tunescope.delta import Delta, Factored, Update
from tunescope.linalg import gram, spectrum
from tunescope.linalg.spectra import Spectrum, product_spectra
from tunescope.linalg.spectra import shapes as shapes_of
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


# Updates of so few values in both factors are measured together, as many as have so many values.
_SMALL, _TOGETHER = 1 << 15, 1 << 20


def frame(rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """Rows as a frame with the columns, order and types of `SCHEMA`; absent columns are null."""
    return pl.DataFrame(list(rows), schema=dtypes(SCHEMA))


def measure(delta: Delta, model_id: str, step: int | None = None, spectra: bool = True) -> dict[str, Any]:
    """One row of the norms table for one ΔW.

    Scaled columns are null where the scale is unknown. A factor with a NaN or infinity gives NaN norms
    and a status that counts the values.
    """
    update = delta.open()
    return _row(delta, update, _sizes(update, spectra), identity(delta, model_id, step))


def measure_all(
    deltas: Iterable[Delta], model_id: str, step: int | None = None, spectra: bool = True
) -> Iterator[dict[str, Any]]:
    """The rows of many ΔW, in their order; small ones of one shape are measured together."""
    waiting: list[tuple[Delta, Update]] = []
    values = 0
    for delta in deltas:
        count = (delta.rank or 0) * (delta.d_out + delta.d_in)
        small = spectra and delta.rank is not None and count <= _SMALL
        if small:
            waiting.append((delta, delta.open()))
            values += count
        if not small or values > _TOGETHER:
            yield from _together(waiting, model_id, step)
            waiting, values = [], 0
        if not small:
            yield measure(delta, model_id, step, spectra)
    yield from _together(waiting, model_id, step)


def _row(delta: Delta, update: Update, sizes: "_Sizes", row: dict[str, Any]) -> dict[str, Any]:
    norm, root = sizes.norm, math.sqrt(delta.d_out)
    row |= sizes.factors
    row |= {"unscaled_frobenius_norm": norm, "unscaled_frobenius_norm_normalized": norm / root}
    if delta.scale is not None:
        scaled = norm * abs(delta.scale)
        if math.isinf(scaled):
            scaled = math.nan
        row |= {"frobenius_norm": scaled, "frobenius_norm_normalized": scaled / root}
    if sizes.largest is not None:
        # A scale of zero leaves no ΔW whose spectrum could have a shape.
        row |= sizes.shape if delta.scale != 0 else dict.fromkeys(sizes.shape, math.nan)
        largest = None if delta.scale is None else sizes.largest * abs(delta.scale)
        row["spectral_norm"] = math.nan if largest == math.inf else largest
    known = delta.base is not None and delta.scale is not None and not delta.of_other_base
    if known and delta.base is not None and math.isfinite(norm):
        row |= against_base(update, delta.base, (delta.d_out, delta.d_in))
    if not math.isfinite(norm):
        row["status"] = _non_finite(update)
    elif delta.scale is not None and not math.isfinite(norm * delta.scale):
        row["status"] = f"non-finite: the scale {delta.scale:.3g} takes the norm beyond float64"
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


@dataclass(frozen=True, slots=True)
class _Sizes:
    """‖BA‖ unscaled, the norms of the factors; where spectra were asked for, σ₁ unscaled and their shape."""

    norm: float
    factors: Mapping[str, float]
    largest: float | None = None
    shape: Mapping[str, float] = field(default_factory=dict)


def _sizes(update: Update, spectra: bool) -> _Sizes:
    if isinstance(update, Factored) and spectra:
        return _of_spectra([spectrum.product_spectrum(update.B, update.A)])[0]
    if isinstance(update, Factored):
        norm, norm_A, norm_B = gram.product_frobenius(update.B, update.A)
        return _Sizes(norm, {"lora_A_norm": norm_A, "lora_B_norm": norm_B})
    sizes = _Sizes(gram.frobenius(update.matrix), {})
    if not (spectra and update.matrix.size):
        return sizes
    values = spectrum.dense_spectrum(update.matrix)
    return replace(sizes, largest=float(values[0]), shape=_shapes(values[None])[0])


def _together(
    waiting: Sequence[tuple[Delta, Update]], model_id: str, step: int | None
) -> list[dict[str, Any]]:
    """Rows of small updates, those of one shape by stacked arithmetic."""
    groups: dict[Any, list[int]] = {}
    sizes: dict[int, _Sizes] = {}
    for i, (_, update) in enumerate(waiting):
        if isinstance(update, Factored) and min(*update.B.shape, *update.A.shape) > 0:
            groups.setdefault((update.B.shape, update.A.shape), []).append(i)
        else:
            sizes[i] = _sizes(update, True)
    for members in groups.values():
        factors = [(u.B, u.A) for i in members if isinstance(u := waiting[i][1], Factored)]
        sizes |= dict(zip(members, _of_spectra(product_spectra(factors)), strict=True))
    return [
        _row(delta, update, sizes[i], identity(delta, model_id, step))
        for i, (delta, update) in enumerate(waiting)
    ]


def _of_spectra(found: Sequence[Spectrum]) -> list[_Sizes]:
    if not len(found[0][0]):
        return [_Sizes(n[0], {"lora_A_norm": n[1], "lora_B_norm": n[2]}) for _, n in found]
    shapes = _shapes(np.stack([values for values, _ in found]))
    return [
        _Sizes(norms[0], {"lora_A_norm": norms[1], "lora_B_norm": norms[2]}, float(values[0]), shape)
        for (values, norms), shape in zip(found, shapes, strict=True)
    ]


def _shapes(values: np.ndarray[Any, Any]) -> list[dict[str, float]]:
    columns = shapes_of(values)
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _non_finite(update: Update) -> str:
    arrays = {"B": update.B, "A": update.A} if isinstance(update, Factored) else {"ΔW": update.matrix}
    counts = {name: int((~np.isfinite(gram.wide(a))).sum()) for name, a in arrays.items()}
    parts = [f"{count} of {arrays[name].size} values of {name}" for name, count in counts.items() if count]
    return "non-finite: " + (", ".join(parts) or "the product overflows")
