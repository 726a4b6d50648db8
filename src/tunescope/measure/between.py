"""What every two of many models have in common, summed over their weights: a table of models by models.

A weight is read once for each block of models that fits the memory budget; of low rank, the inner products
of all pairs are a few matrix products. Nothing is kept for each pair and weight.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Delta, Pair
from tunescope.linalg.products import Each
from tunescope.measure.alignment import Aligned, alignment
from tunescope.measure.blocks import Block, blocks
from tunescope.measure.meetings import Meeting, meetings

Bool = NDArray[np.bool_]
Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

# What is known already of how two pairs lie to each other.
Known = Callable[[Pair, Pair], Aligned | None]
# Multiplications of all pairs up to which they are done in float64: a minute of one core. Beyond, products
# are in float32 and their sums in float64.
EXACT = 1 << 40
_THREADS = min(2, os.cpu_count() or 1)


@dataclass(frozen=True, eq=False)
class Between:
    """N models, M weights that two or more of them have, and what all pairs of models share.

    `inner` `(N, N)` is Σ⟨ΔW, ΔW'⟩ over weights of one shape that are finite in both, `squares[i, j]` Σ‖ΔW_i‖²
    over the same weights. `(M, N)` each: `shapes` numbers the shape that a model's weight has, −1 where it
    has none; `contents` numbers updates that are the same bit by bit, −1 where an update equals nothing, not
    even itself; `sides` is 0, or 1 and 2 where only models of the two sides meet.
    """

    labels: tuple[str, ...]
    component_names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    shapes: Int64
    contents: Int64
    sides: Int64
    inner: Float64
    squares: Float64

    def met(self, i: int, models: slice = slice(None)) -> Bool:
        """Whether model `i` and each of `models` both have each of the weights, `(M, models)`."""
        theirs, sides = self.shapes[:, models], self.sides[:, models]
        mine = self.shapes[:, i, None]
        meet: Bool = (sides == 0) | (sides != self.sides[:, i, None])
        return meet & (theirs >= 0) & (mine >= 0)

    def fits(self, i: int, models: slice = slice(None)) -> Bool:
        """As `met`, and both have it in one shape."""
        alike: Bool = self.shapes[:, models] == self.shapes[:, i, None]
        return alike & self.met(i, models)

    def same(self, i: int, models: slice = slice(None)) -> Bool:
        """As `met`, and both updates are the same bit by bit."""
        theirs, mine = self.contents[:, models], self.contents[:, i, None]
        alike: Bool = (theirs >= 0) & (theirs == mine)
        return alike & self.met(i, models)

    @cached_property
    def named(self) -> Int64:
        """Weights that both have, whatever their shapes, `(N, N)`."""
        return np.array([self.met(i).sum(axis=0) for i in range(len(self.labels))])

    @cached_property
    def compared(self) -> Int64:
        """Weights that both have in one shape, `(N, N)`."""
        return np.array([self.fits(i).sum(axis=0) for i in range(len(self.labels))])

    @cached_property
    def identical(self) -> Int64:
        """Weights whose updates are the same bit by bit, `(N, N)`."""
        return np.array([self.same(i).sum(axis=0) for i in range(len(self.labels))])

    @cached_property
    def cosine(self) -> Float64:
        """Cosine of the whole ΔW over the weights both have, `(N, N)`; NaN where there is none."""
        # Two roots, as the product of two small squares can be 0.
        root = np.sqrt(self.squares)
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Float64 = np.clip(self.inner / (root * root.T), -1.0, 1.0)
        found[~((self.squares > 0) & (self.squares.T > 0))] = np.nan
        np.fill_diagonal(found, 1.0)
        return found


def between(
    models: Sequence[tuple[str, Sequence[Delta]]],
    tell: Callable[[str, int, int], None] = lambda *_: None,
    known: Known = lambda *_: None,
) -> Between:
    """All pairs of labelled models, over the weights that both have, by their addresses.

    What one model fuses and the other does not is compared part by part (`refinement`). `tell` is told what
    is done, how many of the weights, and how many there are; `known` gives what is known of two pairs.
    """
    met = meetings([deltas for _, deltas in models])
    exact = sum(meeting.work for meeting in met) <= EXACT
    found = _Sums(len(models), len(met), known)
    with ThreadPoolExecutor(_THREADS) as pool:
        for m, meeting in enumerate(met):
            tell("comparing models", m, len(met))
            found.add(m, meeting, exact, pool.map)
    names = tuple(meeting.component_name for meeting in met)
    labels = tuple(label for label, _ in models)
    return Between(
        labels, names, tuple(found.sizes), found.shapes, found.contents, found.sides, found.inner,
        found.squares,
    )  # fmt: skip


class _Sums:
    """What `Between` holds, while it is added up."""

    def __init__(self, models: int, weights: int, known: Known) -> None:
        self.known = known
        self.sizes: dict[tuple[int, int], int] = {}
        self.shapes, self.contents = (np.full((weights, models), -1, np.int64) for _ in range(2))
        self.sides = np.zeros((weights, models), np.int64)
        self.inner, self.squares = np.zeros((models, models)), np.zeros((models, models))

    def add(self, m: int, meeting: Meeting, exact: bool, each: Each) -> None:
        """Take one weight of all models in."""
        groups: dict[int, list[int]] = {}
        for i, delta in meeting.deltas.items():
            shape = self.sizes.setdefault((delta.d_out, delta.d_in), len(self.sizes))
            self.shapes[m, i] = shape
            self.sides[m, i] = meeting.sides.get(i, 0)
            groups.setdefault(shape, []).append(i)
        whole = all(delta.pair is not None for delta in meeting.deltas.values())
        for models in groups.values():
            if len(models) > 1 and whole:
                self._align(m, meeting, models)
            elif len(models) > 1:
                self._multiply(m, meeting, models, exact, each)

    def _align(self, m: int, meeting: Meeting, models: list[int]) -> None:
        """Differences of whole tensors, which are streamed pair by pair."""
        contents = self.contents[m]
        for i, j in combinations(models, 2):
            a, b = meeting.deltas[i].pair, meeting.deltas[j].pair
            if a is None or b is None:
                continue
            found = self.known(a, b) or alignment(a, b)
            sizes = np.array([found.norm_a]), np.array([found.norm_b])
            self._put(m, [i], [j], np.array([[found.inner]]), *sizes)
            if found.identical:
                contents[i] = i if contents[i] < 0 else contents[i]
                contents[j] = contents[i]

    def _multiply(self, m: int, meeting: Meeting, models: list[int], exact: bool, each: Each) -> None:
        deltas, kinds = [meeting.deltas[i] for i in models], dict[bytes, int]()
        start = numbered = 0
        while start < len(models):
            at, mine, first = start, None, None
            for block in blocks(deltas[start:], exact):
                theirs = models[at : at + len(block.updates)]
                at += len(theirs)
                if at > numbered:
                    numbered = at
                    for i, content in zip(theirs, block.contents, strict=True):
                        self.contents[m, i] = -1 if content is None else kinds.setdefault(content, len(kinds))
                mine, first = mine or theirs, first or block
                self._meet(m, mine, theirs, first, block, each)
            start += len(mine or models)

    def _meet(self, m: int, mine: list[int], theirs: list[int], a: Block, b: Block, each: Each) -> None:
        inner = a.inner(b, each)
        contents = self.contents[m, mine][:, None]
        # What is the same has the cosine 1, whatever was rounded.
        alike = (contents >= 0) & (contents == self.contents[m, theirs])
        with np.errstate(invalid="ignore", over="ignore"):
            inner = np.where(alike, np.outer(a.norms, b.norms), inner)
        self._put(m, mine, theirs, inner, a.norms, b.norms)

    def _put(
        self, m: int, mine: list[int], theirs: list[int], inner: Float64, a: Float64, b: Float64
    ) -> None:
        """Add a block of inner products where both are finite and the two models meet."""
        sides = self.sides[m, mine][:, None], self.sides[m, theirs]
        usable = np.isfinite(inner) & np.isfinite(a)[:, None] & np.isfinite(b)
        usable &= (sides[1] == 0) | (sides[0] != sides[1])
        with np.errstate(invalid="ignore", over="ignore"):
            inner, first, second = (np.where(usable, v, 0.0) for v in (inner, a[:, None] ** 2, b**2))
        self.inner[np.ix_(mine, theirs)] += inner
        self.squares[np.ix_(mine, theirs)] += first
        if mine is not theirs:
            self.inner[np.ix_(theirs, mine)] += inner.T
            self.squares[np.ix_(theirs, mine)] += second.T
