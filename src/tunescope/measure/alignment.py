"""Whether whole models moved one weight the same way, from a stream of their differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Array, Pair
from tunescope.linalg.differences import UNIT
from tunescope.linalg.widening import widen

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Aligned:
    """`inner` ⟨ΔW, ΔW'⟩, `norm_a` ‖ΔW‖, `norm_b` ‖ΔW'‖, and whether both differences are `identical`."""

    inner: float
    norm_a: float
    norm_b: float
    identical: bool


class Alignments:
    """How every two of some tensors' differences lie to each other, in sums over units, added in order."""

    def __init__(self, count: int) -> None:
        self._units: dict[int, tuple[Float64, NDArray[np.bool_]]] = {}
        self._count = count

    def __call__(self, start: int, before: Array, afters: Sequence[Array]) -> None:
        """Take in a span of whole units of the tensor before and of each one after."""
        for at in range(0, before.size, UNIT):
            unit = slice(at, at + UNIT)
            self.add(start + at, [difference(before[unit], after[unit]) for after in afters])

    def add(self, start: int, differences: Sequence[Float64]) -> None:
        """Take in the differences of one unit."""
        inner, same = self._nothing()
        for i, mine in enumerate(differences):
            for j, theirs in enumerate(differences[i:], i):
                inner[i, j] = np.einsum("i,i->", mine, theirs)
                same[i, j] = np.array_equal(mine, theirs)
        self._units[start] = inner, same

    def _nothing(self) -> tuple[Float64, NDArray[np.bool_]]:
        return np.zeros((self._count, self._count)), np.ones((self._count, self._count), np.bool_)

    def found(self) -> dict[tuple[int, int], Aligned]:
        """Of every two, by their numbers."""
        inner, same = self._nothing()
        for start in sorted(self._units):
            inner += self._units[start][0]
            same &= self._units[start][1]
        norms = np.sqrt(np.diag(inner)).tolist()
        return {
            (i, j): Aligned(float(inner[i, j]), norms[i], norms[j], bool(same[i, j]))
            for i, j in combinations(range(len(norms)), 2)
        }


def alignment(a: Pair, b: Pair) -> Aligned:
    """The same of two pairs of any bases.

    >>> from tunescope.delta import InMemory
    >>> zero, one = InMemory(np.zeros(4)), InMemory(np.ones(4))
    >>> alignment(Pair(zero, one), Pair(zero, one)).inner
    4.0
    """
    size = min(a.after.size, b.after.size)
    both = Alignments(2)
    for start in range(0, size, UNIT):
        span = start, min(start + UNIT, size)
        both.add(start, [difference(pair.before.part(*span), pair.after.part(*span)) for pair in (a, b)])
    found = both.found()[0, 1]
    same = found.identical and a.after.size == b.after.size
    return Aligned(found.inner, found.norm_a, found.norm_b, same)


def difference(before: Array, after: Array) -> Float64:
    """`after` − `before` in float64."""
    new, old = (widen(values, np.empty(values.size, np.float64)) for values in (after, before))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.subtract(new, old, out=new))
