"""Weights stored as float8 codes with a scale beside them, read as code · scale a stretch at a time."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np

from tunescope.delta import Array, read_only
from tunescope.source.files.tensors import LazyTensor, is_float

PART = "part of a quantised weight"
_LACKING = "quantised (float8 with a scale of another shape): its numbers are codes, not weights"
# The side of a block where the scales are as many as such blocks, as DeepSeek and transformers write it.
_BLOCK = 128
# How the scale of a weight is called: behind the weight's own name, or in the place of its last word.
# DeepSeek and transformers (`finegrained_fp8`), fbgemm and compressed-tensors; ComfyUI and musubi-tuner,
# DeepSeek's own inference code.
_BEHIND, _INSTEAD = ("_scale_inv", "_scale"), ("scale_weight", "scale")
# Scales of inputs, and the mark that a file has such weights.
_NO_WEIGHT = (".scale_input", "_activation_scale", "_activation_scale_inv")


def unscaled(tensors: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """The same tensors, with weights in the place of float8 codes that have a scale.

    The scales stay as parts, so that every tensor is accounted for; nothing is read now. Codes whose scale
    does not fit them have no weight.
    """
    found = dict(tensors)
    for name, tensor in tensors.items():
        if not tensor.dtype.startswith("F8_") or not is_float(tensor):
            continue
        if name.endswith(_NO_WEIGHT) or name.rpartition(".")[2] == "scaled_fp8":
            found[name] = _part(tensor)
            continue
        beside = next((n for n in _scales(name) if n in tensors and is_float(tensors[n])), None)
        if beside is not None:
            found[name] = _weight(tensor, tensors[beside])
            found[beside] = _part(tensors[beside])
            inputs = f"{name.rpartition('.')[0]}.scale_input"
            found |= {inputs: _part(tensors[inputs])} if inputs in tensors else {}
    return found


def _scales(name: str) -> list[str]:
    module = name.rpartition(".")[0]
    return [*(name + end for end in _BEHIND), *(f"{module}.{word}" for word in _INSTEAD)]


def _part(tensor: LazyTensor) -> LazyTensor:
    return replace(tensor, supported=False, lacking=PART)


def _weight(codes: LazyTensor, scale: LazyTensor) -> LazyTensor:
    sides = _sides(codes.shape, scale.shape)
    if sides is None:
        return replace(codes, supported=False, lacking=_LACKING)
    held = _Scaled(codes, scale, sides)
    return replace(codes, dtype="F32", nbytes=4 * codes.size, read=held.whole, read_part=held.part, fill=None)


def _sides(shape: tuple[int, ...], scales: tuple[int, ...]) -> tuple[int, ...] | None:
    """The sides of the blocks that share a scale; `None` where the scales are of no such blocks.

    >>> _sides((256, 512), ()), _sides((256, 512), (256, 1)), _sides((200, 300), (2, 3))
    ((256, 512), (1, 512), (128, 128))
    >>> _sides((4, 4), (3, 3)) is None
    True
    """
    if math.prod(scales) == 1:
        return shape
    if len(scales) < len(shape):
        scales = (*scales, *[1] * (len(shape) - len(scales)))
    if len(scales) != len(shape):
        return None
    if all(-(-n // _BLOCK) == s for n, s in zip(shape[-2:], scales[-2:], strict=True)) and scales[-1] > 1:
        ahead = zip(shape[:-2], scales[:-2], strict=True)
        return (*(n // s if s and n % s == 0 else 0 for n, s in ahead), _BLOCK, _BLOCK)
    sides = [n // s if s and n % s == 0 else 0 for n, s in zip(shape, scales, strict=True)]
    return tuple(sides) if all(sides) else None


class _Scaled:
    """A weight of float8 codes with a scale for each block: W = code · scale, float32."""

    def __init__(self, codes: LazyTensor, scale: LazyTensor, sides: tuple[int, ...]) -> None:
        self.codes, self.scale, self.sides = codes, scale, sides

    @cached_property
    def _scales(self) -> Array:
        count = [-(-n // side) for n, side in zip(self.codes.shape, self.sides, strict=True)]
        return self.scale.read().astype(np.float32).reshape(count)

    def whole(self) -> Array:
        """The weight in its shape."""
        return self.part(0, self.codes.size).reshape(self.codes.shape)

    def part(self, start: int, stop: int) -> Array:
        """Values `start` to `stop` of the flat weight."""
        if stop <= start:
            return np.empty(0, np.float32)
        columns = self.codes.shape[-1] if self.codes.shape else 1
        first, last = start // columns, -(-stop // columns)
        codes = self.codes.part(first * columns, last * columns).reshape(-1, columns).astype(np.float32)
        flat = (codes * self._scales_of(first, last, columns)).reshape(-1)
        return read_only(flat[start - first * columns : stop - first * columns])

    def _scales_of(self, first: int, last: int, columns: int) -> Array:
        """The scale of every value in rows `first` to `last`, in a shape that broadcasts."""
        if self._scales.size == 1:
            return self._scales.reshape(1, 1)
        rows = np.unravel_index(np.arange(first, last), self.codes.shape[:-1] or (1,))
        blocks = tuple(row // side for row, side in zip(rows, self.sides[:-1], strict=True))
        return np.repeat(self._scales[blocks], self.sides[-1], axis=1)[:, :columns]
