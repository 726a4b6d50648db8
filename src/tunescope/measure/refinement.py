"""Projections that one spelling fuses and another keeps apart, cut into the parts that both can be told in.

The rows of a fused projection are those of its parts, one after the other: query, key, value; gate, up.
Key and value have equally many. Nothing that is said of one model alone comes through here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from tunescope.address import Address
from tunescope.delta import Delta, Dense, Factored, Pair, Stretch, Update

# Components that hold others, in the order of their rows.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "ATTN_QKV": ("ATTN_Q", "ATTN_K", "ATTN_V"),
    "ATTN_ADD_QKV": ("ATTN_ADD_Q", "ATTN_ADD_K", "ATTN_ADD_V"),
    "XATTN_QKV": ("XATTN_Q", "XATTN_K", "XATTN_V"),
    "XATTN_KV": ("XATTN_K", "XATTN_V"),
    "MLP_GATE_UP": ("MLP_GATE", "MLP_UP"),
    # The first projection of a single block [black-forest-labs/flux: src/flux/modules/layers.py].
    "LINEAR1": ("ATTN_Q", "ATTN_K", "ATTN_V", "MLP_UP"),
}
Shapes = Mapping[Address, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a fused projection: where it is, and which rows of the whole are its."""

    address: Address
    start: int
    stop: int


def parts(fused: Address, shape: tuple[int, int], others: Shapes) -> list[Part]:
    """The weights among `others` that are parts of a fused one of `shape` (d_out, d_in), with their rows.

    Empty where there are none, or where their shapes do not make up the whole.

    >>> q, v = Address("model", 0, "attn.to_q"), Address("model", 0, "attn.to_v")
    >>> found = parts(Address("model", 0, "attn.to_qkv"), (12, 8), {q: (8, 8), v: (2, 8)})
    >>> [(part.address.module_type, part.start, part.stop) for part in found]
    [('attn.to_q', 0, 8), ('attn.to_v', 10, 12)]
    """
    names = _PARTS.get(fused.component, ())
    chosen = [_of_component(fused, name, others) for name in names]
    rows = _rows([None if a is None else others[a][0] for a in chosen], shape)
    if rows is None or any(a is not None and others[a][1] != shape[1] for a in chosen):
        return []
    starts = [sum(rows[:i]) for i in range(len(rows))]
    return [
        Part(address, start, start + count)
        for address, start, count in zip(chosen, starts, rows, strict=True)
        if address is not None
    ]


def _of_component(fused: Address, component: str, others: Shapes) -> Address | None:
    """The one weight of that component below the fused one's module, else anywhere in its layer."""
    place = (fused.stack, fused.layer, fused.expert)
    there = [a for a in others if (a.stack, a.layer, a.expert) == place and a.component == component]
    beside = [a for a in there if _above(a) == _above(fused)]
    found = beside or there
    return found[0] if len(found) == 1 else None


def _above(address: Address) -> str:
    return address.module_type.rpartition(".")[0]


def _rows(known: Sequence[int | None], shape: tuple[int, int]) -> list[int] | None:
    """Rows of every part, from those of the parts that are there; `None` where they do not add up."""
    total, d_in = shape
    if all(count is None for count in known):
        return None
    if len(known) == 2:
        rows = [total // 2, total // 2]
    elif len(known) == 4:
        rows = [d_in, d_in, d_in, total - 3 * d_in]
    else:
        query, key = known[0], known[1] or known[2]
        key = (total - (query or 0)) // 2 if key is None else key
        rows = [total - 2 * key, key, key]
    fits = sum(rows) == total and min(rows) > 0
    agrees = all(count in (None, row) for count, row in zip(known, rows, strict=True))
    return rows if fits and agrees else None


def refined(a: Sequence[Delta], b: Sequence[Delta]) -> list[tuple[Delta, Delta]]:
    """Pairs of updates of the same part of a weight, where one model fuses what the other does not.

    Each has the address of the part; the one that was cut out reads its rows alone.
    """
    return [*_cut(a, b), *((part, slice_) for slice_, part in _cut(b, a))]


def _cut(fusing: Sequence[Delta], apart: Sequence[Delta]) -> Iterator[tuple[Delta, Delta]]:
    mine = {delta.address for delta in fusing}
    theirs = {delta.address: delta for delta in apart if delta.address not in mine}
    layers: dict[Any, dict[Address, tuple[int, int]]] = {}
    for address, delta in theirs.items():
        layers.setdefault((address.stack, address.layer), {})[address] = (delta.d_out, delta.d_in)
    both = {delta.address for delta in apart}
    for delta in fusing:
        near = layers.get((delta.address.stack, delta.address.layer), {})
        if delta.address in both or not near:
            continue
        whole = partial(_opened, delta)
        for part in parts(delta.address, (delta.d_out, delta.d_in), near):
            other = theirs[part.address]
            yield _slice(delta, whole, part, other), other


def cut_apart(deltas: Sequence[Delta], others: Sequence[Delta]) -> list[Delta]:
    """The deltas, each fused one of which `others` hold parts as these parts.

    Rows of it that are no part there stay together under its own address.
    """
    layers: dict[Any, dict[Address, Delta]] = {}
    for delta in others:
        layers.setdefault((delta.address.stack, delta.address.layer), {})[delta.address] = delta
    return [cut for delta in deltas for cut in _apart(delta, layers)]


def _apart(delta: Delta, layers: Mapping[Any, Mapping[Address, Delta]]) -> Iterator[Delta]:
    near = layers.get((delta.address.stack, delta.address.layer), {})
    named: list[Part] = []
    if near and delta.address.component in _PARTS and not (delta.pair and delta.pair.turned):
        shapes = {address: (other.d_out, other.d_in) for address, other in near.items()}
        named = parts(delta.address, (delta.d_out, delta.d_in), shapes)
    if not named:
        yield delta
        return
    whole, end = partial(_opened, delta), 0
    for part in named:
        if part.start > end:
            yield _slice(delta, whole, Part(delta.address, end, part.start), delta)
        yield _slice(delta, whole, part, near[part.address])
        end = part.stop
    if end < delta.d_out:
        yield _slice(delta, whole, Part(delta.address, end, delta.d_out), delta)


@lru_cache(maxsize=2)
def _opened(delta: Delta) -> Update:
    """An update, kept until two others were asked for: its parts are read one after the other."""
    return delta.open()


def _slice(delta: Delta, whole: Any, part: Part, other: Delta) -> Delta:
    return replace(
        delta,
        address=part.address,
        component_name=other.component_name,
        d_out=part.stop - part.start,
        open=partial(_rows_of, whole, part.start, part.stop),
        pair=_pair_of(delta, part),
        base=None,
    )


def _pair_of(delta: Delta, part: Part) -> Pair | None:
    if delta.pair is None or delta.pair.turned:
        return None
    span = part.start * delta.d_in, (part.stop - part.start) * delta.d_in
    return Pair(Stretch(delta.pair.before, *span), Stretch(delta.pair.after, *span))


def _rows_of(whole: Any, start: int, stop: int) -> Update:
    update = whole()
    if isinstance(update, Factored):
        return replace(update, B=update.B[start:stop])
    assert isinstance(update, Dense)
    return replace(update, matrix=update.matrix[start:stop])
