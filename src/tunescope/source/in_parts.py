"""Fused weights of one whole model in the parts in which another one keeps them.

A loader joins or cuts them; files hold either (qkv_proj or q_proj, k_proj, v_proj; the experts of a layer in
one tensor or one by one).
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from tunescope.address import Address, as_loaded, parse
from tunescope.address.fused import PARTS, parts
from tunescope.source.expert_weights import FUSED, TURNED, halves, stretch
from tunescope.source.files.tensors import LazyTensor, Ledger, is_float
from tunescope.source.whole import WholeModel

_BIAS = ".bias"


@dataclass
class PartsLedger(Ledger):
    """A ledger of whole tensors that is told of their parts; `whole` names the tensor of every part."""

    whole: Mapping[str, str] = field(default_factory=dict)

    def used(self, names: Iterable[str], reason: str = "") -> None:
        """Mark tensors, or those that hold these parts, as part of a ΔW."""
        super().used((self.whole.get(name, name) for name in names), reason)

    def left(self, names: Iterable[str], reason: str) -> None:
        """Mark the same as not part of any ΔW, and why."""
        super().left((self.whole.get(name, name) for name in names), reason)


def in_parts(model: WholeModel, other: WholeModel) -> tuple[WholeModel, dict[str, str]]:
    """The model with what the other keeps in parts cut into these, named as there, and the whole of each.

    A weight of which the other lacks a part, or has it in another shape, stays whole.
    """
    theirs = {name: tensor for name, tensor in other.tensors.items() if name not in model.tensors}
    mine = {name: tensor for name, tensor in model.tensors.items() if name not in other.tensors}
    near = _by_place(theirs)
    kind = str(model.config.get("model_type") or other.config.get("model_type") or "")
    cut: dict[str, dict[str, LazyTensor]] = {}
    for name, tensor in mine.items():
        if near and is_float(tensor) and (found := dict(_parts(name, tensor, near, kind))):
            cut[name] = found
    if not cut:
        return model, {}
    tensors: dict[str, LazyTensor] = {}
    for name, tensor in model.tensors.items():
        tensors.update(cut.get(name, {name: tensor}))
    return replace(model, tensors=tensors), {part: name for name, held in cut.items() for part in held}


_Near = Mapping[tuple[str, int | None, str], Mapping[Address, tuple[str, LazyTensor]]]


def _by_place(tensors: Mapping[str, LazyTensor]) -> _Near:
    """Weights and biases by stack, layer and which of the two they are, experts in a loaded model's words."""
    found: dict[tuple[str, int | None, str], dict[Address, tuple[str, LazyTensor]]] = {}
    for name, tensor in tensors.items():
        address, end = _place(name)
        if len(tensor.shape) == (1 if end else 2):
            found.setdefault((address.stack, address.layer, end), {})[as_loaded(address)] = name, tensor
    return found


def _place(name: str) -> tuple[Address, str]:
    end = _BIAS if name.endswith(_BIAS) else ""
    return parse(name.removesuffix(end)), end


def _parts(name: str, tensor: LazyTensor, near: _Near, kind: str) -> Iterator[tuple[str, LazyTensor]]:
    address, end = _place(name)
    there = near.get((address.stack, address.layer, end), {})
    if len(tensor.shape) == 3 and FUSED.search(name):
        yield from _experts(address, tensor, there, kind)
    elif address.component in PARTS and len(tensor.shape) == (1 if end else 2):
        shapes = {a: _matrix(held.shape) for a, (_, held) in there.items()}
        found = parts(address, _matrix(tensor.shape), shapes)
        columns = math.prod(tensor.shape[1:])
        if sum(part.stop - part.start for part in found) == tensor.shape[0]:
            for part in found:
                named, held = there[part.address]
                yield named, stretch(tensor, part.start * columns, held.shape)


def _experts(
    address: Address, tensor: LazyTensor, there: Mapping[Address, tuple[str, LazyTensor]], kind: str
) -> Iterator[tuple[str, LazyTensor]]:
    experts, rows, columns = tensor.shape
    found: list[tuple[str, LazyTensor]] = []
    for expert in range(experts):
        one = as_loaded(replace(address, expert=expert))
        for part, begin, shape in [(one, 0, (rows, columns)), *halves(one, (rows, columns), kind)]:
            name, held = there.get(part, ("", tensor))
            if name and kind not in TURNED and held.shape == shape:
                found.append((name, stretch(tensor, expert * rows * columns + begin, shape)))
    if sum(math.prod(part.shape) for _, part in found) == tensor.size:
        yield from found


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[0], math.prod(shape[1:])
