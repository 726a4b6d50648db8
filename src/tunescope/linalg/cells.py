"""The coefficients of several updates that leave exactly the rounded weights that a file holds: a polytope.

Every value of W' = round(W + Σ cₐ ΔWₐ) says that W + Σ cₐ ΔWₐ lies in the cell that rounds to it, which is a
pair of parallel planes in the space of coefficients. What lies between all of them is what the file leaves
open; its centre is the estimate and its width along every coefficient the standard error, coupling included.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg.rounding import GRIDS, step

Array = NDArray[Any]
Float64 = NDArray[np.float64]

# A merger in float32 rounds its sum by up to this much of the value for every update.
_SINGLE = 2.0**-24
# Planes of one linear program, those that bound what is sampled, and programs until no plane is violated.
_PLANES, _NEAREST, _PROGRAMS = 600, 1000, 12
# Points that walk inside the polytope, their steps, and those before which none is counted.
_WALKERS, _STEPS, _SETTLED = 64, 60, 15
# Coefficients beyond this are not looked for.
_FAR = 1e5


def inside(
    before: Array, after: Array, candidates: Array, grid: str, start: Float64
) -> tuple[Float64, Float64] | None:
    """Mean and standard deviation of the coefficients that round to `after`, or `None` where none do.

    `candidates` is (k, n), `start` (k,) a guess. All points of the polytope count alike. The cells are wider
    than rounding makes them by what a merger in float32 may err.
    """
    low, high = _cells(before, after, len(candidates), grid)
    gram = candidates.astype(np.float64) @ candidates.T.astype(np.float64)
    # In whitened coordinates one unit is one norm of update in every direction.
    root = np.linalg.inv(np.linalg.cholesky(gram / np.trace(gram))).T
    planes = candidates.T.astype(np.float64) @ root
    sizes = np.linalg.norm(planes, axis=1)
    live = sizes > 0
    planes, low, high = (x[live] for x in (planes, low, high))
    planes, low, high = planes / sizes[live, None], low / sizes[live], high / sizes[live]
    centre = _centre(planes, low, high, np.linalg.solve(root, start))
    if centre is None:
        return None
    points = _walked(planes, low, high, centre) @ root.T
    return points.mean(axis=0), points.std(axis=0)


def _cells(before: Array, after: Array, k: int, grid: str) -> tuple[Float64, Float64]:
    """How far each value of W may move, down and up, and still round to W'."""
    W, V = before.astype(np.float64), after.astype(np.float64)
    outward = step(V, grid) / 2
    # Below a power of two the grid is twice as fine.
    smallest = GRIDS[grid][1]
    power = (np.frexp(V)[0] == np.copysign(0.5, V)) & (np.abs(V) > 2.0**smallest)
    inward = np.where(power, outward / 2, outward)
    slack = (k + 1) * _SINGLE * np.maximum(np.abs(W), np.abs(V))
    positive = V > 0
    below, above = np.where(positive, inward, outward), np.where(positive, outward, inward)
    return V - below - slack - W, V + above + slack - W


def _centre(planes: Float64, low: Float64, high: Float64, start: Array) -> Float64 | None:
    """The point farthest from all planes: linear programs over ever more planes that the last violated."""
    # Deferred: SciPy takes long to import, and only several adapters need it.
    from scipy.optimize import linprog

    k = planes.shape[1]
    goal = np.r_[np.zeros(k), -1.0]
    bounds = [(-_FAR, _FAR)] * k + [(None, _FAR)]
    where, chosen = start, np.zeros(len(planes), bool)
    for _ in range(_PROGRAMS):
        along = planes @ where
        room = np.minimum(high - along, along - low)
        chosen[np.argpartition(room, min(_PLANES, len(room) - 1))[:_PLANES]] = True
        rows, ones = planes[chosen], np.ones((int(chosen.sum()), 1))
        sides = np.block([[rows, ones], [-rows, ones]])
        found = linprog(goal, A_ub=sides, b_ub=np.r_[high[chosen], -low[chosen]], bounds=bounds)
        if found.x is None or found.x[-1] <= 0:
            return None
        where, radius = found.x[:k], float(found.x[-1])
        along = planes @ where
        if float(np.minimum(high - along, along - low).min()) >= 0.5 * radius:
            return np.asarray(where)
    return None


def _walked(planes: Float64, low: Float64, high: Float64, centre: Float64) -> Float64:
    """Points spread evenly over the polytope, by hit-and-run from its centre."""
    along = planes @ centre
    room = np.minimum(high - along, along - low)
    near = np.argpartition(room, min(_NEAREST, len(room) - 1))[:_NEAREST]
    planes, low, high = planes[near], low[near], high[near]
    draw = np.random.default_rng(0)
    points = np.tile(centre, (_WALKERS, 1))
    kept = []
    for i in range(_STEPS):
        ways = draw.standard_normal(points.shape)
        slopes, heights = ways @ planes.T, points @ planes.T
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.stack([(low - heights) / slopes, (high - heights) / slopes])
        upper = np.where(np.isfinite(ends), ends, np.inf).max(axis=0).min(axis=1)
        lower = np.where(np.isfinite(ends), ends, -np.inf).min(axis=0).max(axis=1)
        points = points + (lower + (upper - lower) * draw.random(len(points)))[:, None] * ways
        if i >= _SETTLED:
            kept.append(points)
    return np.concatenate(kept)
