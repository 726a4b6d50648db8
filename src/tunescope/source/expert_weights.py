"""The base weight of every expert, where an adapter stacks the experts that files number, or the other way.

transformers keeps the experts of a layer in one tensor, gate and up projection one after the other, of which
most files hold a tensor for each [huggingface/transformers: conversion_mapping.py].
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from tunescope.address import Address, as_loaded, parse
from tunescope.delta import Array
from tunescope.source.files.tensors import LazyTensor, is_float

FUSED = re.compile(r"(^|\.)experts\.[A-Za-z_]\w*(\.weight)?$")
# Models whose fused experts are stored (experts, d_in, d_out), gate and up alternating or not.
TURNED = frozenset({"gpt_oss", "llama4", "llama4_text"})
_BOTH = "gate_up_proj"


def expert_weights(tensors: Mapping[str, LazyTensor], kind: str) -> dict[Address, LazyTensor]:
    """The weights of single experts by address, of a base of this `model_type`.

    Each stands under the name of its own projection, and gate and up of one expert under `gate_up_proj` too.
    """
    found = dict(_single(tensors, kind))
    for address, gate in list(found.items()):
        owner, _, name = address.module_type.rpartition(".")
        up = found.get(replace(address, module_type=f"{owner}.up_proj"))
        both = replace(address, module_type=f"{owner}.{_BOTH}")
        if name == "gate_proj" and up is not None and both not in found:
            found[both] = stacked(gate, up)
    return found


def _single(tensors: Mapping[str, LazyTensor], kind: str) -> Iterator[tuple[Address, LazyTensor]]:
    for name, tensor in tensors.items():
        address = parse(name)
        if address.expert is not None and len(tensor.shape) == 2:
            yield as_loaded(address), tensor
        elif len(tensor.shape) == 3 and FUSED.search(name):
            yield from _of_fused(address, tensor, kind)


def _of_fused(address: Address, tensor: LazyTensor, kind: str) -> Iterator[tuple[Address, LazyTensor]]:
    experts, rows, columns = tensor.shape
    address = as_loaded(replace(address, expert=0))
    for expert in range(experts):
        one, begin = replace(address, expert=expert), expert * rows * columns
        yield one, stretch(tensor, begin, (rows, columns))
        for part, at, half in halves(one, (rows, columns), kind):
            yield part, stretch(tensor, begin + at, half)


def halves(address: Address, shape: tuple[int, int], kind: str) -> list[tuple[Address, int, tuple[int, int]]]:
    """Gate and up projection of one expert in its `gate_up_proj`: where each begins there, and its shape.

    None of any other projection, and of models that do not keep the one above the other.
    """
    owner, _, name = address.module_type.rpartition(".")
    rows, columns = shape
    if name != _BOTH or kind in TURNED or rows % 2:
        return []
    half = rows // 2, columns
    named = (replace(address, module_type=f"{owner}.{part}") for part in ("gate_proj", "up_proj"))
    return [(part, at * math.prod(half), half) for at, part in enumerate(named)]


def stretch(tensor: LazyTensor, begin: int, shape: tuple[int, ...]) -> LazyTensor:
    """A run of values of a tensor as a tensor of its own."""

    def part(start: int, stop: int) -> Array:
        return tensor.part(begin + start, begin + stop)

    return _made(tensor, shape, part)


def stacked(above: LazyTensor, below: LazyTensor) -> LazyTensor:
    """Two matrices of one width, the second under the first."""
    readable = is_float(above) and is_float(below) and above.shape[1] == below.shape[1]
    if not readable or above.dtype != below.dtype:
        why = above.lacking or below.lacking or "the parts of a fused weight do not fit in one"
        return replace(above, supported=False, lacking=why)

    def part(start: int, stop: int) -> Array:
        middle = above.size
        first = above.part(min(start, middle), min(stop, middle))
        return np.concatenate([first, below.part(max(start - middle, 0), max(stop - middle, 0))])

    return _made(above, (above.shape[0] + below.shape[0], above.shape[1]), part)


def _made(like: LazyTensor, shape: tuple[int, ...], part: Callable[[int, int], Array]) -> LazyTensor:
    size = math.prod(shape)
    return replace(
        like, shape=shape, read=lambda: part(0, size).reshape(shape), read_part=part, fill=None,
        nbytes=like.nbytes // max(like.size, 1) * size,
    )  # fmt: skip
