"""How large is each ΔW, and how is its energy spread over directions?"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.delta import Delta, Factored, Update
from tunescope.linalg import gram, spectrum
from tunescope.linalg.spectra import shapes as shapes_of
from tunescope.linalg.spectra import stacked_spectra
from tunescope.measure.against_base import against_base
from tunescope.questions.norms.dense import DENSE, MERGE
from tunescope.table import KEYS, Column, Schema, dtypes

Float64 = NDArray[np.float64]
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
    "frobenius_norm": Column(pl.Float64, "‖ΔW‖_F, the root of the sum of squares, scale included", _NORM),
    "frobenius_norm_normalized": Column(
        pl.Float64,
        "‖ΔW‖_F/√d_out: the root of ΔW's sum of squares for each of d_out outputs, of a table of embeddings "
        "its width",
        _NORM,
    ),
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
# What takes the base of an adapter.
BESIDE_BASE = (*DENSE, *MERGE)
SPECTRAL = (
    "spectral_norm",
    "stable_rank",
    "effective_rank",
    "participation_ratio",
    "energy_rank_90",
    "energy_rank_99",
)


# What is null where the scale is not known.
_SCALED = ("frobenius_norm", "frobenius_norm_normalized", "spectral_norm")
# Updates of so few values in both factors are measured together, as many as have so many values.
_SMALL, _TOGETHER = 1 << 15, 1 << 20


Columns = dict[str, list[Any]]
"""Rows column by column, all of one length; a column that is absent is null in each."""
_Sizes = dict[str, Float64]
"""Numbers of n updates, unscaled, each `(n,)`; absent where there is none for that kind of update."""


def frame(rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """Rows as a frame with the columns, order and types of `SCHEMA`; absent columns are null."""
    return pl.DataFrame(list(rows), schema=dtypes(SCHEMA))


def gathered(parts: Sequence[Columns]) -> pl.DataFrame:
    """Parts of the table, one after the other, as `frame` has them."""
    sizes = [len(part["model_id"]) for part in parts]
    columns = {
        name: list(
            chain.from_iterable(
                part.get(name) or repeat(None, n) for part, n in zip(parts, sizes, strict=True)
            )
        )
        for name in SCHEMA
    }
    return pl.DataFrame(columns, schema=dtypes(SCHEMA))


def measure_all(
    deltas: Iterable[Delta], model_id: str, step: int | None = None, spectra: bool = True
) -> Iterator[Columns]:
    """The rows of many ΔW in their order, some at a time; small ones of one shape are measured together.

    Scaled columns are null where the scale is unknown. A factor with a NaN or infinity gives NaN norms
    and a status that counts the values.
    """
    waiting: list[tuple[Delta, Update]] = []
    values = 0
    for delta in deltas:
        count = (delta.rank or 0) * (delta.d_out + delta.d_in)
        small = spectra and delta.rank is not None and count <= _SMALL
        if small:
            waiting.append((delta, delta.open()))
            values += count
        if waiting and (not small or values > _TOGETHER):
            yield _rows(waiting, _together([update for _, update in waiting]), model_id, step)
            waiting, values = [], 0
        if not small:
            update = delta.open()
            yield _rows([(delta, update)], [([0], _sizes(update, spectra))], model_id, step)
    if waiting:
        yield _rows(waiting, _together([update for _, update in waiting]), model_id, step)


def _rows(
    opened: Sequence[tuple[Delta, Update]],
    found: Sequence[tuple[list[int], _Sizes]],
    model_id: str,
    step: int | None,
) -> Columns:
    """The rows of updates whose numbers were found in groups, each beside the places of its updates."""
    deltas = [delta for delta, _ in opened]
    columns = identities(deltas, model_id, step)
    scales = np.array([math.nan if delta.scale is None else abs(delta.scale) for delta in deltas])
    roots = np.sqrt([delta.d_out for delta in deltas])
    for places, sizes in found:
        scaled = _scaled(sizes, scales[places], roots[places])
        for name, numbers in scaled.items():
            _put(columns.setdefault(name, [None] * len(deltas)), places, numbers.tolist())
    unknown = [i for i, delta in enumerate(deltas) if delta.scale is None]
    for name in _SCALED if unknown else ():
        _put(columns.setdefault(name, [None] * len(deltas)), unknown, [None] * len(unknown))
    for i, (delta, update) in enumerate(opened):
        norm, scale = columns["unscaled_frobenius_norm"][i], delta.scale
        if not math.isfinite(norm):
            columns["status"][i] = _non_finite(update)
            continue
        if scale is None:
            continue
        if not math.isfinite(norm * scale):
            text = f"non-finite: the scale {scale:.3g} takes the norm beyond float64"
            columns["status"][i] = text
        if delta.base is not None and not delta.of_other_base:
            for name, number in against_base(update, delta.base, (delta.d_out, delta.d_in)).items():
                columns.setdefault(name, [None] * len(deltas))[i] = number
    return columns


def _put(column: list[Any], places: Sequence[int], values: Sequence[Any]) -> None:
    if len(places) == len(column):
        column[:] = values
        return
    for i, value in zip(places, values, strict=True):
        column[i] = value


def _scaled(sizes: _Sizes, scales: Float64, roots: Float64) -> _Sizes:
    """The columns of updates from their unscaled numbers; NaN for what is scaled where no scale is known."""
    columns = dict(sizes)
    with np.errstate(all="ignore"):
        norm = columns.pop("norm")
        scaled = norm * scales
        scaled[np.isinf(scaled)] = math.nan
        columns |= {"unscaled_frobenius_norm": norm, "unscaled_frobenius_norm_normalized": norm / roots}
        columns |= {"frobenius_norm": scaled, "frobenius_norm_normalized": scaled / roots}
        if "largest" in columns:
            largest = columns.pop("largest") * scales
            columns["spectral_norm"] = np.where(largest == math.inf, math.nan, largest)
            # A scale of zero leaves no ΔW whose spectrum could have a shape.
            columns |= {n: np.where(scales == 0, math.nan, columns[n]) for n in SPECTRAL if n in sizes}
    return columns


def identities(deltas: Sequence[Delta], model_id: str, step: int | None) -> Columns:
    """What says where rows belong and how their updates are stored."""
    addresses = [delta.address for delta in deltas]
    return {
        "model_id": [model_id] * len(deltas),
        "step": [step] * len(deltas),
        "layer": [address.layer for address in addresses],
        "module_type": [address.module_type for address in addresses],
        "component_name": [delta.component_name for delta in deltas],
        "lora_rank": [delta.rank for delta in deltas],
        "lora_alpha": [delta.alpha for delta in deltas],
        "stack": [address.stack for address in addresses],
        "expert": [address.expert for address in addresses],
        "family": [address.family for address in addresses],
        "method": [delta.method for delta in deltas],
        "scale": [delta.scale for delta in deltas],
        "d_out": [delta.d_out for delta in deltas],
        "d_in": [delta.d_in for delta in deltas],
        "status": [delta.status for delta in deltas],
    }


def _sizes(update: Update, spectra: bool) -> _Sizes:
    """The numbers of one update; those of its spectrum where they are asked for."""
    if isinstance(update, Factored) and spectra:
        values, norms = spectrum.product_spectrum(update.B, update.A)
        return _of_spectra(values[None], np.array([norms]))
    if isinstance(update, Factored):
        norm, norm_A, norm_B = gram.product_frobenius(update.B, update.A)
        return {
            "norm": np.array([norm]),
            "lora_A_norm": np.array([norm_A]),
            "lora_B_norm": np.array([norm_B]),
        }
    whole = {"norm": np.array([gram.frobenius(update.matrix)])}
    if not (spectra and update.matrix.size):
        return whole
    values = spectrum.dense_spectrum(update.matrix)[None]
    return whole | {"largest": values[:, 0]} | shapes_of(values)


def _together(updates: Sequence[Update]) -> list[tuple[list[int], _Sizes]]:
    """The numbers of small updates, those of one shape by stacked arithmetic, beside their places."""
    groups: dict[Any, list[int]] = {}
    found = []
    for i, update in enumerate(updates):
        if isinstance(update, Factored) and min(*update.B.shape, *update.A.shape) > 0:
            groups.setdefault((update.B.shape, update.A.shape), []).append(i)
        else:
            found.append(([i], _sizes(update, True)))
    for members in groups.values():
        factors = [(u.B, u.A) for i in members if isinstance(u := updates[i], Factored)]
        found.append((members, _of_spectra(*stacked_spectra(factors))))
    return found


def _of_spectra(values: Float64, norms: Float64) -> _Sizes:
    sizes = dict(zip(("norm", "lora_A_norm", "lora_B_norm"), norms.T, strict=True))
    return sizes | {"largest": values[:, 0]} | shapes_of(values) if values.shape[1] else sizes


def _non_finite(update: Update) -> str:
    arrays = {"B": update.B, "A": update.A} if isinstance(update, Factored) else {"ΔW": update.matrix}
    counts = {name: int((~np.isfinite(gram.wide(a))).sum()) for name, a in arrays.items()}
    parts = [f"{count} of {arrays[name].size} values of {name}" for name, count in counts.items() if count]
    return "non-finite: " + (", ".join(parts) or "the product overflows")
