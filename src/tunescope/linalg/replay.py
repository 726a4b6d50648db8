"""How many times an update lies in a rounded sum: the coefficients c in W' = round(W + Σ cₐ ΔWₐ).

Rounding a W that lies on the grid already is no noise: most of a small update vanishes, always in the same
places. So c is not read off ⟨W' − W, ΔW⟩/‖ΔW‖² but by replaying the merge: c solves
⟨W' − W, ΔWₐ⟩ = ⟨round(W + Σ c_b ΔW_b) − W, ΔWₐ⟩ for every candidate a.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg.crossing import crossing, inner
from tunescope.linalg.merging import Way
from tunescope.linalg.rounding import step
from tunescope.linalg.unmixing import unmixed

Array = NDArray[Any]
Float64 = NDArray[np.float64]

# How near to an edge bisection goes on grids of 16 bits and of more: no step must be missed.
_NARROW, _FINE = 1e-6, 1e-9
# What the order of a merger's own roundings, which no file tells, may shift a coefficient by.
RESOLUTION = 1e-3
# A relative step for slopes: large against the flips of single values, small against curvature.
_SLOPE_STEP = 0.03


@dataclass(frozen=True, eq=False)
class Merge:
    """A module before and after, and the updates that may be in it, all as rows of n numbers.

    `before` and `after` are exact, `candidates` (k, n), `way` is how the merger rounded.
    """

    before: Array
    after: Array
    candidates: Array
    way: Way

    @property
    def fine(self) -> bool:
        """Whether the merger's grid is as fine as what it computed in: order and rounding leave no trace."""
        return self.way.grid in ("float32", "float64")

    @cached_property
    def wide(self) -> tuple[Array, Array, Array]:
        """W, W' and the candidates in the precision that mergers compute in, float32 for 16-bit grids."""
        kind: Any = np.float64 if self.fine else np.float32
        W, after, C = (
            values.astype(kind, copy=False) for values in (self.before, self.after, self.candidates)
        )
        return W, after, np.ascontiguousarray(C)

    def stretches(self, coefficients: Sequence[float] | Float64) -> Iterator[tuple[slice, Array]]:
        """`round(W + Σ cₐ ΔWₐ)` as the merger rounds, by stretches, each with where it lies."""
        W, _, C = self.wide
        return self.way.stretches(W, C, coefficients)

    def replayed(self, coefficients: Sequence[float] | Float64) -> Array:
        """The same in one."""
        return np.concatenate([made for _, made in self.stretches(coefficients)])

    def moment(self) -> Float64:
        """⟨W' − W, ΔWₐ⟩ for every candidate."""
        W, after, C = self.wide
        moved = after - W
        return np.array([inner(moved, candidate) for candidate in C])

    @cached_property
    def squares(self) -> Float64:
        """‖ΔWₐ‖² of every candidate."""
        return np.array([inner(candidate, candidate) for candidate in self.wide[2]])

    @property
    def below_grid(self) -> bool:
        """Whether one whole merge of every candidate would change nothing."""
        k = len(self.candidates)
        once, still = self.stretches([1.0] * k), self.stretches([0.0] * k)
        return all(np.array_equal(a, b) for (_, a), (_, b) in zip(once, still, strict=True))


@dataclass(frozen=True, eq=False)
class Coefficients:
    """`values` (k,) with their standard errors, and the evidence that they explain the module.

    `kept` (k,) is the plain projection ⟨W' − W, ΔWₐ⟩/‖ΔWₐ‖². `equal_fraction` is the share of values within
    one step of the replay among those that W' or the replay changed (`None` where nothing changed),
    `residual_ratio` the root mean square of W' − replay over that of the steps there, `unexplained` the
    share ‖W' − replay‖²/‖W' − W‖², `exact` the share of the moved values that come out equal. `below_grid` is
    true where one whole merge of every candidate would have changed nothing.
    """

    values: Float64
    errors: Float64
    kept: Float64
    equal_fraction: float | None
    residual_ratio: float | None
    unexplained: float | None
    exact: float
    below_grid: bool


def solve(merge: Merge) -> Coefficients:
    """The coefficients of a merge, by bisection for one candidate and in turns for several.

    The standard error holds what the replay's residual leaves open, Σe²ΔW² through the slope of the
    equations, the spread of the coefficients that give the same rounded weights, and 0.001 for roundings
    within the merger.
    """
    W, after, C = merge.wide
    if len(C) == 1:
        value, width = crossing(W, after, C[0], merge.way, _FINE if merge.fine else _NARROW)
        values, exact = np.array([value]), 0.0
        replay = merge.replayed(values)
        spread = np.hypot(_error(merge, value, replay), width / 2 / math.sqrt(3))
    else:
        found = unmixed(W, after, C, merge.way)
        values, spread, exact = found.values, found.errors, found.exact
        replay = merge.replayed(found.best)
    errors = np.hypot(spread, RESOLUTION * np.maximum(1.0, np.abs(values)))
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = np.where(merge.squares > 0, merge.moment() / merge.squares, math.nan)
    within, ratio, unexplained, equal = _evidence(merge, replay)
    return Coefficients(values, errors, kept, within, ratio, unexplained, max(exact, equal), merge.below_grid)


def _evidence(merge: Merge, replay: Array) -> tuple[float | None, float | None, float | None, float]:
    """Share within one step, ‖W' − replay‖ over the steps', squared over ‖W' − W‖², share equal."""
    after, still = merge.after, merge.replayed([0.0] * len(merge.candidates))
    touched = (after != still) | (replay != still)
    count = int(np.count_nonzero(touched))
    if not count:
        return None, None, None, 1.0
    steps = step(after[touched], merge.way.grid)
    apart, rest = _apart(merge, replay)
    far = int(np.count_nonzero(~(np.abs(rest) <= step(after[apart], merge.way.grid))))
    moved = np.subtract(after, still, dtype=np.float64)
    left, whole = (float(np.square(values, out=values).sum()) for values in (rest, moved))
    ratio = math.sqrt(left / float(np.square(steps, out=steps).sum()))
    unexplained = left / whole if whole > 0 else math.inf
    return (count - far) / count, ratio, unexplained, (count - apart.size) / count


def _apart(merge: Merge, replay: Array) -> tuple[NDArray[np.int64], Float64]:
    """Where W' is not as replayed, and W' − replay there."""
    apart = np.flatnonzero(merge.after != replay)
    return apart, np.subtract(merge.after[apart], replay[apart], dtype=np.float64)


def _error(merge: Merge, c: float, replay: Array) -> float:
    """√(Σe²ΔW²) through the slope ∂⟨round(W + c ΔW), ΔW⟩/∂c by central differences."""
    if not merge.squares[0] > 0:
        return math.inf
    apart, rest = _apart(merge, replay)
    if not apart.size:
        return 0.0
    width = _SLOPE_STEP * max(1.0, abs(c))
    rise, update = 0.0, merge.wide[2][0]
    for (part, ahead), (_, behind) in zip(*(merge.stretches([c + s * width]) for s in (1, -1)), strict=True):
        rise += inner(ahead - behind, update[part])
    # Where nothing moves there is no slope; a small part of ‖ΔW‖² keeps the equation solvable.
    slope = rise / (2 * width) + 1e-6 * float(merge.squares[0])
    return float(np.linalg.norm(merge.candidates[0, apart] * rest)) / slope
