"""Every module that adapters touch, replayed: coefficients with their errors, from rows spread over it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.address import Address
from tunescope.delta import Delta, Factored, Pair, Update
from tunescope.linalg.differences import UNIT
from tunescope.linalg.mergers import Mergers
from tunescope.linalg.replay import Coefficients
from tunescope.linalg.rounding import GRIDS
from tunescope.measure.dense import looked
from tunescope.measure.refinement import cut_apart
from tunescope.questions.verify.meeting import Unread, alike, is_transpose, part_of, tied_table, why_unread
from tunescope.questions.verify.sums import Members, Sums, sums_of, told
from tunescope.source.matching import address_place, matched
from tunescope.source.opened import Source
from tunescope.study.progress import Tell, silent
from tunescope.words import counted

Array = NDArray[Any]

# Values of a module that are replayed; a larger one is read in stretches of rows spread evenly over it.
SAMPLE = 1 << 18
_STRETCH = 8
ZERO = "an update is zero here"
# Their rotary embeddings go by halves once loaded [huggingface/transformers: PermuteForRope].
_REORDERED = frozenset({"kimi_k25", "step3p7", "step3p5_vision", "gradium_phonon_tts"})


@dataclass(frozen=True, eq=False)
class Candidates:
    """One module: its pair, and the update of every adapter that touches it.

    `sums` are those that the adapters are given in over all modules, `expected` the coefficients that are
    right, 1 where nothing is said.
    """

    component: str
    address: Address
    pair: Pair
    shape: tuple[int, int]
    deltas: Mapping[str, Delta]
    sums: Sums | None = None
    expected: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Replayed:
    """What one module came to: `labels` in the order of the coefficients, or a `status` that says why not.

    `members` are the weights that adapters have in labels that are sums of them, `zero` the labels whose
    update is zero here; `non_finite` counts such values of the merged model.
    """

    module: Candidates
    labels: tuple[str, ...]
    found: Coefficients | None
    weights: NDArray[np.float64]
    moved: bool
    status: str = "ok"
    zero: tuple[str, ...] = ()
    non_finite: int = 0
    members: Mapping[str, Members] = field(default_factory=dict)


def in_parts(merged: Source, adapters: Sequence[Source]) -> Source:
    """The model, its fused projections in parts that adapters name, unless a loader reorders rows."""
    mixed = merged.config.get("model_type") in _REORDERED
    named = [delta for adapter in adapters for delta in adapter.deltas if not mixed]
    return replace(merged, deltas=tuple(cut_apart(merged.deltas, named)))


def touched(merged: Source, adapters: Sequence[Source]) -> tuple[list[Candidates], list[Unread]]:
    """The modules of a merged model that any adapter changes, each with its updates, and those it lacks."""
    held = {d.address: d for d in (*merged.deltas, *merged.incomparable)}
    places = {a: address_place(a, (d.d_out, d.d_in)) for a, d in held.items()}
    found: dict[Address, dict[str, Delta]] = {}
    pairs: dict[Address, Delta] = {}
    unread = []
    for adapter in adapters:
        deltas = cut_apart(adapter.deltas, list(held.values()))
        wanted = {d.address: address_place(d.address, (d.d_out, d.d_in)) for d in deltas}
        theirs = matched(wanted, places)
        for delta in deltas:
            there = theirs.get(delta.address) or tied_table(delta, held) or delta.address
            whole = held.get(there)
            part = None if whole is None else part_of(whole, delta)
            if (again := found.get(there, {}).get(adapter.label)) and is_transpose(again, delta):
                continue
            if part is None or delta.of_other_base or not alike(part, pairs.get(there)):
                unread.append(why_unread(adapter.label, there, whole, delta))
                continue
            pairs[there] = part
            found.setdefault(there, {})[adapter.label] = delta
        unread += [Unread(adapter.label, d.component_name, d.address, d.status) for d in adapter.incomparable]
        unread += [
            Unread(adapter.label, str(p.address), p.address, "no such weight in the base")
            for p in adapter.pending
        ]
    unread += _beside(unread, found, held)
    return [_candidates(pairs[address], deltas) for address, deltas in found.items()], unread


def _beside(
    unread: Sequence[Unread],
    found: dict[Address, dict[str, Delta]],
    held: Mapping[Address, Delta],
) -> list[Unread]:
    """Takes out updates of weights that another adapter changes in a way that cannot be replayed."""
    others = {gone.address for gone in unread} & set(found)
    why = "another update of it cannot be replayed"
    return [
        Unread(label, held[address].component_name, address, why)
        for address in sorted(others, key=str)
        for label in found.pop(address)
    ]


def _candidates(delta: Delta, deltas: Mapping[str, Delta]) -> Candidates:
    assert delta.pair is not None
    return Candidates(
        delta.component_name, delta.address, delta.pair, (delta.d_out, delta.d_in), dict(deltas)
    )


def replays(modules: Sequence[Candidates], tell: Tell = silent) -> Iterator[Replayed]:
    """The coefficients in every module; how a merger rounded in one is tried first in the next."""
    mergers = Mergers()
    for i, module in enumerate(modules):
        tell("replaying", i, len(modules))
        yield _replay(module, mergers)


def _replay(module: Candidates, mergers: Mergers) -> Replayed:
    """The coefficients of all updates of one module, as the mergers of the modules before rounded."""
    grid = module.pair.after.part(0, 0).dtype.name
    equal, lost = looked(module.pair.before, module.pair.after)
    labels = tuple(module.deltas)
    none = Replayed(module, labels, None, np.zeros(len(labels)), not equal, non_finite=lost)
    if lost:
        return replace(none, status=f"non-finite: {counted(lost, 'value')} of the merged model")
    if grid not in GRIDS:
        return replace(none, status=f"stored as {grid}")
    if any(delta.scale is None for delta in module.deltas.values()):
        return replace(none, status="the adapter does not say its scale")
    rows, columns = module.shape[::-1] if module.pair.turned else module.shape
    chosen = _chosen(rows, columns)
    before, after = (_rows(values, chosen, columns) for values in (module.pair.before, module.pair.after))
    updates = np.stack(
        [_update_rows(delta.open(), chosen, module.pair.turned).ravel() for delta in module.deltas.values()]
    )
    if not (np.isfinite(before).all() and np.isfinite(updates).all()):
        return replace(none, status="non-finite: values of the base or of an update")
    weights = np.einsum("kn,kn->k", updates, updates, dtype=np.float64)
    there = weights > 0
    zero = tuple(label for label, is_there in zip(labels, there, strict=True) if not is_there)
    if not there.any():
        return replace(none, zero=zero, status=ZERO)
    moving = [label for label in labels if label not in zero]
    said = told(updates[there], moving, module.sums, module.expected)
    found, _ = mergers.read(before, after, said.updates, said.labels, grid)
    weights = np.einsum("kn,kn->k", said.updates, said.updates, dtype=np.float64)
    return Replayed(module, said.labels, found, weights, not equal, zero=zero, members=said.members)


def _chosen(rows: int, columns: int) -> NDArray[np.int64]:
    """All rows, or stretches of them spread evenly, about `SAMPLE` values."""
    if rows * columns <= SAMPLE:
        return np.arange(rows)
    stretches = max(SAMPLE // (columns * _STRETCH), 1)
    starts = np.linspace(0, max(rows - _STRETCH, 0), stretches).astype(np.int64)
    return np.unique((starts[:, None] + np.arange(_STRETCH)).ravel().clip(0, rows - 1))


def _rows(values: Any, rows: NDArray[np.int64], columns: int) -> Array:
    """The chosen rows of a stored matrix, flat and exact in float32 (float64 for float64)."""
    ends = np.flatnonzero(np.diff(rows) > 1)
    firsts, lasts = rows[np.r_[0, ends + 1]], rows[np.r_[ends, len(rows) - 1]]
    parts = [
        values.part(int(a) * columns, (int(b) + 1) * columns) for a, b in zip(firsts, lasts, strict=True)
    ]
    whole = np.concatenate(parts)
    return whole if whole.dtype == np.float64 else whole.astype(np.float32)


def _update_rows(update: Update, rows: NDArray[np.int64], turned: bool) -> Array:
    scale = 1.0 if update.scale is None else update.scale
    if not isinstance(update, Factored):
        matrix = (update.matrix.T if turned else update.matrix)[rows]
        return np.asarray(matrix.astype(np.float64) * scale).astype(np.float32)
    B, A = (update.B, update.A[:, rows]) if turned else (update.B[rows], update.A)
    B, A = (factor.astype(np.float32, copy=False) for factor in (B, A))
    product = A.T @ B.T if turned else B @ A
    return np.asarray(product * np.float32(scale))


def summed(modules: Sequence[Candidates], expected: Mapping[str, float]) -> list[Candidates]:
    """The same modules, with the sums of adapters that a merge tells where it does not tell each."""
    labels = list(dict.fromkeys(label for module in modules for label in module.deltas))
    sums = sums_of(_gram(modules, labels), labels) if len(labels) > 1 else None
    return [replace(module, sums=sums, expected=expected) for module in modules]


def _gram(modules: Sequence[Candidates], labels: Sequence[str]) -> NDArray[np.float64]:
    """⟨ΔWₐ, ΔW_b⟩ of whole updates, over rows spread over every module."""
    total = np.zeros((len(labels), len(labels)))
    for module in modules:
        rows, columns = module.shape[::-1] if module.pair.turned else module.shape
        chosen = _chosen(rows, columns)[:: max(1, rows * columns // UNIT)]
        held = {
            label: _update_rows(delta.open(), chosen, module.pair.turned).ravel().astype(np.float64)
            for label, delta in module.deltas.items()
        }
        if not all(np.isfinite(update).all() for update in held.values()):
            continue
        for i, a in enumerate(labels):
            for j, b in enumerate(labels):
                if a in held and b in held:
                    total[i, j] += float(held[a] @ held[b])
    return total


def finite(value: float | None) -> float | None:
    """The number, or `None` where it is none."""
    return None if value is None or not math.isfinite(value) else float(value)
