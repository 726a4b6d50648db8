"""The base weight of every update, matched by place and shape whatever stands in front of its name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from tunescope.address import Address, parse_all
from tunescope.delta import ABSENT, UNFIT, Base, Delta, Pending
from tunescope.errors import Notice
from tunescope.source.base_parts import fused_or_cut
from tunescope.source.denoisers import behind_prefix
from tunescope.source.expert_weights import TURNED, expert_weights
from tunescope.source.files.tensors import LazyTensor, is_float
from tunescope.source.matching import address_place, matched
from tunescope.source.quantised import weight_name
from tunescope.source.replication import replicated
from tunescope.source.stored import stored_turned
from tunescope.source.tied import table_of
from tunescope.source.whole import WholeModel
from tunescope.words import counted


def replicated_base(base: WholeModel, config: Mapping[str, Any]) -> WholeModel:
    """A base with its layers as an adapter's config lays them; itself where the config lays none."""
    if not config.get("layer_replication"):
        return base
    return replace(base, tensors=replicated(base.tensors, config))


def with_base_weights(deltas: Sequence[Delta], base: WholeModel, transposed: bool = False) -> list[Delta]:
    """The deltas with their base weights, wherever the base keeps them.

    `transposed`: it keeps them as (d_in, d_out), which of a square weight the shape does not tell.
    """
    base = _as_spelled(base, [delta.address for delta in deltas])
    biases = any(delta.d_in == 1 for delta in deltas)
    held = {**_matrices(base), **(_biases(base) if biases else {})}
    kind = str(base.config.get("model_type") or "")
    if any(delta.address.expert is not None for delta in deltas):
        held = {**expert_weights(base.tensors, kind), **held}
    places = {a: address_place(a, _matrix(tensor.shape)) for a, tensor in held.items()}
    theirs = matched({d.address: address_place(d.address, (d.d_out, d.d_in)) for d in deltas}, places)
    shapes = {a: tensor.shape for a, tensor in held.items()}
    meant = {
        d.address: theirs.get(d.address) or table_of(d.address, (d.d_out, d.d_in), shapes) for d in deltas
    }
    there = {address: held[key] for address, key in meant.items() if key is not None}
    missing = {d.address: (d.d_out, d.d_in) for d in deltas if d.address not in there}
    there |= fused_or_cut(missing, held)
    return [
        _beside(d, there[d.address], transposed, kind) if d.address in there
        else replace(d, status=_joined(d.status, ABSENT))
        for d in deltas
    ]  # fmt: skip


def _as_spelled(base: WholeModel, addresses: Sequence[Address]) -> WholeModel:
    """The base under its own names, or those behind a prefix, by which more of these addresses meet it."""
    other = replace(base, tensors=behind_prefix(base.tensors))
    if other.tensors is base.tensors:
        return base
    wanted = set(addresses)
    met = [len(wanted & set(_matrices(one))) for one in (base, other)]
    return base if met[0] >= met[1] else other


def made_whole(pending: Sequence[Pending], base: WholeModel) -> tuple[list[Delta], list[Notice]]:
    """The updates that multiply the base's weights, and a notice of those that meet none that fits."""
    base = _as_spelled(base, [one.address for one in pending])
    held = _matrices(base) if pending else {}
    # A rotation says the rows of its weight alone, so that shapes do not vote.
    places = {a: address_place(a, ()) for a in held}
    theirs = matched({p.address: address_place(p.address, ()) for p in pending}, places)
    made, missed = [], []
    for one in pending:
        there = theirs.get(one.address)
        found = "the base has no such weight" if there is None else _multiplied(one, held[there])
        if isinstance(found, str):
            missed.append((one.tensors[0], found))
        else:
            made.append(found)
    if not missed:
        return made, []
    text = (
        f"{len(missed)} of {counted(len(pending), 'module')} "
        f"{'multiplies' if len(missed) == 1 else 'multiply'} a weight that the base does not have so"
    )
    return made, [Notice("needs-base", f"{text}: {missed[0][0]}: {missed[0][1]}", missed[0][0])]


def _multiplied(one: Pending, tensor: LazyTensor) -> Delta | str:
    """The update of one module, or why the base's weight is not one that it multiplies."""
    if not is_float(tensor):
        return tensor.lacking or f"the base holds it as {tensor.dtype}, quantised"
    shape = _matrix(tensor.shape)
    for turned in (False, True):
        size = shape[::-1] if turned else shape
        if one.fits(size):
            base = Base(tensor, turned, kernel=len(tensor.shape) > 2)
            return Delta(
                one.address, "", one.method, *size, None, one.alpha, 1.0, one.tensors,
                partial(one.make, base, size), base=base,
            )  # fmt: skip
    inputs = one.d_in or ("?" if one.every == 1 else f"a multiple of {one.every}")
    return f"it is {shape[0]}×{shape[1]}, and {one.d_out or '?'}×{inputs} is needed"


def _matrices(base: WholeModel) -> Mapping[Address, LazyTensor]:
    named = {
        weight_name(n): t for n, t in base.tensors.items() if len(t.shape) >= 2 and not n.endswith(".bias")
    }
    return dict(zip(parse_all(named), named.values(), strict=True))


def _biases(base: WholeModel) -> Mapping[Address, LazyTensor]:
    named = {n: t for n, t in base.tensors.items() if len(t.shape) == 1 and n.endswith(".bias")}
    return dict(zip(parse_all(named), named.values(), strict=True))


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[0], int(np.prod(shape[1:]))


def _beside(delta: Delta, tensor: LazyTensor, transposed: bool, kind: str) -> Delta:
    if not is_float(tensor):
        why = tensor.lacking or f"the base holds it as {tensor.dtype}, quantised"
        return replace(delta, status=_joined(delta.status, why))
    shape = _matrix(tensor.shape)
    for turned in _orders(delta, tensor, transposed, kind):
        if (shape[::-1] if turned else shape) == (delta.d_out, delta.d_in):
            return replace(delta, base=Base(tensor, turned))
    what = f"{UNFIT} {shape[0]}×{shape[1]}"
    return replace(delta, status=_joined(delta.status, what))


def _orders(delta: Delta, tensor: LazyTensor, transposed: bool, kind: str) -> tuple[bool, ...]:
    """Whether the base may store the weight (d_in, d_out), the likeliest first."""
    if delta.address.expert is not None:
        return (kind in TURNED, kind not in TURNED)
    table = any("lora_embedding" in name for name in delta.tensors)
    if transposed or table or stored_turned(tensor.name, delta.address, tensor.shape, kind):
        return (True, False)
    return (False,)


def _joined(status: str, more: str) -> str:
    return more if status == "ok" else f"{status}; {more}"
