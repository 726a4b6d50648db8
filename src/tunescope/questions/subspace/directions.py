"""The singular directions of one model's update of one weight, on both of its sides."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunescope.delta import Array, Delta, Factored, Update
from tunescope.errors import UsageError
from tunescope.linalg import overlap
from tunescope.linalg.device import float64
from tunescope.linalg.gram import wide
from tunescope.linalg.leading import Sum, leading
from tunescope.linalg.overlap import Basis
from tunescope.measure.similarity import inner, norm
from tunescope.words import counted

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
    """Which grids are made: matrices (`A`, `B`, `delta`), sides, leading directions, and the device.

    Without a matrix none is made, and only what sums a weight up is measured.
    """

    of: tuple[str, ...] = ("A", "B", "delta")
    sides: tuple[str, ...] = SIDES
    max_rank: int | None = None
    device: str = "cpu"

    def wanted(self) -> list[tuple[str, str]]:
        """Matrix and side of every grid; refused where the two exclude each other."""
        pairs = [(of, side) for of in self.of for side in MATRICES[of] if side in self.sides]
        if self.of and not pairs:
            raise UsageError("no-such-side", "the matrix has no directions on that side",
                             expected="A with input, B with output, delta with either",
                             found=f"--of {' '.join(self.of)} --side {' '.join(self.sides)}")  # fmt: skip
        return pairs


@dataclass(frozen=True, eq=False)
class Directions:
    """The directions of one model's update of one weight; bases are `None` where it cannot be read as one.

    `whole` is the update itself where only its leading directions were kept; `A (r, d_in)` the factor as it
    was saved, where there is one.
    """

    label: str
    delta: Delta
    scale: float
    input: Basis | None
    output: Basis | None
    status: str = "ok"
    whole: Update | None = None
    A: Array | None = None

    def basis(self, side: str) -> Basis:
        """The basis on a side."""
        found = self.input if side == "input" else self.output
        assert found is not None
        return found

    @property
    def rank(self) -> int:
        """Numerical rank of the update."""
        return 0 if self.input is None else self.input.rank("delta")

    @property
    def norm(self) -> float:
        """‖ΔW‖_F with its scale (an unknown scale counts as one)."""
        if self.whole is not None:
            return norm(self.whole)
        return float(np.linalg.norm(self.basis("input").values["delta"])) * abs(self.scale)

    def inner(self, other: "Directions", cosines: Mapping[str, Any]) -> float:
        """⟨ΔW, ΔW'⟩ = Σ σ_k σ'_l (UᵀU')_kl (VᵀV')_kl, or from the updates where directions were left out."""
        if self.whole is not None or other.whole is not None:
            return inner(self.whole or self.delta.open(), other.whole or other.delta.open())
        mine, theirs = (m.basis("input").values["delta"] for m in (self, other))
        return float(mine @ (cosines["input"] * cosines["output"]) @ theirs) * self.scale * other.scale


def directions(label: str, delta: Delta, selection: Selection) -> Directions:
    """The singular directions of one update, from the thin QRs of its factors."""
    update = delta.open()
    scale = 1.0 if update.scale is None else update.scale
    if scale == 0:
        return Directions(label, delta, scale, None, None, "zero")
    arrays = (update.B, update.A) if isinstance(update, Factored) else (update.matrix,)
    on_device = [float64(array, selection.device) for array in arrays]
    # A sum is not finite where a value is not, and much cheaper than looking at each.
    with np.errstate(invalid="ignore", over="ignore"):
        sums = [float(array.sum()) for array in on_device]
    if not all(map(math.isfinite, sums)):
        broken = sum(int((~np.isfinite(wide(array))).sum()) for array in arrays)
        if broken:
            return Directions(label, delta, scale, None, None, f"non-finite: {counted(broken, 'value')}")
    whole: Update | None = None
    if len(on_device) == 2:
        factors = any(of != "delta" for of in selection.of)
        bases = overlap.product_bases(on_device[0], on_device[1], factors)
    else:
        bases, whole = _dense(arrays[0], on_device[0], selection.max_rank or DENSE_RANK), update
    status = "ok" if bases[0].rank("delta") else "zero"
    factor = update.A if isinstance(update, Factored) else None
    return Directions(label, delta, scale, *bases, status=status, whole=whole, A=factor)


def _dense(matrix: Array, on_device: Any, count: int) -> tuple[Basis, Basis]:
    """Input and output basis of a full matrix: its SVD, or for a large one a block iteration."""
    if min(matrix.shape) <= _LARGE:
        bases = overlap.dense_bases(on_device, count)
    else:
        found = leading(Sum(wide(matrix)), count + 1, tolerance=1e-5)
        eye, held = {"delta": np.eye(len(found.values))}, {"delta": found.values}
        bases = (Basis(found.V, eye, held), Basis(found.U, eye, held))
    values = bases[0].values["delta"]
    rank = len(values)
    if matrix.dtype != np.float64 and rank:
        rank = int((values > _ROUNDING * values[0]).sum())
    return _cut(bases[0], rank, count), _cut(bases[1], rank, count)


def _cut(basis: Basis, rank: int, count: int) -> Basis:
    """The directions up to the numerical rank and the count; one value more than the count stays."""
    rotations = {of: rotation[:, : min(rank, count)] for of, rotation in basis.rotations.items()}
    return Basis(basis.Q, rotations, {of: values[:rank] for of, values in basis.values.items()})
