"""safetensors files: a strict header, then tensors that are read only when asked for."""

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Array, read_only
from tunescope.errors import BadInput, Notice
from tunescope.reader import current
from tunescope.source.files.disk import Bytes, take_snapshot
from tunescope.source.files.header import LARGEST_HEADER, Slot, parse_header
from tunescope.source.files.sniff import read_head
from tunescope.source.files.tensors import LazyTensor

NUMPY_DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_), "U8": np.dtype("u1"), "I8": np.dtype("i1"), "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"), "U32": np.dtype("<u4"), "I32": np.dtype("<i4"), "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"), "F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8"),
    "C64": np.dtype("<c8"), "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2), "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz), "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
}  # fmt: skip
DTYPE_NAMES: Mapping[np.dtype[Any], str] = {dtype: name for name, dtype in NUMPY_DTYPES.items()}


@dataclass(frozen=True, eq=False)
class TensorFile:
    """A file of named tensors, in the order of their bytes, none of them read yet.

    `listed` is true where they came as a bare list and their names are only positions; `parts` are further
    files that hold their values.
    """

    path: Path
    metadata: Mapping[str, str]
    tensors: Mapping[str, LazyTensor]
    notices: list[Notice] = field(default_factory=list)
    snapshot: Bytes | None = None
    listed: bool = False
    parts: tuple[Path, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file itself, and others that hold its tensors."""
        return (self.path, *self.parts)

    def verify_unchanged(self) -> None:
        """Refuse the file if its size or time of change is no longer what it was when it was opened."""
        if self.snapshot is not None:
            self.snapshot.verify()


Read = Callable[[Path], TensorFile]
"""What opens a file of tensors; who looks into files twice keeps what it opened."""


def read_safetensors(path: str | Path) -> TensorFile:
    """Open a safetensors file: its header is checked whole, its tensors are read on demand.

    Raises `BadInput` for a file that breaks the format (its slug says how), `Missing` for one that is
    not there or may not be read. Of one that is cut short the complete tensors can be read where
    `reading(salvage=True)` says so.
    """
    return safetensors_of(take_snapshot(Path(path)))


def safetensors_of(snapshot: Bytes) -> TensorFile:
    """As `read_safetensors`, of a file wherever it lies."""
    length = _header_length(snapshot)
    raw = snapshot.read(8, length).tobytes()
    with _no_collection():
        header = parse_header(raw, snapshot.size - 8 - length, snapshot.path, current().salvage)
        tensors = {name: _ranged(name, slot, snapshot, 8 + length) for name, slot in header.slots.items()}
    return TensorFile(snapshot.path, header.metadata, tensors, list(header.notices), snapshot)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Hold off the cyclic collector, which else walks the growing header again and again (half the time)."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def lazy(
    name: str,
    dtype: str,
    shape: tuple[int, ...],
    nbytes: int,
    read: Callable[[], Array],
    part: Callable[[int, int], Array] | None = None,
    fill: Callable[[int, int, NDArray[np.uint8]], Array] | None = None,
) -> LazyTensor:
    """A tensor whose dtype decides whether it can be read as numbers."""
    return LazyTensor(name, dtype, shape, nbytes, read, dtype in NUMPY_DTYPES, part, fill)


def _ranged(name: str, slot: Slot, snapshot: Bytes, start: int) -> LazyTensor:
    offset, nbytes = start + slot.begin, slot.end - slot.begin
    if offset + nbytes > snapshot.size:
        return _cut(name, slot, snapshot, offset)
    read = partial(read_range, snapshot, offset, nbytes, slot.dtype, slot.shape)
    part = partial(read_values, snapshot, offset, slot.dtype)
    fill = partial(fill_values, snapshot, offset, slot.dtype)
    return lazy(name, slot.dtype, slot.shape, nbytes, read, part, fill)


def fill_values(
    snapshot: Bytes, offset: int, dtype: str, start: int, stop: int, memory: NDArray[np.uint8]
) -> Array:
    """The same as `read_values`, in the first bytes of `memory`."""
    kind = NUMPY_DTYPES[dtype]
    held = memory[: (stop - start) * kind.itemsize]
    snapshot.fill(offset + start * kind.itemsize, held)
    return read_only(held.view(kind))


def _cut(name: str, slot: Slot, snapshot: Bytes, offset: int) -> LazyTensor:
    """A tensor whose end, or all of which, lies beyond the end of a file that is salvaged."""
    nbytes = slot.end - slot.begin
    there = max(snapshot.size - offset, 0)
    lacking = f"cut off: {there} of {nbytes} bytes are there"

    def refuse() -> NoReturn:
        raise BadInput(
            "truncated", "a tensor of a file that is cut short is needed", file=snapshot.path, tensor=name,
            expected=f"{nbytes} bytes", found=f"{there}", fix="download or copy the file again",
        )  # fmt: skip

    return LazyTensor(name, slot.dtype, slot.shape, nbytes, refuse, supported=False, lacking=lacking)


def read_values(snapshot: Bytes, offset: int, dtype: str, start: int, stop: int) -> Array:
    """Values `start` to `stop` of a tensor that begins at `offset`, read-only and flat."""
    itemsize = NUMPY_DTYPES[dtype].itemsize
    count = stop - start
    return read_range(snapshot, offset + start * itemsize, count * itemsize, dtype, (count,))


def read_range(snapshot: Bytes, offset: int, nbytes: int, dtype: str, shape: tuple[int, ...]) -> Array:
    """One tensor from a byte range of a file, read-only."""
    kind = NUMPY_DTYPES.get(dtype)
    if kind is None:
        raise BadInput(
            "unsupported-dtype",
            "a tensor has a dtype that cannot be read as numbers",
            file=snapshot.path,
            expected=", ".join(NUMPY_DTYPES),
            found=dtype,
            fix="save the tensor as float32, float16 or bfloat16",
        )
    array = snapshot.read(offset, nbytes).view(kind).reshape(shape)
    array.setflags(write=False)
    return array


def _header_length(snapshot: Bytes) -> int:
    head, behind = read_head(snapshot, "safetensors file"), snapshot.size - 8
    length = int.from_bytes(head[:8], "little")
    if behind < 0:
        _refuse(
            snapshot,
            "too-small",
            "the file is too small to hold a safetensors header",
            "at least 8 bytes",
            f"{snapshot.size} bytes",
        )
    if length > behind:
        _refuse(
            snapshot,
            "truncated",
            "the file is truncated, or it is not safetensors at all",
            f"a header of {length} bytes",
            f"{behind} bytes behind the length",
        )
    if length > LARGEST_HEADER:
        _refuse(
            snapshot,
            "header-too-large",
            "the header is larger than the format allows",
            f"at most {LARGEST_HEADER} bytes",
            f"{length} bytes",
        )
    return length


def _refuse(snapshot: Bytes, slug: str, what: str, expected: str, found: str) -> NoReturn:
    fix = "download or copy the file again"
    raise BadInput(slug, what, file=snapshot.path, expected=expected, found=found, fix=fix)
