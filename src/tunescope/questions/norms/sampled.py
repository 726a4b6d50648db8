"""Which values of a weight moved in each of several models, in all of it or in stretches of its rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Array, Pair
from tunescope.linalg.changed import Common, common_changes
from tunescope.linalg.widening import widen

# Values of a weight that are looked at; of larger ones stretches of rows spread evenly.
_MOST, _STRETCH = 1 << 22, 64


class Sampled:
    """Values before, and which of them moved in each of some tensors of `shape` (rows, columns)."""

    def __init__(self, count: int, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self._columns = shape[1]
        self._spans = [(a * shape[1], b * shape[1]) for a, b in _stretches(*shape)]
        lengths = [last - first for first, last in self._spans]
        self._at = [0, *np.cumsum(lengths).tolist()]
        self._before = np.empty(self._at[-1], dtype)
        self._moved = np.empty((count, self._at[-1]), np.bool_)

    @classmethod
    def of(cls, a: Pair, b: Pair, shape: tuple[int, int]) -> Common | None:
        """What two pairs have in common, of which these stretches are read."""
        both = cls(2, shape, a.before.part(0, 0).dtype)
        for first, last in both._spans:
            both(first, a.before.part(first, last), [pair.after.part(first, last) for pair in (a, b)])
        return both.common(0, 1)

    def __call__(self, start: int, before: Array, afters: Sequence[Array]) -> None:
        """Take in what is looked at of a span of the tensor before and of each one after."""
        stop = start + before.size
        for (begin, end), at in zip(self._spans, self._at, strict=False):
            first, last = max(begin, start), min(end, stop)
            if first >= last:
                continue
            here, there = slice(first - start, last - start), slice(at + first - begin, at + last - begin)
            self._before[there] = before[here]
            for moved, after in zip(self._moved, afters, strict=True):
                moved[there] = _unlike(before[here], after[here])

    def common(self, i: int, j: int) -> Common | None:
        """The counts of two of the tensors; `None` where there is no value."""
        if not self._before.size:
            return None
        sizes = np.abs(_wide(self._before)).reshape(-1, self._columns)
        first, second = (self._moved[n].reshape(sizes.shape) for n in (i, j))
        return common_changes(first, second, sizes)


def _stretches(rows: int, columns: int) -> list[tuple[int, int]]:
    if rows * columns <= _MOST:
        return [(0, rows)] if rows * columns else []
    count = max(_MOST // (columns * _STRETCH), 1)
    starts = np.unique(np.linspace(0, max(rows - _STRETCH, 0), count).astype(int) // _STRETCH) * _STRETCH
    return [(int(start), min(int(start) + _STRETCH, rows)) for start in starts]


def _unlike(before: Array, after: Array) -> NDArray[np.bool_]:
    a, b = _wide(before), _wide(after)
    return np.asarray(~((a == b) | (np.isnan(a) & np.isnan(b))))


def _wide(values: Array) -> Array:
    """The same numbers, those of at most 16 bits in float32."""
    return widen(values, np.empty(values.size, np.float32 if values.dtype.itemsize <= 2 else np.float64))
