"""Which way of merging explains a module: the plain one, or another that leaves fewer values unequal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg.merging import Way, arithmetic, ways
from tunescope.linalg.replay import Coefficients, Merge, solve
from tunescope.linalg.rounding import rounded
from tunescope.linalg.unmixing import explained

Array = NDArray[Any]
Float64 = NDArray[np.float64]
# Coefficients, and the share of the moved values that come out unequal.
_Tried = tuple[Float64, float]

# A way explains a module where no larger share of the moved values comes out unequal: sums in another order
# leave less.
_UNEQUAL = 0.01
# Ways that leave up to so many times what the best leaves are as likely.
_ALIKE = 2.0
# In so many modules that none explained all ways are tried; after that only those that explained one.
_SEARCHES = 3
_NARROW = ("bfloat16", "float16")


@dataclass(eq=False)
class Mergers:
    """What was learned of a merger from the modules before: ways that explained one, with their labels."""

    known: list[tuple[tuple[str, ...], Way]] = field(default_factory=list)
    searches: int = _SEARCHES

    def read(
        self, before: Array, after: Array, updates: Array, labels: Sequence[str], grid: str
    ) -> tuple[Coefficients, Way]:
        """The coefficients of `updates` (k, n) in a module stored on `grid`, and how its merger rounded.

        Where no way explains it, the errors hold how far the likeliest are apart.
        """
        every = _ways(before, after, len(updates), grid)
        plain = [way for way in every if not (way.order or way.rounds_updates)]
        tried: dict[Way, _Tried] = {}
        for way in dict.fromkeys([*self._known(every[0], labels), *plain]):
            found = solve(Merge(before, after, updates, way))
            if 1 - found.exact <= _UNEQUAL or len(every) == 1:
                self._learn(labels, way)
                return found, way
            tried[way] = found.values, 1 - found.exact
        self._search(before, after, updates, [way for way in every if way not in tried], tried)
        best = min(tried, key=lambda way: tried[way][1])
        found = solve(Merge(before, after, updates, best))
        if 1 - found.exact <= 2 * _UNEQUAL:
            self._learn(labels, best)
        return _widened(found, list(tried.values())), best

    def _search(
        self, before: Array, after: Array, updates: Array, rest: Sequence[Way], tried: dict[Way, _Tried]
    ) -> None:
        """Tries the other ways until one explains the module, in a few modules that none explains."""
        if not self.searches:
            return
        for way in rest:
            values, exact = explained(before, after, updates, way)
            tried[way] = values, 1 - exact
            if 1 - exact <= _UNEQUAL:
                return
        self.searches -= 1

    def _learn(self, labels: Sequence[str], way: Way) -> None:
        if way not in self._known(way, labels):
            self.known.append((tuple(labels), way))

    def _known(self, like: Way, labels: Sequence[str]) -> Iterator[Way]:
        """Ways that explained a module before, for the updates that this one has."""
        for there, way in self.known:
            if (way.grid, way.stored) == (like.grid, like.stored) and set(labels) <= set(there):
                yield way.among([there.index(label) for label in labels])


def _ways(before: Array, after: Array, k: int, grid: str) -> list[Way]:
    computed = arithmetic(after, grid) if not np.array_equal(before, after) else grid
    if computed not in _NARROW:
        return [Way(computed)]
    found = ways(computed, k, on_grid=np.array_equal(rounded(before, computed), before))
    return [replace(way, stored="" if computed == grid else grid) for way in found]


def _widened(found: Coefficients, tried: Sequence[_Tried]) -> Coefficients:
    """The errors no smaller than how far the ways that explain about as much are apart."""
    least = max(min(unequal for _, unequal in tried), _UNEQUAL)
    alike = [values for values, unequal in tried if unequal <= _ALIKE * least]
    apart = np.max([np.abs(values - found.values) for values in alike], axis=0) if alike else 0.0
    return replace(found, errors=np.hypot(found.errors, apart))
