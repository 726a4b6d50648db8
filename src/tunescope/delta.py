"""What happened to one weight: an `Address` and an update that stays factored."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tunescope.address import Address

Array = NDArray[Any]


def read_only(array: Array) -> Array:
    """The same array, no longer writeable."""
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class Factored:
    """An update `ΔW = scale · B A` that is never multiplied out.

    `B` has shape `(d_out, r)` and `A` shape `(r, d_in)`, in the dtype they are stored in; `scale` is
    `None` where the file does not say it.
    """

    B: Array
    A: Array
    scale: float | None = 1.0

    def dense(self) -> NDArray[np.float64]:
        """`scale · B A` in float64, for references and small modules; unscaled where scale is `None`."""
        product = self.B.astype(np.float64) @ self.A.astype(np.float64)
        return product if self.scale is None else product * self.scale


@dataclass(frozen=True, eq=False)
class Dense:
    """An update given as a matrix: `ΔW = scale · matrix`, `matrix` of shape `(d_out, d_in)`."""

    matrix: Array
    scale: float | None = 1.0

    def dense(self) -> NDArray[np.float64]:
        """`scale · matrix` in float64; unscaled where scale is `None`."""
        matrix = self.matrix.astype(np.float64)
        return matrix if self.scale is None else matrix * self.scale


Update = Factored | Dense


class Values(Protocol):
    """A tensor as a flat row of values that can be read in parts."""

    @property
    def size(self) -> int: ...

    def part(self, start: int, stop: int) -> Array:
        """Values `start` to `stop`, in the dtype they are stored in."""
        ...

    def into(self, start: int, stop: int, memory: NDArray[np.uint8]) -> Array:
        """The same values; those of a file lie in `memory`, and are gone once it is used again."""
        ...


@dataclass(frozen=True, eq=False)
class InMemory:
    """An array as `Values`."""

    array: Array

    @property
    def size(self) -> int:
        """Number of values."""
        return self.array.size

    def part(self, start: int, stop: int) -> Array:
        """A view of the flat array."""
        return self.array.reshape(-1)[start:stop]

    def into(self, start: int, stop: int, memory: NDArray[np.uint8]) -> Array:
        """The same view; `memory` is not needed."""
        return self.part(start, stop)


@dataclass(frozen=True, eq=False)
class Stretch:
    """`length` values of another row from `begin`: an expert of a fused tensor, the rows of a table."""

    values: Values
    begin: int
    length: int

    @property
    def size(self) -> int:
        """Number of values."""
        return self.length

    def part(self, start: int, stop: int) -> Array:
        """Values of the stretch, counted from its own start."""
        return self.values.part(self.begin + start, self.begin + stop)

    def into(self, start: int, stop: int, memory: NDArray[np.uint8]) -> Array:
        """The same, in `memory` where the other row reads a file."""
        return self.values.into(self.begin + start, self.begin + stop, memory)


@dataclass(frozen=True, eq=False)
class Picked:
    """Some rows of a matrix of another row of values, one after the other: the tokens of a table, say."""

    values: Values
    rows: tuple[int, ...]
    columns: int

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.rows) * self.columns

    def part(self, start: int, stop: int) -> Array:
        """Values of the picked rows, as if there were no others."""
        first, last = start // self.columns, -(-stop // self.columns)
        read = [self.values.part(r * self.columns, (r + 1) * self.columns) for r in self.rows[first:last]]
        flat = np.concatenate(read) if read else self.values.part(0, 0)
        return flat[start - first * self.columns : stop - first * self.columns]

    def into(self, start: int, stop: int, memory: NDArray[np.uint8]) -> Array:
        """The same; picked rows are few."""
        return self.part(start, stop)


@dataclass(frozen=True, eq=False)
class Pair:
    """A weight before and after, as whole tensors of equal size; never read whole unless asked.

    `turned` says that the tensors are stored (d_in, d_out), the other way round than the layer applies them.
    """

    before: Values
    after: Values
    turned: bool = False


@dataclass(frozen=True, eq=False)
class Base:
    """The weight that an update is added to; `turned` where it is stored (d_in, d_out).

    `kernel` says that it is one of a convolution, of which d_in runs over channels and places.
    """

    values: Values
    turned: bool = False
    kernel: bool = False

    def matrix(self, shape: tuple[int, int]) -> Array:
        """W as its layer applies it, `shape` (d_out, d_in), exact in float32 (float64 for float64 files)."""
        wide = _exact(self.values.part(0, self.values.size))
        return wide.reshape(shape[::-1]).T if self.turned else wide.reshape(shape)

    def rows(self, first: int, last: int, shape: tuple[int, int]) -> Array:
        """The rows `first` to `last` of `matrix`, without the others where it is stored by rows."""
        if self.turned:
            return self.matrix(shape)[first:last]
        return _exact(self.values.part(first * shape[1], last * shape[1])).reshape(-1, shape[1])


def _exact(stored: Array) -> Array:
    return stored if stored.dtype == np.float64 else stored.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Exact:
    """How the whole of an update follows from the base and the part that the file alone says (DoRA).

    `make` takes what opens that part, the base's weight and (d_out, d_in); `tensors` are read for it beside
    those of the delta.
    """

    make: Callable[[Callable[[], Update], Base, tuple[int, int]], Update]
    tensors: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Pending:
    """An update that is nothing without the base's weight (OFT, GLoRA, (IA)³).

    `make` takes that weight and (d_out, d_in); a size is `None` where the file does not say it, and d_in then
    a multiple of `every`. All else is as in `Delta`.
    """

    address: Address
    method: str
    d_out: int | None
    d_in: int | None
    rank: int | None
    alpha: float | None
    tensors: tuple[str, ...]
    make: Callable[[Base, tuple[int, int]], Update]
    every: int = 1

    def fits(self, shape: tuple[int, int]) -> bool:
        """Whether a weight of this (d_out, d_in) is one that the update multiplies."""
        d_out, d_in = shape
        return self.d_out in (None, d_out) and self.d_in in (None, d_in) and d_in % self.every == 0


# What the status of an update says that was trained against a base which its initialisation changed.
OTHER_BASE = "not against the original base"
# What it says of an update whose weight the base lacks, or has in another shape.
ABSENT, UNFIT = "not in the base", "the base's weight is"


@dataclass(frozen=True, eq=False)
class Delta:
    """One weight's update: where it is, how it was parametrised, and how to read it.

    `open` reads the tensors and returns the update; nothing is read before. `rank` and `alpha` are what
    the adapter states (`None` where it does not), `scale` the factor in `ΔW = scale · BA` (`None`:
    unknown, then every scaled number is null), `status` is `ok` or says which part of ΔW this is. `pair` is
    there where ΔW is the difference of two whole tensors, `base` where the weight before is known, `exact`
    where the rest of ΔW follows from it.
    """

    address: Address
    component_name: str
    method: str
    d_out: int
    d_in: int
    rank: int | None
    alpha: float | None
    scale: float | None
    tensors: tuple[str, ...]
    open: Callable[[], Update]
    status: str = "ok"
    pair: Pair | None = None
    base: Base | None = None
    exact: Exact | None = None

    @property
    def of_other_base(self) -> bool:
        """Whether it adds to weights that its initialisation changed (PiSSA, OLoRA as they are saved)."""
        return OTHER_BASE in self.status
