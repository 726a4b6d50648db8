"""In which directions do two models change the same weight, against what chance would give?"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from tunescope.address import Address
from tunescope.delta import Delta
from tunescope.linalg import overlap
from tunescope.linalg.chance import phi_tail
from tunescope.linalg.overlap import Basis
from tunescope.linalg.placement import Placed
from tunescope.measure.refinement import refined
from tunescope.questions.subspace import columns
from tunescope.questions.subspace.directions import SIDES, Directions, Selection, directions
from tunescope.questions.subspace.kinds import kind_of
from tunescope.questions.subspace.shared import Shared, shared
from tunescope.questions.subspace.start import start_cosine
from tunescope.table import dtypes

# What random subspaces do more often than this, or random placements surely less often, needs no draws.
_RARE, _SURE = 0.01, 1e-12

GRID_SCHEMA, SUMMARY_SCHEMA = dtypes(columns.GRID), dtypes(columns.SUMMARY)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What one pair of models gives at one weight: the φ grids, long, and the summary row."""

    grids: pl.DataFrame
    row: dict[str, Any]


def compare(
    models: Sequence[tuple[str, Sequence[Delta]]],
    selection: Selection | None = None,
    against_self: bool = False,
) -> Iterator[Comparison]:
    """Every pair of models at every weight, weight by weight, so that one module is held at a time.

    A weight that only one model of a pair changes, or whose shapes differ, gives a row that says so and
    no numbers; what one fuses and the other does not is compared part by part (`refinement`).
    `against_self` adds every model's comparison with itself, where φ is 1 wherever i ≤ j ≤ r.
    """
    selection = selection or Selection()
    selection.wanted()
    keyed = [(label, {delta.address: delta for delta in deltas}) for label, deltas in models]
    addresses: dict[Address, None] = {}
    for _, deltas in keyed:
        addresses |= dict.fromkeys(deltas)
    pairs = [(a, a) for a in range(len(models)) if against_self]
    pairs += combinations(range(len(models)), 2)
    cut = {(a, b): refined(models[a][1], models[b][1]) for a, b in pairs if a != b}
    told = {between: {d.tensors for both in found for d in both} for between, found in cut.items()}
    for address in sorted(addresses, key=_order):
        held: list[Directions | None] = [
            directions(label, deltas[address], selection) if address in deltas else None
            for label, deltas in keyed
        ]
        for a, b in pairs:
            one, other = held[a], held[b]
            if one is not None and other is not None:
                yield pair(one, other, selection)
            elif (alone := one or other) is not None and alone.delta.tensors not in told.get((a, b), ()):
                yield Comparison(_empty(), _alone(keyed[a][0], keyed[b][0], one, other))
    for (a, b), found in cut.items():
        for mine, theirs in found:
            left, right = (
                directions(models[a][0], mine, selection),
                directions(models[b][0], theirs, selection),
            )
            yield pair(left, right, selection)


def _order(address: Address) -> tuple[Any, ...]:
    return (address.stack, address.layer is None, address.layer, address.module_type, address.expert or 0)


def pair(a: Directions, b: Directions, selection: Selection) -> Comparison:
    """φ grids and summary row of two updates of one weight."""
    row = _key_row(a, b)
    problem = _problem(a, b)
    if problem:
        return Comparison(_empty(), row | {"status": problem[0], "finding": problem[1]})
    crosses = {side: overlap.to_numpy(a.basis(side).Q.T @ b.basis(side).Q) for side in SIDES}
    cosines = {
        side: overlap.cosines(a.basis(side), b.basis(side), "delta", "delta", crosses[side]) for side in SIDES
    }
    frames = []
    for of, side in selection.wanted():
        left, right = a.basis(side), b.basis(side)
        if of not in left.values or of not in right.values:
            continue
        cosine = cosines[side] if of == "delta" else overlap.cosines(left, right, of, of, crosses[side])
        frames.append(_grid(row, of, side, cosine, left, right, selection.max_rank))
    whole = row | _summary(a, b, cosines)
    whole["finding"] = kind_of(whole, min(a.rank, b.rank))
    return Comparison(pl.concat(frames) if frames else _empty(), whole)


def _key_row(a: Directions, b: Directions) -> dict[str, Any]:
    address = a.delta.address
    row = {
        "model_a": a.label,
        "model_b": b.label,
        "stack": address.stack,
        "layer": address.layer,
        "module_type": address.module_type,
        "expert": address.expert,
        "component_name": a.delta.component_name,
        "d_in": a.delta.d_in,
        "d_out": a.delta.d_out,
        "status": _part(a, b),
    }
    for which, model in (("a", a), ("b", b)):
        row[f"rank_{which}"] = model.rank if model.input is not None else model.delta.rank
    return row


def _part(a: Directions, b: Directions) -> str:
    """`ok`, or which part of ΔW was compared where a source holds only a part of it."""
    said = dict.fromkeys(f"{m.label}: {m.delta.status}" for m in (a, b) if m.delta.status != "ok")
    return "; ".join(said) or "ok"


def _problem(a: Directions, b: Directions) -> tuple[str, str | None] | None:
    for model in (a, b):
        if model.status == "zero":
            return f"ΔW of {model.label} is zero", "untrained"
        if model.status != "ok":
            return f"{model.label}: {model.status}", "non_finite"
    if (a.delta.d_out, a.delta.d_in) != (b.delta.d_out, b.delta.d_in):
        shapes = [f"{m.delta.d_out}×{m.delta.d_in}" for m in (a, b)]
        return f"shapes differ: {shapes[0]} and {shapes[1]}", None
    return None


def _alone(label_a: str, label_b: str, a: Directions | None, b: Directions | None) -> dict[str, Any]:
    found = a or b
    assert found is not None
    row = _key_row(found, found) | {"model_a": label_a, "model_b": label_b}
    row["rank_b" if b is None else "rank_a"] = None
    return row | {"status": f"only in {found.label}"}


@cache
def _empty() -> pl.DataFrame:
    return pl.DataFrame(schema=GRID_SCHEMA)


def _grid(
    row: dict[str, Any], of: str, side: str, cosine: Any, left: Basis, right: Basis, most: int | None
) -> pl.DataFrame:
    cosine = cosine[:most, :most]
    rows, columns = cosine.shape
    phi = overlap.phi_grid(cosine)
    chance, deviation = overlap.chance_grid(rows, columns, left.d)
    unique = ~(
        overlap.tied(left.values[of], rows)[:, None] | overlap.tied(right.values[of], columns)[None, :]
    )
    z = np.divide(phi - chance, deviation, out=np.full_like(phi, math.nan), where=deviation > 0)
    i, j = np.arange(1.0, rows + 1)[:, None], np.arange(1.0, columns + 1)[None, :]
    numbers = pl.DataFrame(
        {
            "i": np.repeat(np.arange(1, rows + 1, dtype=np.int32), columns),
            "j": np.tile(np.arange(1, columns + 1, dtype=np.int32), rows),
            "phi": phi.ravel(),
            "phi_chance": chance.ravel(),
            "z": z.ravel(),
            "p": phi_tail(phi, i, j, left.d).ravel(),
            "unique": unique.ravel(),
        }
    )
    keys = {**row, "of": of, "side": side}
    return numbers.select(
        *(pl.lit(keys[name], dtype).alias(name) for name, dtype in list(GRID_SCHEMA.items())[:8]),
        "i", "j", "phi", "phi_chance", pl.col("z").fill_nan(None), "p", "unique",
    )  # fmt: skip


def _summary(a: Directions, b: Directions, cosines: dict[str, Any]) -> dict[str, Any]:
    row = _sizes(a, b, cosines)
    for side in SIDES:
        row |= _side(side, cosines[side], a.basis(side), b.basis(side))
    counts = [row[f"dimensions_shared_{side}"] for side in SIDES]
    row["dimensions_shared"] = max((count for count in counts if count is not None), default=None)
    leading = row["excess_leading_output"]
    row["excess_leading"] = row["excess_leading_input"] if leading is None else leading
    row["start_cosine"] = start_cosine(a, b)
    return row


def _sizes(a: Directions, b: Directions, cosines: dict[str, Any]) -> dict[str, Any]:
    """⟨ΔW, ΔW'⟩, the norms and their cosine."""
    inner, norms = a.inner(b, cosines), [a.norm, b.norm]
    if (a.delta.scale is None) != (b.delta.scale is None):
        # One has a scale and the other does not say its own: sizes cannot be held against each other.
        bare = max(-1.0, min(1.0, inner / (norms[0] * norms[1])))
        return {"inner": None, "norm_a": None, "norm_b": None, "delta_cosine": bare}
    product = norms[0] * norms[1]
    cosine = max(-1.0, min(1.0, inner / product)) if product > 0 else None
    return {"inner": inner, "norm_a": norms[0], "norm_b": norms[1], "delta_cosine": cosine}


def _side(side: str, cosine: Any, left: Basis, right: Basis) -> dict[str, Any]:
    (k, other), d = cosine.shape, left.d
    chance, deviation = overlap.chance_grid(k, other, d)
    phi = min(float((cosine * cosine).sum()) / min(k, other), 1.0)
    expected, sd = float(chance[-1, -1]), float(deviation[-1, -1])
    principal = overlap.principal_cosines(cosine)
    angles = np.degrees(np.arccos(principal))
    above = overlap.excess(phi, expected)
    common, tail = _against_chance(cosine, principal, phi, left, right)
    return {
        f"overlap_{side}": phi,
        f"overlap_{side}_chance": expected,
        f"overlap_{side}_z": (phi - expected) / sd if sd > 0 else None,
        f"overlap_{side}_p": tail if sd > 0 else None,
        f"excess_{side}": None if math.isnan(above) else above,
        f"angle_smallest_{side}": float(angles[0]),
        f"angle_median_{side}": float(np.median(angles)),
        f"angle_largest_{side}": float(angles[-1]),
        f"dimensions_shared_{side}": common.count,
        f"dimensions_shared_{side}_sd": common.deviation,
        f"dimensions_shared_{side}_p": common.p,
        f"excess_leading_{side}": common.excess_leading,
    }


def _against_chance(
    cosine: Any, principal: Any, phi: float, left: Basis, right: Basis
) -> tuple[Shared, float]:
    """What is in common beyond chance, and p of φ; of what is rare, placements of the two decide."""
    d, (k, other) = left.d, (np.array(float(n)) for n in cosine.shape)
    common, tail = shared(cosine, principal, d), float(phi_tail(np.array(phi), k, other, d))
    if min(common.p, tail) > _RARE or max(cosine.shape) >= d:
        return common, tail
    placed = Placed(left.directions("delta"), right.directions("delta"))
    if placed.even or float(placed.tail(np.array(phi), k, other)) <= _SURE:
        return common, tail
    return shared(cosine, principal, d, placed), placed.p_whole(phi)
