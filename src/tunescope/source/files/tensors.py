"""A named tensor that is read only when asked for, and the ledger that accounts for every one."""

import math
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.errors import BadInput, Notice

Array = NDArray[Any]

# The reason of a tensor that no rule explains.
NOT_UNDERSTOOD = "not understood"


@dataclass(frozen=True, eq=False)
class LazyTensor:
    """A tensor of a file: `name` as it stands there, `dtype` in the file's own spelling, `read()` its array.

    `read_part(start, stop)` reads only those values of the flat tensor, where the file allows it, and
    `fill(start, stop, memory)` reads them into memory that is there already.
    `supported` is false for a dtype that cannot be turned into numbers (FP4, packed integers, …), and for a
    tensor of which bytes are missing: `lacking` says how many.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    read: Callable[[], Array]
    supported: bool = True
    read_part: Callable[[int, int], Array] | None = None
    fill: Callable[[int, int, NDArray[np.uint8]], Array] | None = None
    lacking: str = ""

    @property
    def unreadable(self) -> str:
        """Why a tensor that is not `supported` cannot be read."""
        return self.lacking or f"unsupported dtype {self.dtype}"

    @property
    def size(self) -> int:
        """Number of elements, under NumPy's name for it."""
        return self.numel

    def part(self, start: int, stop: int) -> Array:
        """Values `start` to `stop` of the flat tensor, as stored."""
        if self.read_part is not None:
            return self.read_part(start, stop)
        return read_shared(self).reshape(-1)[start:stop]

    def into(self, start: int, stop: int, memory: NDArray[np.uint8]) -> Array:
        """The same values, in `memory` where the file allows it: fresh memory costs more than the reading."""
        return self.part(start, stop) if self.fill is None else self.fill(start, stop, memory)

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def read_shared(tensor: LazyTensor) -> Array:
    """The tensor's array, kept until two others were asked for: many updates may be slices of one tensor."""
    with _one_at_a_time:
        return _kept(tensor)


@lru_cache(maxsize=2)
def _kept(tensor: LazyTensor) -> Array:
    return tensor.read()


# Threads that ask for the same tensor would each read it.
_one_at_a_time = threading.RLock()


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the coverage ledger."""

    tensor: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    status: str
    reason: str


@dataclass(eq=False)
class Ledger:
    """What became of every tensor of a source: part of a ΔW, or named with the reason it is not.

    A tensor that nobody claims is `not understood` when the ledger is closed, so nothing can be dropped
    without a word.
    """

    tensors: Mapping[str, LazyTensor]
    notices: list[Notice] = field(default_factory=list)
    _fate: dict[str, tuple[str, str]] = field(default_factory=dict)

    def used(self, names: Iterable[str], reason: str = "") -> None:
        """Mark tensors as part of a ΔW."""
        for name in names:
            self._fate[name] = ("used", reason)

    def left(self, names: Iterable[str], reason: str) -> None:
        """Mark tensors as not part of any ΔW, and why; a tensor already used stays used."""
        for name in names:
            self._fate.setdefault(name, ("not used", reason))

    def settle(self, names: Iterable[str], reason: str) -> None:
        """Mark tensors as not part of any ΔW whatever was said of them before."""
        for name in names:
            self._fate[name] = ("not used", reason)

    def notice(self, slug: str, text: str, tensor: str | None = None) -> None:
        """Add a warning about the input."""
        self.notices.append(Notice(slug, text, tensor))

    def unclaimed(self) -> list[str]:
        """Names that have no fate yet, in file order."""
        return [name for name in self.tensors if name not in self._fate]

    def close(self) -> tuple[Entry, ...]:
        """All entries in file order."""
        return tuple(self._entry(name, tensor) for name, tensor in self.tensors.items())

    def _entry(self, name: str, tensor: LazyTensor) -> Entry:
        default = ("not used", NOT_UNDERSTOOD if tensor.supported else tensor.unreadable)
        status, reason = self._fate.get(name, default)
        return Entry(tensor.name, tensor.dtype, tensor.shape, tensor.nbytes, status, reason)


_FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0"}


def is_float(tensor: LazyTensor) -> bool:
    """Whether the tensor holds floating-point numbers that can be read."""
    return tensor.supported and tensor.dtype in _FLOATS


def to_float32(array: Array) -> NDArray[np.float32]:
    """Any floating array in float32; bfloat16 through a shift, which is many times faster than a cast.

    >>> to_float32(np.array([1.5], dtype=np.float16)).dtype
    dtype('float32')
    """
    if array.dtype.name == "bfloat16":
        wide = array.view(np.uint16).astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    return array.astype(np.float32, copy=False)


def require_float(tensor: LazyTensor, file: object) -> None:
    """Refuse an integer, boolean or complex tensor where weights are expected."""
    if not tensor.dtype.startswith(("F", "BF")):
        kind = {"C": "complex numbers", "B": "truth values"}.get(tensor.dtype[0], "integers")
        raise BadInput(
            "integer-weights",
            f"an adapter factor is stored as {kind}",
            file=str(file),
            tensor=tensor.name,
            expected="a floating dtype (F32, F16, BF16, F8)",
            found=tensor.dtype,
            fix="save the adapter unquantised",
        )
