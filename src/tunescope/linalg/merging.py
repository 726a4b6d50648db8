"""How mergers round: in which order they add updates to a weight, and on which grid they do it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg.compiled import REPLAYED, compiled_replay
from tunescope.linalg.rounding import rounded

Array = NDArray[Any]
Float64 = NDArray[np.float64]

# Values of one stretch of a replay: what is needed beside them stays in the cache.
_STRETCH = 1 << 15
# So many updates are tried in every order, more of them as they were named and the other way round.
_PERMUTED = 4
# Of so many one may be added once more: of two in any order, of three as they were named.
_REPEATED = 3
# Grids that are computed on in float32, and where a merger rounds, by their numbers in merging.c.
_NARROW = ("bfloat16", "float16")
_UPDATES, _BASE, _IN_TURN = 1, 2, 4


@dataclass(frozen=True)
class Way:
    """How a merger adds updates to a weight.

    `grid` is the dtype that it computes in. `order` are the updates that it adds one by one, rounding the
    weight each time, as `merge_adapter` does; one that stands there twice is added in two halves. An empty
    order adds the sum of all at once. `rounds_updates` says that what is added is rounded before,
    `rounds_base` that the weight is; `stored` is the dtype of the file where it is another one.
    """

    grid: str
    order: tuple[int, ...] = ()
    rounds_updates: bool = False
    rounds_base: bool = False
    stored: str = ""

    def replayed(self, W: Array, updates: Array, coefficients: Sequence[float] | Float64) -> Array:
        """The weight that this merger makes of `W` (n,) and `updates` (k, n), each times its coefficient.

        >>> way = Way("bfloat16", order=(0, 1))
        >>> W, updates = np.ones(1, np.float32), np.full((2, 1), 0.003, np.float32)
        >>> way.replayed(W, updates, [1, 1]), replace(way, order=()).replayed(W, updates, [1, 1])
        (array([1.], dtype=float32), array([1.0078125], dtype=float32))
        """
        order = self.order or range(len(updates))
        shares = [coefficients[a] / self.order.count(a) for a in order] if self.order else coefficients
        engine = compiled_replay()
        if engine is None or not self._compiles(W, updates):
            return self._by_numpy(W, updates, order, shares)
        rounds = self.rounds_updates * _UPDATES + self.rounds_base * _BASE + bool(self.order) * _IN_TURN
        return engine(W, updates, order, shares, (self.grid, self.stored), rounds)

    def _compiles(self, W: Array, updates: Array) -> bool:
        """Whether the compiled replay reads these rows and knows these grids."""
        rows = W.dtype == updates.dtype == np.float32 and W.strides[-1] == updates.strides[-1] == W.itemsize
        return rows and self.grid in _NARROW and self.stored in REPLAYED

    def _by_numpy(
        self, W: Array, updates: Array, order: Sequence[int], shares: Sequence[float] | Float64
    ) -> Array:
        kind, start = updates.dtype.type, rounded(W, self.grid) if self.rounds_base else W
        addends = (updates[a] * kind(share) for a, share in zip(order, shares, strict=True))
        if self.order:
            for addend in addends:
                start = rounded(start + self._addend(addend), self.grid)
            return self._stored(start)
        total = next(addends)
        for addend in addends:
            total += addend
        return self._stored(rounded(self._addend(total) + start, self.grid))

    def _addend(self, update: Array) -> Array:
        return rounded(update, self.grid) if self.rounds_updates else update

    def _stored(self, made: Array) -> Array:
        return rounded(made, self.stored) if self.stored else made

    def stretches(
        self, W: Array, updates: Array, coefficients: Sequence[float] | Float64
    ) -> Iterator[tuple[slice, Array]]:
        """The same by stretches, each with where it lies."""
        for start in range(0, W.size, _STRETCH):
            part = slice(start, start + _STRETCH)
            yield part, self.replayed(W[part], updates[:, part], coefficients)

    def among(self, chosen: Sequence[int]) -> "Way":
        """The same way where only these updates are there, numbered anew."""
        new = {old: i for i, old in enumerate(chosen)}
        return replace(self, order=tuple(new[a] for a in self.order if a in new))


def ways(grid: str, k: int, on_grid: bool) -> Iterator[Way]:
    """Every way of merging k updates on a grid, the commonest first; `on_grid`: the base lies on it."""
    for rounds_base in (False,) if on_grid else (False, True):
        for order in _orders(k):
            for rounds_updates in (False, True):
                yield Way(grid, order, rounds_updates, rounds_base)


def _orders(k: int) -> list[tuple[int, ...]]:
    """All at once, one by one in turn, all of them twice, and one of few once more than the others.

    >>> _orders(1), len(_orders(2)), len(_orders(3))
    ([(), (0, 0)], 10, 17)
    """
    every = tuple(range(k))
    if k == 1:
        return [(), (0, 0)]
    turns = list(permutations(every)) if k <= _PERMUTED else [every, every[::-1]]
    again = [
        (*turn[:i], a, *turn[i:])
        for turn in (turns if k == 2 else [every] if k <= _REPEATED else [])
        for a in every
        for i in range(k + 1)
    ]
    return list(dict.fromkeys([(), *turns, every + every, *again]))


def arithmetic(values: Array, grid: str) -> str:
    """The grid that a merger computed on: the narrowest that all stored values lie on.

    A file of float32 may hold what was computed in 16 bits.

    >>> arithmetic(np.array([1.0, 1.0078125], np.float32), "float32")
    'bfloat16'
    """
    if grid in ("float32", "float64", "float16"):
        finite = values[np.isfinite(values)]
        for narrow in ("bfloat16", "float16"):
            if narrow != grid and finite.size and np.array_equal(rounded(finite, narrow), finite):
                return narrow
    return grid
