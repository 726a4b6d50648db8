"""Several coefficients at once: c for which all moments ⟨W' − replay(c), ΔWₐ⟩ are zero.

A replay is monotone in every coefficient, so each equation alone has one crossing, whatever rounding does to
the slope; taken in turns along directions in which the updates are independent, they settle in a few
sweeps. Newton's method does not: where rounding eats most of an update, slopes are noise.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg.merging import Way

Array = NDArray[Any]
Float64 = NDArray[np.float64]

# Values that are replayed, of those that some coefficient within reach would move.
_ACTIVE = 1 << 12
_REACH, _LARGEST = 2.0, 2.0**14
_SWEEPS, _TURNS, _SETTLED = 24, 6, 2e-4
# How near to an edge a search goes, and the width over which the slopes of the equations are taken.
_NEAR, _WIDTH = 1e-4, 0.1
# Steps of the sampler, those before which none counts, and doublings of a slice.
_STEPS, _BURNT, _OUT = 48, 12, 12
# Where less than this is open no sample is drawn.
_FINE = 1e-4
# The spread of so few points that follow each other, over that of all.
_SPREAD = 1.5
# Updates of smaller cosines than this are taken as they are.
_INDEPENDENT = 0.2


@dataclass(frozen=True, eq=False)
class Unmixed:
    """Coefficients (k,), standard errors, and the `best` (k,) with its share of equal values."""

    values: Float64
    errors: Float64
    best: Float64
    exact: float


def unmixed(before: Array, after: Array, updates: Array, way: Way) -> Unmixed:
    """The coefficients of k updates (k, n) in `after`, where a merger adds them to `before` in this way.

    The standard errors hold the residual through the slopes of the equations, and the spread of coefficients
    that explain the weights as well.
    """
    equations, values = _settled(before, after, updates, way)
    return equations.told(values)


def explained(before: Array, after: Array, updates: Array, way: Way) -> tuple[Float64, float]:
    """The same coefficients without errors, and the share of the moved values that come out equal."""
    equations, values = _settled(before, after, updates, way)
    return values, equations.exact(values)


def _settled(before: Array, after: Array, updates: Array, way: Way) -> tuple["_Equations", Float64]:
    reach = _REACH
    while True:
        chosen = _active(before, after, updates, way, reach)
        equations = _Equations(before[chosen], after[chosen], updates[:, chosen], way)
        values = equations.solved()
        largest = float(np.abs(values).max())
        if largest <= 0.75 * reach or reach >= _LARGEST:
            return equations, values
        reach = min(2 * largest, _LARGEST)


def _active(before: Array, after: Array, updates: Array, way: Way, reach: float) -> NDArray[np.int64]:
    """Where a value moved, or would with coefficients within reach; of many some, spread evenly."""
    size = np.abs(updates).sum(axis=0)[None]
    alone = replace(way, order=(), rounds_updates=False)
    still = alone.replayed(before, size, [0.0])
    live = after != still
    for sign in (-1, 1):
        live |= alone.replayed(before, size, [sign * reach]) != still
    found = np.flatnonzero(live)
    if not found.size:
        return np.arange(min(before.size, _ACTIVE))
    return found[np.linspace(0, found.size - 1, min(found.size, _ACTIVE)).astype(np.int64)]


class _Equations:
    """⟨W' − replay(c), d⟩ = 0 for every direction d, a sum of updates."""

    def __init__(self, W: Array, V: Array, updates: Array, way: Way) -> None:
        self.W, self.V, self.U, self.way = W, V, np.ascontiguousarray(updates), way
        self._along(_directions(self.U))

    def left(self, c: Float64, j: int, t: float = 0.0) -> float:
        """What is left of equation j where one goes t along direction j; falls with t."""
        return float((self.V - self.made(c + t * self.ways[:, j])) @ self.along[j])

    def made(self, c: Float64) -> Array:
        return self.way.replayed(self.W, self.U, c)

    def exact(self, c: Float64) -> float:
        made = self.made(c)
        touched = (self.V != self.W) | (made != self.W)
        return float((made == self.V)[touched].mean()) if touched.any() else 1.0

    def solved(self) -> Float64:
        """Sweeps along the updates' own directions until they settle, then along others."""
        draw = np.random.default_rng(0)
        own, c, width, turned = self.ways, np.zeros(len(self.U)), 1.0, 0
        best, most = c, -1.0
        for _ in range(_SWEEPS):
            old = c
            for j in range(len(c)):
                c = c + self._crossing(c, j, width) * self.ways[:, j]
            moved = float(np.abs(c - old).max())
            width = min(max(2 * moved, 10 * _NEAR), 1.0)
            exact = self.exact(c)
            if exact > most:
                best, most = c, exact
            if exact == 1 or (moved <= _SETTLED and turned >= _TURNS) or len(c) == 1:
                break
            if moved <= _SETTLED or turned:
                turned += 1
                self._along(own @ np.linalg.qr(draw.standard_normal((len(c), len(c))))[0])
                width = max(width, 0.01)
        self._along(own)
        return best

    def _along(self, ways: Float64) -> None:
        self.ways = ways / np.abs(ways).max(axis=0)
        self.along = self.ways.T.astype(self.U.dtype) @ self.U

    def _crossing(self, c: Float64, j: int, width: float) -> float:
        """Where equation j crosses zero: the middle of the stretch on which it is zero, or of the jump."""
        low, high = -width, width
        below, above = self.left(c, j, low), self.left(c, j, high)
        while below < 0 and low > -_LARGEST:
            low, high, above = 3 * low, low, below
            below = self.left(c, j, low)
        while above > 0 and high < _LARGEST:
            low, high, below = high, 3 * high, above
            above = self.left(c, j, high)
        middle, at = self._narrowed(c, j, (low, below), (high, above))
        if at != 0:
            return middle
        return middle + (self._edge(c, j, middle, 1) - self._edge(c, j, middle, -1)) / 2

    def _narrowed(
        self, c: Float64, j: int, low: tuple[float, float], high: tuple[float, float]
    ) -> tuple[float, float]:
        """False position with halving of the stale end, until a zero or two ends that are near."""
        (a, fa), (b, fb) = low, high
        weight_a = weight_b = 1.0
        while b - a > _NEAR and fa > 0 > fb:
            share = weight_a * fa / (weight_a * fa - weight_b * fb)
            t = a + (b - a) * min(max(share, 0.05), 0.95)
            f = self.left(c, j, t)
            if f == 0:
                return t, 0.0
            if f > 0:
                a, fa, weight_a, weight_b = t, f, 1.0, weight_b / 2
            else:
                b, fb, weight_b, weight_a = t, f, 1.0, weight_a / 2
        return ((a, fa) if fa == 0 else (b, fb)) if fa == 0 or fb == 0 else ((a + b) / 2, fa)

    def _edge(self, c: Float64, j: int, start: float, sign: int) -> float:
        """How far equation j stays as it is from here, to within an eighth."""
        here, near, far = self.left(c, j, start), 0.0, _NEAR
        while self.left(c, j, start + sign * far) == here and far < _LARGEST:
            near, far = far, 2 * far
        for _ in range(3 if near else 0):
            middle = (near + far) / 2
            same = self.left(c, j, start + sign * middle) == here
            near, far = (middle, far) if same else (near, middle)
        return far

    def told(self, c: Float64) -> Unmixed:
        """Centre and spread of all coefficients that explain the weights as well, with what they leave."""
        k = len(c)
        open_ = np.array(
            [max(_NEAR + self._edge(c, j, sign * _NEAR, sign) for sign in (-1, 1)) for j in range(k)]
        )
        if not (np.isfinite(open_).all() and open_.max() < _LARGEST / 4):
            return Unmixed(c, np.full(k, np.inf), c, self.exact(c))
        best, spread = c, open_ @ np.abs(self.ways.T)
        if spread.max() > _FINE:
            best, points = self._walked(c, open_)
            c, spread = points.mean(axis=0), _SPREAD * points.std(axis=0)
        return Unmixed(c, np.hypot(spread, self._noise(c)), best, self.exact(best))

    def _unequal(self, c: Float64) -> int:
        return int(np.count_nonzero(self.made(c) != self.V))

    def _walked(self, c: Float64, sizes: Float64) -> tuple[Float64, Float64]:
        """The best and all points of a slice sampler, its density falling by e with every unequal value.

        A few may: where no value did, islands of coefficients would be cut off from the truth.
        """
        draw, here = np.random.default_rng(0), self._unequal(c)
        points, shape, best, least = [c], self.ways * sizes, c, here
        for step in range(_STEPS):
            # Two points apart lie along what is long, which a direction by chance seldom does.
            a, b = draw.integers(len(points), size=2)
            apart = points[a] - points[b]
            way = 2 * apart if step % 2 and apart.any() else shape @ draw.standard_normal(len(c))
            c, here = self._slice(c, way, here + draw.exponential(), draw)
            points.append(c)
            if here < least:
                best, least = c, here
        return best, np.array(points[_BURNT:])

    def _slice(self, c: Float64, way: Float64, most: float, draw: np.random.Generator) -> tuple[Float64, int]:
        """Another point along a way where at most so many values come out unequal."""
        start = draw.random()
        low, high = (self._beyond(c, way, most, t) for t in (-start, 1 - start))
        while high - low > 1e-6:
            t = low + (high - low) * draw.random()
            there = c + t * way
            unequal = self._unequal(there)
            if unequal <= most:
                return there, unequal
            low, high = (t, high) if t < 0 else (low, t)
        return c, self._unequal(c)

    def _beyond(self, c: Float64, way: Float64, most: float, t: float) -> float:
        """So far along a way, doubled, that more values come out unequal."""
        for _ in range(_OUT):
            if self._unequal(c + t * way) > most:
                break
            t *= 2
        return t

    def _noise(self, c: Float64) -> Float64:
        """The standard errors that the residual leaves, through the slopes of the equations."""
        k = len(c)
        slopes = np.empty((k, k))
        for j in range(k):
            ahead, behind = (self.made(c + sign * _WIDTH * self.ways[:, j]) for sign in (1, -1))
            slopes[:, j] = self.along @ (ahead - behind) / (2 * _WIDTH)
        slopes += 1e-6 * np.diag(np.einsum("jn,jn->j", self.along, self.along))
        inverse = self.ways @ np.linalg.inv(slopes)
        noise = inverse @ (self.along * (self.V - self.made(c)))
        return np.asarray(np.sqrt(np.einsum("kn,kn->k", noise, noise, dtype=np.float64)))


def _directions(updates: Array) -> Float64:
    """Combinations of updates (columns, largest entry 1) that are independent of each other."""
    k = len(updates)
    gram = updates.astype(np.float64) @ updates.T.astype(np.float64)
    sizes = np.sqrt(np.maximum(np.diagonal(gram), np.finfo(float).tiny))
    cosines = gram / np.outer(sizes, sizes)
    if np.abs(cosines - np.eye(k)).max() <= _INDEPENDENT:
        return np.eye(k)
    values, vectors = np.linalg.eigh(cosines)
    root = (vectors / np.sqrt(np.maximum(values, 1e-12))) @ vectors.T / sizes[:, None]
    return np.asarray(root / np.abs(root).max(axis=0))
