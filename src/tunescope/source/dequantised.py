"""Weights that bitsandbytes packed (nf4, fp4, int8), read through its own arithmetic a stretch at a time.

Weights of float8 with a scale are read as well (`scaled`).
"""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from importlib.util import find_spec
from typing import Any

import ml_dtypes
import numpy as np

from tunescope.delta import Array, read_only
from tunescope.errors import BadInput, raised_by
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.scaled import unscaled

_STATE = ".quant_state.bitsandbytes__"
_SCALES = ".SCB"
# The dtype that a quant state names -> ours. A 4-bit weight is computed with in that dtype.
_DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
_NESTED = ("nested_absmax", "nested_quant_map")


class _UndescribedError(Exception):
    """What stands beside packed codes does not say how they were packed."""


def dequantised(tensors: Mapping[str, LazyTensor], file: object) -> dict[str, LazyTensor]:
    """The same tensors, with weights in the place of scaled float8 and of what bitsandbytes packed.

    The latter where bitsandbytes is installed. Their parts stay, so that every tensor is accounted for. Only
    the small descriptions of the packing are read now. Raises `BadInput` when a weight is read whose scales
    cannot be unpacked.
    """
    found = unscaled(tensors)
    if not any(_STATE in name or name.endswith(_SCALES) for name in tensors) or not installed():
        return found
    for name in tensors:
        # What does not describe its weight leaves codes, which are named as such.
        with suppress(_UndescribedError):
            weight, _, kind = name.partition(_STATE)
            if kind in ("nf4", "fp4"):
                found[weight] = _four_bits(weight, tensors, kind, file)
            elif name.endswith(_SCALES):
                weight = name.removesuffix(_SCALES) + ".weight"
                if weight in tensors and tensors[weight].dtype == "I8":
                    found[weight] = _eight_bits(weight, tensors)
    return found


def installed() -> bool:
    """Whether bitsandbytes and torch can be imported."""
    return find_spec("bitsandbytes") is not None and find_spec("torch") is not None


def _four_bits(weight: str, tensors: Mapping[str, LazyTensor], kind: str, file: object) -> LazyTensor:
    packed = _FourBits(weight, tensors, kind, file)
    n = math.prod(packed.shape)
    return replace(
        tensors[weight], dtype=packed.dtype, shape=packed.shape, read=partial(packed.whole), supported=True,
        read_part=packed.part, fill=None, nbytes=n * (4 if packed.dtype == "F32" else 2),
    )  # fmt: skip


def _state(tensor: LazyTensor) -> dict[str, Any]:
    """The description of a packing, with a shape, a size of blocks and a dtype that can be."""
    if not tensor.supported:
        raise _UndescribedError
    try:
        said = json.loads(tensor.read().tobytes())
    # Of bytes that are no text, no JSON, or lists in lists.
    except (ValueError, RecursionError) as error:
        raise _UndescribedError from error
    shape = said.get("shape") if isinstance(said, dict) else None
    sizes = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
    block = said["blocksize"] if sizes and type(said.get("blocksize")) is int else 0
    if block < 2 or not isinstance(said.get("dtype"), str) or said["dtype"] not in _DTYPES:
        raise _UndescribedError
    return dict(said)


class _FourBits:
    """A weight of 4-bit codes with a scale for each block of values."""

    def __init__(self, weight: str, tensors: Mapping[str, LazyTensor], kind: str, file: object) -> None:
        self.name, self.kind, self.file = weight, kind, file
        if weight not in tensors or f"{weight}.absmax" not in tensors:
            raise _UndescribedError
        self.codes = tensors[weight]
        self.parts = {
            part: tensors[f"{weight}.{part}"]
            for part in ("absmax", "quant_map", *_NESTED)
            if f"{weight}.{part}" in tensors
        }
        if not all(tensor.supported for tensor in (self.codes, *self.parts.values())):
            raise _UndescribedError
        said = _state(tensors[f"{weight}{_STATE}{kind}"])
        self.shape, self.block = tuple(said["shape"]), said["blocksize"]
        self.said, self.dtype = said, _DTYPES[said["dtype"]]
        n = math.prod(self.shape)
        if self.codes.nbytes != (n + 1) // 2 or self.parts["absmax"].size != -(-n // self.block):
            raise _UndescribedError

    @cached_property
    def _absmax(self) -> Any:
        """The scale of every block in float32, the scales' own packing undone."""
        import torch
        from bitsandbytes import functional

        try:
            held = {name: torch.from_numpy(np.array(part.read())) for name, part in self.parts.items()}
            state = functional.QuantState.from_dict(
                {**held, **self.said, "quant_type": self.kind}, torch.device("cpu")
            )
            if not state.nested:
                return state.absmax.float()
            if not _fits(state.absmax, state.state2):
                raise _unfit(self.file, self.name, "nested scales of other sizes or types")
            return functional.dequantize_blockwise(state.absmax, state.state2).float() + state.offset
        # bitsandbytes has no errors of its own.
        except (ValueError, KeyError, TypeError, RuntimeError, AssertionError, AttributeError) as error:
            if not raised_by(error, "bitsandbytes", "torch"):
                raise
            raise _unfit(self.file, self.name, f"{type(error).__name__}: {error}") from error

    def whole(self) -> Array:
        """The weight in its shape."""
        return self.part(0, math.prod(self.shape)).reshape(self.shape)

    def part(self, start: int, stop: int) -> Array:
        """Values `start` to `stop`, of whole blocks around them."""
        if stop <= start:
            return np.empty(0, _numpy_dtype(self.dtype))
        import torch
        from bitsandbytes import functional

        n, block = math.prod(self.shape), self.block
        first, last = start // block, -(-stop // block)
        begin, end = first * block, min(last * block, n)
        codes = self.codes.part(begin // 2, (end + 1) // 2).reshape(-1, 1)
        state = functional.QuantState(
            self._absmax[first:last], shape=torch.Size([end - begin]), blocksize=block, quant_type=self.kind,
            dtype=getattr(torch, self.said["dtype"]),
        )  # fmt: skip
        out = functional.dequantize_4bit(torch.from_numpy(np.array(codes)), state).reshape(-1)
        return read_only(_numpy(out)[start - begin : stop - begin])


def _fits(codes: Any, nested: Any) -> bool:
    """Whether scales of scales are as many as their codes need: the library reads them without looking."""
    import torch

    blocks = -(-codes.numel() // nested.blocksize) if nested.blocksize > 0 else -1
    sizes = nested.code.numel() == 256 and nested.absmax.numel() == blocks
    types = codes.dtype == torch.uint8 and {nested.code.dtype, nested.absmax.dtype} == {torch.float32}
    return sizes and types


def _unfit(file: object, weight: str, found: str) -> BadInput:
    return BadInput(
        "bad-quant-state", "what stands beside a packed weight does not describe it", file=str(file),
        tensor=weight, expected="the state that bitsandbytes saves beside a 4-bit weight", found=found,
        fix="save the model again, or name an unquantised base",
    )  # fmt: skip


def _eight_bits(weight: str, tensors: Mapping[str, LazyTensor]) -> LazyTensor:
    """A weight of int8 with a scale for each row: W = code·scale/127."""
    codes, scales = tensors[weight], tensors[weight.removesuffix("weight") + "SCB"]
    if len(codes.shape) != 2 or not scales.supported or scales.size != codes.shape[0]:
        raise _UndescribedError
    columns = codes.shape[1]

    def part(start: int, stop: int) -> Array:
        if stop <= start:
            return np.empty(0, np.float32)
        import torch
        from bitsandbytes import functional

        first, last = start // columns, -(-stop // columns)
        rows = codes.part(first * columns, last * columns).reshape(-1, columns)
        stats = np.array(scales.part(first, last).astype(np.float32))
        wide = functional.int8_vectorwise_dequant(torch.from_numpy(np.array(rows)), torch.from_numpy(stats))
        flat = wide.float().numpy().reshape(-1)
        return read_only(flat[start - first * columns : stop - first * columns])

    def whole() -> Array:
        return part(0, codes.size).reshape(codes.shape)

    return replace(codes, dtype="F32", nbytes=4 * codes.size, read=whole, read_part=part, fill=None)


def _numpy_dtype(name: str) -> Any:
    return {"BF16": np.dtype(ml_dtypes.bfloat16), "F16": np.dtype("<f2"), "F32": np.dtype("<f4")}[name]


def _numpy(tensor: Any) -> Array:
    """A torch tensor's numbers, of a dtype that NumPy lacks as well."""
    import torch

    if tensor.dtype == torch.bfloat16:
        return np.asarray(tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16))
    return np.asarray(tensor.numpy())
