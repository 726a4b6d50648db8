"""Σ ΔW² of every row or of every column of whole weights, from spans in any order."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Array
from tunescope.measure.alignment import difference

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
            moved = difference(before, after)
            np.multiply(moved, moved, out=moved)
            parts[start] = list(self._summed(start, moved))

    def _summed(self, start: int, squares: Float64) -> Iterator[tuple[slice, Float64]]:
        """The sums of a span, and the rows or columns that they are of."""
        columns, stop = self._shape[1], start + squares.size
        first = min(-(-start // columns) * columns, stop)
        last = max(stop // columns * columns, first)
        for begin, end in ((start, first), (first, last), (last, stop)):
            if begin == end:
                continue
            block, row, column = squares[begin - start : end - start], begin // columns, begin % columns
            block = block.reshape(-1, columns) if begin == first and end == last else block[None]
            if self._by_column:
                yield slice(column, column + block.shape[1]), block.sum(axis=0)
            else:
                yield slice(row, row + len(block)), block.sum(axis=1)

    def of(self, number: int) -> Float64:
        """The sums of one tensor, `(columns,)` or `(rows,)`."""
        found = np.zeros(self._shape[int(self._by_column)])
        for _, spans in sorted(self._parts[number].items(), key=lambda item: item[0]):
            for where, sums in spans:
                found[where] += sums
        return found
