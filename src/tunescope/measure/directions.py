"""The singular directions of one model's update of one weight, on both of its sides."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunescope.delta import Array, Delta, Factored
from tunescope.errors import UsageError
from tunescope.linalg import overlap
from tunescope.linalg.device import float64
from tunescope.linalg.gram import wide
from tunescope.linalg.leading import Sum, leading
from tunescope.linalg.overlap import Basis

SIDES = ("input", "output")
# Matrix -> the sides on which it has directions of its own.
MATRICES = {"A": ("input",), "B": ("output",), "delta": SIDES}
# Directions that are kept of an update given as a full matrix.
DENSE_RANK = 64
# Matrices with both sides above this are not given a full SVD.
_LARGE = 512
# Of a matrix that was multiplied out in float32, what lies below this share of the largest is rounding.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Selection:
    """Which grids are made: matrices (`A`, `B`, `delta`), sides, leading directions, and the device."""

    of: tuple[str, ...] = ("A", "B", "delta")
    sides: tuple[str, ...] = SIDES
    max_rank: int | None = None
    device: str = "cpu"

    def wanted(self) -> list[tuple[str, str]]:
        """Matrix and side of every grid; refused where the two exclude each other."""
        pairs = [(of, side) for of in self.of for side in MATRICES[of] if side in self.sides]
        if not pairs:
            raise UsageError("no-such-side", "the matrix has no directions on that side",
                             expected="A with input, B with output, delta with either",
                             found=f"--of {' '.join(self.of)} --side {' '.join(self.sides)}")  # fmt: skip
        return pairs


@dataclass(frozen=True, eq=False)
class Directions:
    """The directions of one model's update of one weight; bases are `None` where it cannot be read as one."""

    label: str
    delta: Delta
    sign: float
    input: Basis | None
    output: Basis | None
    status: str = "ok"

    def basis(self, side: str) -> Basis:
        """The basis on a side."""
        found = self.input if side == "input" else self.output
        assert found is not None
        return found

    @property
    def rank(self) -> int:
        """Numerical rank of the update."""
        return 0 if self.input is None else self.input.rank("delta")


def directions(label: str, delta: Delta, selection: Selection) -> Directions:
    """The singular directions of one update, from the thin QRs of its factors."""
    update = delta.open()
    scale = 1.0 if update.scale is None else update.scale
    arrays = (update.B, update.A) if isinstance(update, Factored) else (update.matrix,)
    on_device = [float64(array, selection.device) for array in arrays]
    # A sum is not finite where a value is not, and much cheaper than looking at each.
    if not all(math.isfinite(float(array.sum())) for array in on_device):
        broken = sum(int((~np.isfinite(wide(array))).sum()) for array in arrays)
        if broken:
            return Directions(label, delta, scale, None, None, f"non-finite: {broken} values")
    if len(on_device) == 2:
        factors = any(of != "delta" for of in selection.of)
        bases = overlap.product_bases(on_device[0], on_device[1], factors)
    else:
        bases = _dense(arrays[0], on_device[0], selection.max_rank or DENSE_RANK)
    return Directions(label, delta, scale, *bases, status="ok" if bases[0].rank("delta") else "zero")


def _dense(matrix: Array, on_device: Any, count: int) -> tuple[Basis, Basis]:
    """Input and output basis of a full matrix: its SVD, or for a large one a block iteration."""
    if min(matrix.shape) <= _LARGE:
        bases = overlap.dense_bases(on_device, count)
    else:
        found = leading(Sum(wide(matrix)), count, tolerance=1e-5)
        eye = {"delta": np.eye(len(found.values))}
        bases = (Basis(found.V, eye, {"delta": found.values}), Basis(found.U, eye, {"delta": found.values}))
    values = bases[0].values["delta"]
    rank = len(values)
    if matrix.dtype != np.float64 and rank:
        rank = int((values > _ROUNDING * values[0]).sum())
    return _cut(bases[0], rank), _cut(bases[1], rank)


def _cut(basis: Basis, rank: int) -> Basis:
    rotations = {of: rotation[:, :rank] for of, rotation in basis.rotations.items()}
    return Basis(basis.Q, rotations, {of: values[:rank] for of, values in basis.values.items()})
