"""How many times an update lies in a rounded sum: the coefficients c in W' = round(W + Σ cₐ ΔWₐ).

Rounding a W that lies on the grid already is no noise: most of a small update vanishes, always in the same
places. So c is not read off ⟨W' − W, ΔW⟩/‖ΔW‖² but by replaying the merge: c solves
⟨W' − W, ΔWₐ⟩ = ⟨round(W + Σ c_b ΔW_b) − W, ΔWₐ⟩ for every candidate a.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg.merging import Way
from tunescope.linalg.rounding import step
from tunescope.linalg.unmixing import unmixed

Array = NDArray[Any]
Float64 = NDArray[np.float64]

# Coefficients beyond this are not looked for; |c| = 2^13 is an alpha of thousands left out.
_LARGEST = 2.0**14
_BISECTIONS = 40
# How near to an edge bisection goes on grids of 16 bits and of more: no step must be missed.
_NARROW, _FINE = 1e-6, 1e-9
# Values of one inner product in float32.
_ROW = 512
# What the order of a merger's own roundings, which no file tells, may shift a coefficient by.
_RESOLUTION = 1e-3
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
    def _wide(self) -> tuple[Array, Array, Array]:
        """W, W' − W and the candidates in the precision that mergers compute in, float32 for 16-bit grids."""
        kind: Any = np.float64 if self.fine else np.float32
        W: Array = self.before.astype(kind)
        C: Array = self.candidates.astype(kind)
        moved: Array = self.after.astype(kind) - W
        return W, moved, np.ascontiguousarray(C)

    def replayed(self, coefficients: Sequence[float] | Float64) -> Array:
        """`round(W + Σ cₐ ΔWₐ)` as the merger rounds."""
        W, _, C = self._wide
        return np.concatenate([made for _, made in self.way.stretches(W, C, coefficients)])

    def moment(self) -> Float64:
        """⟨W' − W, ΔWₐ⟩ for every candidate."""
        _, moved, C = self._wide
        return np.array([_inner(moved, candidate) for candidate in C])

    def replayed_moment(self, coefficients: Sequence[float] | Float64) -> Float64:
        """⟨round(W + Σ c_b ΔW_b) − W, ΔWₐ⟩ for every candidate."""
        W, _, C = self._wide
        found = np.zeros(len(C))
        for part, made in self.way.stretches(W, C, coefficients):
            moved = made - W[part]
            found += [_inner(moved, candidate) for candidate in C[:, part]]
        return found

    @cached_property
    def gram(self) -> Float64:
        """⟨ΔWₐ, ΔW_b⟩, shape (k, k)."""
        C = self._wide[2]
        return np.array([[_inner(a, b) for b in C] for a in C])


def _inner(a: Array, b: Array) -> float:
    """⟨a, b⟩ by short rows joined in float64."""
    whole = a.size // _ROW * _ROW
    rows = np.matmul(a[:whole].reshape(-1, 1, _ROW), b[:whole].reshape(-1, _ROW, 1))
    return float(rows.sum(dtype=np.float64)) + float(np.dot(a[whole:].astype(np.float64), b[whole:]))


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
    target = merge.moment()
    if len(merge.candidates) == 1:
        values, open_width = _one(merge, target)
        replay, exact = merge.replayed(values), 0.0
        spread = np.hypot(_errors(merge, values, replay), open_width)
    else:
        W, _, C = merge._wide
        found = unmixed(W, merge.after.astype(W.dtype), C, merge.way)
        values, spread, exact = found.values, found.errors, found.exact
        replay = merge.replayed(found.best)
    errors = np.hypot(spread, _RESOLUTION * np.maximum(1.0, np.abs(values)))
    squares = np.diagonal(merge.gram)
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = np.where(squares > 0, target / squares, math.nan)
    still, once = (merge.replayed([c] * len(merge.candidates)) for c in (0.0, 1.0))
    within, ratio, unexplained, equal = _evidence(merge, still, replay)
    below_grid = bool(np.array_equal(still, once))
    return Coefficients(values, errors, kept, within, ratio, unexplained, max(exact, equal), below_grid)


def _evidence(
    merge: Merge, still: Array, replay: Array
) -> tuple[float | None, float | None, float | None, float]:
    """Share within one step, ‖W' − replay‖ over the steps', squared over ‖W' − W‖², share equal."""
    after, before = merge.after.astype(np.float64), still.astype(np.float64)
    touched = (after != before) | (replay != before)
    if not touched.any():
        return None, None, None, 1.0
    rest, steps = (after - replay)[touched], step(after[touched], merge.way.grid)
    left, moved = float(np.square(rest).sum()), float(np.square(after - before).sum())
    ratio = math.sqrt(left / float(np.square(steps).sum()))
    within, equal = (float((np.abs(rest) <= width).mean()) for width in (steps, 0.0))
    return within, ratio, left / moved if moved > 0 else math.inf, equal


def _one(merge: Merge, target: Float64) -> tuple[Float64, float]:
    """The middle of the interval of coefficients that meet the target, and its half width over √3."""

    def excess(c: float) -> float:
        return float(merge.replayed_moment([c])[0] - target[0])

    near = _FINE if merge.fine else _NARROW
    low, high = -1.0, 1.0
    while excess(high) < 0 and high < _LARGEST:
        low, high = high, 2 * high
    while excess(low) > 0 and low > -_LARGEST:
        low, high = 2 * low, low
    below = _edge(lambda c: excess(c) < 0, low, high, near)
    above = _upper(lambda c: excess(c) > 0, below, near)
    return np.array([(below + above) / 2]), abs(above - below) / 2 / math.sqrt(3)


def _edge(under: Any, low: float, high: float, tolerance: float) -> float:
    """Where a monotone condition stops holding; it may hold at neither or both ends."""
    if not under(low):
        # A plateau may begin before the bracket.
        while not under(low) and low > -_LARGEST:
            low, high = low - max(1.0, abs(low)), low
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if under(middle) else (low, middle)
        if high - low <= tolerance * max(1.0, abs(high)):
            break
    return high


def _upper(over: Any, below: float, tolerance: float) -> float:
    """Where a plateau that begins at `below` ends: mostly at once, so that is looked at first."""
    near, width = below, tolerance * max(1.0, abs(below))
    while not over(below + width) and width < _LARGEST:
        near, width = below + width, 4 * width
    far = below + width
    for _ in range(4 if near > below else 0):
        middle = (near + far) / 2
        near, far = (near, middle) if over(middle) else (middle, far)
    return far


def _slopes(merge: Merge, c: Float64) -> Float64:
    """∂⟨round(W + Σ c ΔW), ΔWₐ⟩/∂c_b by central differences."""
    k = len(c)
    out = np.empty((k, k))
    width = _SLOPE_STEP * max(1.0, float(np.abs(c).max()))
    for b in range(k):
        shift = np.zeros(k)
        shift[b] = width
        ahead, behind = (merge.replayed_moment(c + sign * shift) for sign in (1, -1))
        out[:, b] = (ahead - behind) / (2 * width)
    # Where nothing moves there is no slope; a small part of the Gram keeps the equations solvable.
    return out + 1e-6 * merge.gram


def _errors(merge: Merge, c: Float64, replay: Array) -> Float64:
    if not np.all(np.diagonal(merge.gram) > 0):
        return np.full(len(c), math.inf)
    weighted = merge.candidates.astype(np.float64) * (merge.after.astype(np.float64) - replay)
    inverse: Any = np.linalg.inv(_slopes(merge, c))
    spread: Float64 = np.diagonal(inverse @ (weighted @ weighted.T) @ inverse.T)
    return np.sqrt(np.maximum(spread, 0.0))
