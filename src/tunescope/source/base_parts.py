"""Base weights of updates where one fuses what the other keeps in parts (qkv, gate and up, `linear1`)."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce

import numpy as np

from tunescope.address import Address
from tunescope.address.fused import PARTS, Shapes, counterpart, parts
from tunescope.source.expert_weights import stacked, stretch
from tunescope.source.files.tensors import LazyTensor


def fused_or_cut(wanted: Shapes, held: Mapping[Address, LazyTensor]) -> dict[Address, LazyTensor]:
    """The base's weight of each wanted (d_out, d_in) that it keeps in parts, or as a part of a fused one.

    The rows of parts come one under the other; a part is a run of rows of the fused weight. What lacks a
    part, or does not add up to the rows that are wanted, is left out. A weight that the base has with its
    halves the other way round comes in the order that is wanted.
    """
    if not wanted:
        return {}
    layers: dict[tuple[str, int | None], dict[Address, LazyTensor]] = {}
    for address, tensor in held.items():
        if len(tensor.shape) >= 2:
            layers.setdefault((address.stack, address.layer), {})[address] = tensor
    found = {}
    for address, shape in wanted.items():
        near = layers.get((address.stack, address.layer), {})
        weight = _fused(address, shape, near) if address.component in PARTS else _cut(address, shape, near)
        weight = _renamed(address, shape, near) if weight is None else weight
        if weight is not None:
            found[address] = weight
    return found


def _fused(address: Address, shape: tuple[int, int], near: Mapping[Address, LazyTensor]) -> LazyTensor | None:
    shapes = {a: _matrix(tensor) for a, tensor in near.items()}
    found = parts(address, shape, shapes)
    if not found or sum(part.stop - part.start for part in found) != shape[0]:
        return None
    return reduce(stacked, (near[part.address] for part in found))


def _cut(address: Address, shape: tuple[int, int], near: Mapping[Address, LazyTensor]) -> LazyTensor | None:
    for whole, tensor in near.items():
        if whole.component not in PARTS:
            continue
        columns = _matrix(tensor)[1]
        for part in parts(whole, _matrix(tensor), {address: shape}):
            return stretch(tensor, part.start * columns, (part.stop - part.start, columns))
    return None


def _renamed(
    address: Address, shape: tuple[int, int], near: Mapping[Address, LazyTensor]
) -> LazyTensor | None:
    found = counterpart(address, shape, {a: _matrix(tensor) for a, tensor in near.items()})
    if found is None:
        return None
    held = near[found.address]
    if not found.exchanged:
        return held
    return replace(held, read=lambda: np.roll(held.read(), shape[0] // 2, axis=0), read_part=None, fill=None)


def _matrix(tensor: LazyTensor) -> tuple[int, int]:
    return tensor.shape[0], math.prod(tensor.shape[1:])
