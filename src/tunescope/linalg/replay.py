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

from tunescope.linalg.cells import inside
from tunescope.linalg.rounding import rounded, step

Array = NDArray[Any]
Float64 = NDArray[np.float64]

# Coefficients beyond this are not looked for; |c| = 2^13 is an alpha of thousands left out.
_LARGEST = 2.0**14
_BISECTIONS = 40
_ROUNDS = 30
# How near to an edge bisection goes on grids of 16 bits and of more: no step must be missed.
_NARROW, _FINE = 1e-6, 1e-9
# Values of one inner product in float32, and of one stretch of the replay.
_ROW, _STRETCH = 512, 1 << 15
# What the order of a merger's own roundings, which no file tells, may shift a coefficient by.
_RESOLUTION = 1e-3
# A relative step for slopes: large against the flips of single values, small against curvature.
_SLOPE_STEP = 0.03


@dataclass(frozen=True, eq=False)
class Merge:
    """A module before and after, and the updates that may be in it, all as rows of n numbers.

    `before` and `after` are exact, `candidates` (k, n), `grid` is the dtype that `after` is stored in.
    """

    before: Array
    after: Array
    candidates: Array
    grid: str

    @cached_property
    def _wide(self) -> tuple[Array, Array, Array]:
        """W, W' − W and the candidates in the precision that mergers compute in, float32 for 16-bit grids."""
        kind: Any = np.float64 if self.grid in ("float32", "float64") else np.float32
        W: Array = self.before.astype(kind)
        C: Array = self.candidates.astype(kind)
        moved: Array = self.after.astype(kind) - W
        return W, moved, np.ascontiguousarray(C)

    def replayed(self, coefficients: Sequence[float] | Float64) -> Array:
        """`round(W + Σ cₐ ΔWₐ)` on the grid."""
        W, _, C = self._wide
        total = C[0] * C.dtype.type(coefficients[0])
        for value, candidate in zip(coefficients[1:], C[1:], strict=True):
            total += candidate * C.dtype.type(value)
        total += W
        return rounded(total, self.grid)

    def moment(self) -> Float64:
        """⟨W' − W, ΔWₐ⟩ for every candidate."""
        _, moved, C = self._wide
        return np.array([_inner(moved, candidate) for candidate in C])

    def replayed_moment(self, coefficients: Sequence[float] | Float64) -> Float64:
        """⟨round(W + Σ c_b ΔW_b) − W, ΔWₐ⟩ for every candidate, by stretches that stay in the cache."""
        W, _, C = self._wide
        total, term = np.empty(_STRETCH, W.dtype), np.empty(_STRETCH, W.dtype)
        found = np.zeros(len(C))
        for start in range(0, W.size, _STRETCH):
            w, c = W[start : start + _STRETCH], C[:, start : start + _STRETCH]
            sum_, one = total[: w.size], term[: w.size]
            np.multiply(c[0], c.dtype.type(coefficients[0]), out=sum_)
            for value, candidate in zip(coefficients[1:], c[1:], strict=True):
                sum_ += np.multiply(candidate, c.dtype.type(value), out=one)
            sum_ += w
            moved = np.subtract(rounded(sum_, self.grid), w, out=one)
            found += [_inner(moved, candidate) for candidate in c]
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
    share ‖W' − replay‖²/‖W' − W‖². `below_grid` is true where one whole merge of every candidate would have
    changed nothing.
    """

    values: Float64
    errors: Float64
    kept: Float64
    equal_fraction: float | None
    residual_ratio: float | None
    unexplained: float | None
    below_grid: bool


def solve(merge: Merge) -> Coefficients:
    """The coefficients of a merge, by bisection for one candidate and by Broyden's method for several.

    The standard error holds what the replay's residual leaves open, Σe²ΔW² through the slope of the
    equations, the width of the interval in which all coefficients give the same rounded weights, and 0.001
    for roundings within the merger.
    """
    target = merge.moment()
    values, open_width = _one(merge, target) if len(merge.candidates) == 1 else _several(merge, target)
    within = _within(merge, values)
    if within is not None:
        values, open_width = within
    replay = merge.replayed(values)
    floor = _RESOLUTION * np.maximum(1.0, np.abs(values))
    errors = np.sqrt(_errors(merge, values, replay) ** 2 + open_width**2 + floor**2)
    squares = np.diagonal(merge.gram)
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = np.where(squares > 0, target / squares, math.nan)
    at_one = merge.replayed(np.ones(len(merge.candidates)))
    unmoved = bool(np.array_equal(at_one, rounded(merge.before, merge.grid)))
    return Coefficients(values, errors, kept, *evidence(merge, replay), unmoved)


def _within(merge: Merge, values: Float64) -> tuple[Float64, Float64] | None:
    """Of several updates the centre and spread of all coefficients that give exactly W', if any do.

    Grids of 32 bits and more are finer than what a merger rounds on the way.
    """
    if len(values) == 1 or merge.grid in ("float32", "float64"):
        return None
    return inside(merge.before, merge.after, merge.candidates, merge.grid, values)


def evidence(merge: Merge, replay: Array) -> tuple[float | None, float | None, float | None]:
    """Share within one step, ‖W' − replay‖ over the norm of the steps, and ‖W' − replay‖²/‖W' − W‖²."""
    after, before = merge.after.astype(np.float64), rounded(merge.before, merge.grid).astype(np.float64)
    touched = (after != before) | (replay != before)
    if not touched.any():
        return None, None, None
    rest, steps = (after - replay)[touched], step(after[touched], merge.grid)
    left, moved = float(np.square(rest).sum()), float(np.square(after - before).sum())
    ratio = math.sqrt(left / float(np.square(steps).sum()))
    return float((np.abs(rest) <= steps).mean()), ratio, left / moved if moved > 0 else math.inf


def _one(merge: Merge, target: Float64) -> tuple[Float64, float]:
    """The middle of the interval of coefficients that meet the target, and its half width over √3."""

    def excess(c: float) -> float:
        return float(merge.replayed_moment([c])[0] - target[0])

    near = _FINE if merge.grid in ("float32", "float64") else _NARROW
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


def _several(merge: Merge, target: Float64) -> tuple[Float64, Float64]:
    """Broyden's method from the plain projection; the width is what the last equations leave."""
    gram = merge.gram
    c: Any = np.linalg.solve(gram, target)
    inverse: Any = np.linalg.inv(_slopes(merge, c))
    rest: Any = target - merge.replayed_moment(c)
    best: Any
    best, least = c, _size(rest, gram)
    for _ in range(_ROUNDS):
        move = inverse @ rest
        new = c + move
        left = target - merge.replayed_moment(new)
        change = rest - left
        weight = float(move @ inverse @ change)
        if abs(weight) > 1e-30:
            inverse = inverse + np.outer(move - inverse @ change, move @ inverse) / weight
        c, rest = new, left
        if (size := _size(rest, gram)) < least:
            best, least = c, size
        if float(np.abs(move).max()) < 1e-6:
            break
    left = target - merge.replayed_moment(best)
    open_width: Any = np.linalg.solve(_slopes(merge, best), left)
    return best, np.abs(open_width)


def _size(rest: Float64, gram: Float64) -> float:
    return float(np.abs(rest / np.diagonal(gram)).max())


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
