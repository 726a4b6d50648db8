"""Projections that one spelling fuses and another keeps apart, cut into the parts that both can be told in.

The rows of a fused projection are those of its parts, one after the other: query, key, value; gate, up.
Key and value have equally many. Weights that two spellings keep with their halves the other way round are
brought into one order. Nothing that is said of one model alone comes through here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from tunescope.address import Address
from tunescope.address.fused import Part, counterpart, parts
from tunescope.delta import Delta, Dense, Factored, Pair, Picked, Stretch, Update


def refined(a: Sequence[Delta], b: Sequence[Delta]) -> list[tuple[Delta, Delta]]:
    """Pairs of updates of the same part of a weight, where one model fuses what the other does not.

    Each has the address of the part; the one that was cut out reads its rows alone. So do those of a weight
    that the other model keeps with its halves exchanged.
    """
    return [*_cut(a, b), *((part, slice_) for slice_, part in _cut(b, a)), *_renamed(a, b)]


def _renamed(a: Sequence[Delta], b: Sequence[Delta]) -> Iterator[tuple[Delta, Delta]]:
    """Weights outside and inside blocks that the other model has under a name of another order of rows."""
    mine, theirs = ({delta.address: delta for delta in deltas} for deltas in (a, b))
    layers: dict[Any, dict[Address, tuple[int, int]]] = {}
    for address, delta in theirs.items():
        if address not in mine:
            layers.setdefault((address.stack, address.layer), {})[address] = (delta.d_out, delta.d_in)
    for address, delta in mine.items():
        near = layers.get((address.stack, address.layer), {})
        if address not in theirs and near and not (delta.pair and delta.pair.turned):
            found = counterpart(address, (delta.d_out, delta.d_in), near)
            if found is not None:
                yield _as_there(delta, theirs[found.address], found.exchanged), theirs[found.address]


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
    shape, shapes = (delta.d_out, delta.d_in), {a: (other.d_out, other.d_in) for a, other in near.items()}
    if not near or (delta.pair and delta.pair.turned):
        yield delta
    elif named := parts(delta.address, shape, shapes):
        yield from _in_order(delta, named, near)
    elif delta.address not in near and (found := counterpart(delta.address, shape, shapes)):
        yield _as_there(delta, near[found.address], found.exchanged)
    else:
        yield delta


def _in_order(delta: Delta, named: Sequence[Part], near: Mapping[Address, Delta]) -> Iterator[Delta]:
    """The parts of a fused update, and what lies between them under its own address."""
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


def _as_there(delta: Delta, other: Delta, exchanged: bool) -> Delta:
    """An update under the name of another spelling, in its order of rows."""
    named = replace(delta, address=other.address, component_name=other.component_name, base=None)
    if not exchanged:
        return named
    half, pair = delta.d_out // 2, delta.pair
    if pair is not None:
        rows = (*range(half, delta.d_out), *range(half))
        pair = Pair(Picked(pair.before, rows, delta.d_in), Picked(pair.after, rows, delta.d_in))
    return replace(named, open=partial(_halves, delta, half), pair=pair)


def _halves(delta: Delta, half: int) -> Update:
    update = delta.open()
    if isinstance(update, Factored):
        return replace(update, B=np.roll(update.B, half, axis=0))
    return replace(update, matrix=np.roll(update.matrix, half, axis=0))


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
