"""Does ΔW strengthen what `W` already does, or something else? Amplification and intruder dimensions."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.address import Address
from tunescope.delta import Delta
from tunescope.linalg import overlap
from tunescope.linalg.amplification import projected, projected_norms, random_directions
from tunescope.linalg.gram import frobenius
from tunescope.linalg.leading import Leading, Sum, leading
from tunescope.questions.subspace import columns
from tunescope.questions.subspace.directions import Directions, Selection, directions
from tunescope.questions.subspace.intruders import intruder_rows
from tunescope.table import dtypes

SCHEMA = dtypes(columns.AMPLIFICATION)
ReadWeight = Callable[[Delta], NDArray[np.float32] | str]


@dataclass(frozen=True, slots=True)
class AgainstBase:
    """What is measured against the base: ranks besides the update's own, and the intruders' k and ε."""

    ranks: tuple[int, ...] = ()
    intruders: int = 10
    epsilon: float = 0.5
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Weight:
    """A base weight with its leading singular vectors."""

    W: NDArray[np.float32]
    norm: float
    top: Leading


def against_base(
    models: Sequence[tuple[str, Sequence[Delta]]], read: ReadWeight, options: AgainstBase | None = None
) -> Iterator[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """Amplification rows and intruder rows of every update, one base weight at a time.

    `read` gives the weight `(d_out, d_in)` that a delta belongs to, or a text that says why it cannot.
    """
    options = options or AgainstBase()
    keyed: dict[Address, list[tuple[str, Delta]]] = {}
    for label, deltas in models:
        for delta in deltas:
            keyed.setdefault(delta.address, []).append((label, delta))
    for having in keyed.values():
        yield _at_weight(having, read, options)


def _at_weight(
    having: list[tuple[str, Delta]], read: ReadWeight, options: AgainstBase
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    found = read(having[0][1])
    if isinstance(found, str):
        return [_row(label, delta, {"status": found}) for label, delta in having], []
    size = frobenius(found)
    if not math.isfinite(size):
        said = {"status": "the base holds NaN or infinite values"}
        return [_row(label, delta, said) for label, delta in having], []
    held = [directions(label, delta, Selection(of=("delta",))) for label, delta in having]
    count = max([options.intruders + 10, *options.ranks, *(model.rank for model in held)])
    weight = Weight(found, size, leading(Sum(found), count, seed=options.seed))
    amplifications: list[dict[str, Any]] = []
    intruders: list[dict[str, Any]] = []
    for model in held:
        amplifications += _amplification(model, weight, options)
        if model.status == "ok" and model.delta.scale is not None:
            update = model.delta.open()
            keys = _keys(model.label, model.delta)
            intruders += intruder_rows(keys, weight.W, weight.top, update, options.intruders, options.epsilon)
    return amplifications, intruders


def _keys(label: str, delta: Delta) -> dict[str, Any]:
    address = delta.address
    return {
        "model_id": label,
        "stack": address.stack,
        "layer": address.layer,
        "module_type": address.module_type,
        "expert": address.expert,
        "component_name": delta.component_name,
    }


def _row(label: str, delta: Delta, numbers: Mapping[str, Any]) -> dict[str, Any]:
    return _keys(label, delta) | {"status": delta.status} | dict(numbers)


def _amplification(model: Directions, weight: Weight, options: AgainstBase) -> list[dict[str, Any]]:
    """‖UᵀWV‖_F along ΔW's, W's and random directions, at the update's rank and the chosen ones."""
    if model.status != "ok":
        return [_row(model.label, model.delta, {"status": model.status})]
    U = overlap.to_numpy(model.basis("output").directions("delta"))
    V = overlap.to_numpy(model.basis("input").directions("delta"))
    scale = model.delta.scale
    delta_norm = None if scale is None else model.norm
    ranks = sorted({model.rank, *(k for k in options.ranks if k <= model.rank)})
    d_out, d_in = weight.W.shape
    top = weight.top
    drawn = (
        random_directions(d_out, ranks[-1], options.seed),
        random_directions(d_in, ranks[-1], options.seed + 1),
    )
    norms = {
        "delta": projected_norms(projected(weight.W, U, V), ranks),
        "base": {k: float(np.linalg.norm(top.values[:k])) for k in ranks if k <= len(top.values)},
        "random": projected_norms(projected(weight.W, *drawn), ranks),
    }
    rows = []
    for k in ranks:
        for kind, values in norms.items():
            numbers = {
                "directions": kind,
                "rank": k,
                "projected_norm": values.get(k),
                "base_norm": weight.norm,
                "delta_norm": delta_norm,
                "residual": top.residual,
            }
            if kind == "delta":
                numbers |= _shared_with_base(U[:, :k], V[:, :k], top)
                numbers["amplification"] = _ratio(delta_norm, values.get(k))
            rows.append(_row(model.label, model.delta, numbers))
    return rows


def _shared_with_base(U: Any, V: Any, top: Leading) -> dict[str, float]:
    """φ(k, k) between ΔW's and W's leading directions on both sides, with chance."""
    k = U.shape[1]
    return {
        "overlap_output": float(((top.U[:, :k].T @ U) ** 2).sum()) / k,
        "overlap_input": float(((top.V[:, :k].T @ V) ** 2).sum()) / k,
        "chance_output": k / U.shape[0],
        "chance_input": k / V.shape[0],
    }


def _ratio(delta_norm: float | None, along: float | None) -> float | None:
    return delta_norm / along if delta_norm is not None and along else None
