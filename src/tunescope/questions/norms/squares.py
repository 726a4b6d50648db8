"""Σ ΔW² of every row or of every column of whole weights, from spans in any order."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Array
from tunescope.linalg.differences import same_bytes
from tunescope.linalg.squares import squares

Float64 = NDArray[np.float64]


class Squares:
    """The sums of some tensors of `shape` (rows, columns) against one, added in the order of the values."""

    def __init__(self, count: int, shape: tuple[int, int], by_column: bool) -> None:
        self._shape, self._by_column = shape, by_column
        # Of every tensor the sums of each span, by where it starts.
        self._parts: list[dict[int, list[tuple[slice, Float64]]]] = [{} for _ in range(count)]

    def __call__(self, start: int, before: Array, afters: Sequence[Array]) -> None:
        """Take in a span of the tensor before and of each one after."""
        for parts, after in zip(self._parts, afters, strict=True):
            parts[start] = [] if same_bytes(before, after) else list(self._summed(start, before, after))

    def _summed(self, start: int, before: Array, after: Array) -> Iterator[tuple[slice, Float64]]:
        """The sums of a span, and the rows or columns that they are of."""
        columns, stop = self._shape[1], start + before.size
        first = min(-(-start // columns) * columns, stop)
        last = max(stop // columns * columns, first)
        for begin, end in ((start, first), (first, last), (last, stop)):
            if begin == end:
                continue
            row, column, span = begin // columns, begin % columns, slice(begin - start, end - start)
            width = columns if begin == first and end == last else end - begin
            sums = squares(before[span], after[span], width, self._by_column)
            at = column if self._by_column else row
            yield slice(at, at + len(sums)), sums

    def of(self, number: int, norm: float | None = None) -> Float64:
        """The sums of one tensor, `(columns,)` or `(rows,)`.

        With its `norm` ‖ΔW‖_F they add up to its square: of 16 bits that is summed in float32 in part.
        """
        found = np.zeros(self._shape[int(self._by_column)])
        for _, spans in sorted(self._parts[number].items(), key=lambda item: item[0]):
            for where, sums in spans:
                found[where] += sums
        total = float(found.sum())
        return found if norm is None or not 0 < total < math.inf else found * (norm**2 / total)
