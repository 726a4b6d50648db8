"""Do two models change the same weights in the same direction?"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from tunescope.address import Address
from tunescope.delta import Delta, Factored, Update
from tunescope.linalg import gram
from tunescope.measure.alignment import alignment
from tunescope.measure.refinement import refined

PAIR_SCHEMA: dict[str, Any] = {
    "model_a": pl.String,
    "model_b": pl.String,
    "stack": pl.String,
    "layer": pl.Int64,
    "module_type": pl.String,
    "expert": pl.Int64,
    "component_name": pl.String,
    "inner": pl.Float64,
    "norm_a": pl.Float64,
    "norm_b": pl.Float64,
    "identical": pl.Boolean,
    "status": pl.String,
}


def inner(a: Update, b: Update) -> float:
    """⟨ΔW, ΔW'⟩ with both scales (an unknown scale counts as one); low rank is never multiplied out."""
    scale = _scale(a) * _scale(b)
    if isinstance(a, Factored) and isinstance(b, Factored):
        return scale * gram.inner(a.B, a.A, b.B, b.A)
    if isinstance(a, Factored):
        a, b = b, a
    matrix = gram.wide(a.matrix).astype(np.float64)  # type: ignore[union-attr]
    if isinstance(b, Factored):
        left = gram.wide(b.B).astype(np.float64).T @ matrix
        return scale * float((left * gram.wide(b.A).astype(np.float64)).sum())
    return scale * float((matrix * gram.wide(b.matrix).astype(np.float64)).sum())


def norm(update: Update) -> float:
    """‖ΔW‖_F with its scale (an unknown scale counts as one)."""
    if isinstance(update, Factored):
        return abs(_scale(update)) * gram.product_frobenius(update.B, update.A, exact=True)[0]
    return abs(_scale(update)) * gram.frobenius(update.matrix)


def _scale(update: Update) -> float:
    return 1.0 if update.scale is None else update.scale


def pairs(models: Sequence[tuple[str, Sequence[Delta]]]) -> pl.DataFrame:
    """One row per pair of models and module that both have: inner product, norms, equality.

    Every module is read once per model and only one module is held at a time. A pair whose shapes
    differ has a status that says so and no numbers. What one model fuses and the other does not is compared
    part by part (`refinement`).
    """
    keyed = [(label, {delta.address: delta for delta in deltas}) for label, deltas in models]
    addresses: dict[Address, None] = {}
    for _, deltas in keyed:
        addresses |= dict.fromkeys(deltas)
    rows: list[dict[str, Any]] = []
    for address in addresses:
        having = [(label, deltas[address]) for label, deltas in keyed if address in deltas]
        if len(having) > 1:
            rows += _pairs_at(address, having)
    for j in range(1, len(models)):
        for i in range(j):
            for a, b in refined(models[i][1], models[j][1]):
                rows += _pairs_at(a.address, [(models[i][0], a), (models[j][0], b)])
    return pl.DataFrame(rows, schema=PAIR_SCHEMA)


def _pairs_at(address: Address, having: list[tuple[str, Delta]]) -> list[dict[str, Any]]:
    if all(delta.pair is not None for _, delta in having):
        return _whole_pairs_at(address, having)
    updates = [delta.open() for _, delta in having]
    norms = [norm(update) for update in updates]
    rows = []
    for j in range(1, len(having)):
        for i in range(j):
            (label_a, a), (label_b, b) = having[i], having[j]
            row = _row(address, label_a, label_b, a, b) | {"norm_a": norms[i], "norm_b": norms[j]}
            if row["status"] == "ok":
                row |= {"inner": inner(updates[i], updates[j]), "identical": _same(updates[i], updates[j])}
            rows.append(row)
    return rows


def _row(address: Address, label_a: str, label_b: str, a: Delta, b: Delta) -> dict[str, Any]:
    fits = (a.d_out, a.d_in) == (b.d_out, b.d_in)
    return {
        "model_a": label_a,
        "model_b": label_b,
        "stack": address.stack,
        "layer": address.layer,
        "module_type": address.module_type,
        "expert": address.expert,
        "component_name": a.component_name,
        "status": "ok" if fits else f"shapes differ: {a.d_out}×{a.d_in} and {b.d_out}×{b.d_in}",
    }


def _whole_pairs_at(address: Address, having: list[tuple[str, Delta]]) -> list[dict[str, Any]]:
    """As `_pairs_at` for differences of whole tensors, which are streamed."""
    rows = []
    for j in range(1, len(having)):
        for i in range(j):
            (label_a, a), (label_b, b) = having[i], having[j]
            row = _row(address, label_a, label_b, a, b)
            if row["status"] == "ok" and a.pair is not None and b.pair is not None:
                row |= alignment(a.pair, b.pair)
            rows.append(row)
    return rows


def _same(a: Update, b: Update) -> bool:
    if a.scale != b.scale or type(a) is not type(b):
        return False
    if isinstance(a, Factored) and isinstance(b, Factored):
        return np.array_equal(a.B, b.B) and np.array_equal(a.A, b.A)
    return np.array_equal(a.matrix, b.matrix)  # type: ignore[union-attr]


def delta_cosine(table: pl.DataFrame, labels: Sequence[str]) -> list[list[float | None]]:
    """Cosine of the whole ΔW for every pair, over the modules both have; null where there are none."""
    usable = table.filter(
        pl.col("inner").is_finite() & pl.col("norm_a").is_finite() & pl.col("norm_b").is_finite()
    )
    sums = usable.group_by("model_a", "model_b", maintain_order=True).agg(
        pl.col("inner").sum(), (pl.col("norm_a") ** 2).sum(), (pl.col("norm_b") ** 2).sum()
    )
    found = {(a, b): _cosine(dot, aa, bb) for a, b, dot, aa, bb in sums.iter_rows()}
    return [[1.0 if a == b else found.get((a, b), found.get((b, a))) for b in labels] for a in labels]


def _cosine(dot: float, aa: float, bb: float) -> float | None:
    # Two roots, as the product of two small squares can be 0.
    return max(-1.0, min(1.0, dot / (math.sqrt(aa) * math.sqrt(bb)))) if aa > 0 and bb > 0 else None


def norm_maps(
    norms: pl.DataFrame, labels: Sequence[str], metric: str
) -> tuple[list[list[float | None]], ...]:
    """Cosine and Euclidean distance of the models' maps of `metric`, over the components both have."""
    key = ["stack", "layer", "module_type", "expert"]
    maps = {
        label: dict(zip(part.select(key).iter_rows(), part[metric].to_list(), strict=True))
        for label in labels
        for part in [norms.filter((pl.col("model_id") == label) & pl.col(metric).is_finite())]
    }
    cosine = [[_map_cosine(maps[a], maps[b]) for b in labels] for a in labels]
    distance = [[_map_distance(maps[a], maps[b]) for b in labels] for a in labels]
    return cosine, distance


def _common(
    a: dict[Any, float], b: dict[Any, float]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
    shared = [key for key in a if key in b]
    return (np.array([a[k] for k in shared]), np.array([b[k] for k in shared])) if shared else None


def _map_cosine(a: dict[Any, float], b: dict[Any, float]) -> float | None:
    both = _common(a, b)
    return (
        None
        if both is None
        else _cosine(float(both[0] @ both[1]), float(both[0] @ both[0]), float(both[1] @ both[1]))
    )


def _map_distance(a: dict[Any, float], b: dict[Any, float]) -> float | None:
    both = _common(a, b)
    return None if both is None else float(np.linalg.norm(both[0] - both[1]))
