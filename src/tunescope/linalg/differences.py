"""Sums over the difference of two rows of numbers, block by block, each block small enough for the cache.

Of whole units stored in 16 bits or fewer, differences and products are in float32, summed over short rows
and joined in float64: the relative error of a sum of n values of random signs, as of one of one sign, is
below 2e-8. A tensor's last, incomplete unit and wider dtypes are in float64 throughout, and so is a block
whose squares float32 does not hold.

BLAS adds in another order where it starts threads or finds its input at another alignment: so rows are
shorter than those from which it starts threads, and lie in buffers of one alignment.
"""

import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Values whose sums are taken together; the pass of a tensor adds units in order.
UNIT = 1 << 18
# Values that are widened at once, and that BLAS adds the sizes of in one call.
_BLOCK, _SINGLE = 1 << 17, 1 << 15
# Rows of one call of BLAS in float64 and float32, and how many of the latter share a call for their sums.
_ROW, _SHORT_ROW, _ROWS = 8192, 512, 16
# Mean squares below this lose digits to float32's smallest products; one value's share of a block's squares
# beyond this rounds the others away in its row.
_TINY, _OUTLIER = 1e-24, 1 / 64


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over a stretch of `d = after − before`: what every statistic of a pair follows from.

    `squares` Σd², `cross` Σw·d, `base_squares` Σw², `total` Σd, `absolute` Σ|d|, `base_absolute` Σ|w|,
    `largest` max|d|; counts of values that differ, of |d| above each tolerance, of NaN and infinities.
    """

    squares: float = 0.0
    cross: float = 0.0
    base_squares: float = 0.0
    total: float = 0.0
    absolute: float = 0.0
    base_absolute: float = 0.0
    largest: float = 0.0
    changed: int = 0
    above: tuple[int, ...] = (0, 0)
    non_finite: int = 0


_ADDED = ("squares", "cross", "base_squares", "total", "absolute", "base_absolute", "changed", "non_finite")


def added(parts: Sequence[Sums]) -> Sums:
    """All parts in one, added from the first to the last."""
    return Sums(
        **{name: sum(getattr(part, name) for part in parts) for name in _ADDED},
        largest=_largest(part.largest for part in parts),
        above=tuple(sum(counts) for counts in zip(*(part.above for part in parts), strict=True)),
    )


def _largest(values: Iterable[float]) -> float:
    """The maximum, NaN where any is."""
    return float(np.max(np.fromiter(values, dtype=np.float64), initial=0.0))


def same_bytes(a: Array, b: Array) -> bool:
    """Whether two rows hold the same bytes in the same dtype; unequal ones mostly show it at once."""
    if a.dtype != b.dtype or a.size != b.size:
        return False
    x, y = a.view(np.uint8), b.view(np.uint8)
    return np.array_equal(x[:512], y[:512]) and np.array_equal(x, y)


def coarser(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """Of two floating dtypes the one with fewer digits, of equally many the narrower.

    >>> coarser(np.dtype("f4"), np.dtype("f2"))
    dtype('float16')
    """
    return min(a, b, key=lambda dtype: (_digits(dtype.name), dtype.itemsize))


def _digits(name: str) -> int:
    known = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}
    # 8-bit floats name them: float8_e4m3fn has three.
    return known[name] if name in known else int(name.partition("m")[2][:1] or 0)


class _Scratch(threading.local):
    """A thread's buffers, at multiples of 64 bytes."""

    def __init__(self) -> None:
        self.w, self.d, self.size = (_aligned(np.float32) for _ in range(3))
        self.w64, self.d64, self.size64 = (_aligned(np.float64) for _ in range(3))
        self.mask = _aligned(np.bool_)
        self.ones = np.ones(_ROW)
        self.short_ones = np.ones((_SHORT_ROW, 1), np.float32)


def _aligned(kind: Any) -> Array:
    size = _BLOCK * np.dtype(kind).itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(kind)


_scratch = _Scratch()


def difference_sums(before: Array, after: Array, tolerances: Sequence[float]) -> Sums:
    """The sums of one unit of two rows of equal length, in any floating dtypes."""
    narrow = _is_narrow(before, after)
    with np.errstate(all="ignore"):
        return added(
            [_block(a, b, tolerances, narrow) for a, b in zip(_blocks(before), _blocks(after), strict=True)]
        )


def base_sums(before: Array) -> Sums:
    """The sums of one unit that did not change: of d all are zero."""
    narrow = _is_narrow(before)
    with np.errstate(all="ignore"):
        return added([_base(block, narrow) for block in _blocks(before)])


def _is_narrow(*rows: Array) -> bool:
    """Whether a unit is worked on in float32: whole ones of at most 16 bits, whoever reads them."""
    return rows[0].size == UNIT and all(row.dtype.itemsize <= 2 for row in rows)


def _blocks(row: Array) -> list[Array]:
    return [row[start : start + _BLOCK] for start in range(0, row.size, _BLOCK)]


def widen(values: Array, out: Array) -> Array:
    """Exactly the same numbers in the float32 or float64 buffer `out`, of which the part used is returned.

    Whole blocks of bfloat16 in float32 are taken apart as 32-bit words, which halves the work and puts the
    values of even places first: all of them in one order.
    """
    out = out[: values.size]
    if values.dtype.name != "bfloat16":
        np.copyto(out, values)
        return out
    raw = values.view(np.uint16)
    if values.size % 2 or out.dtype != np.float32:
        bits = raw.astype(np.uint32)
        bits <<= 16
        np.copyto(out, bits.view(np.float32))
        return out
    words, bits, half = raw.view(np.uint32), out.view(np.uint32), values.size // 2
    np.left_shift(words, 16, out=bits[:half])
    np.bitwise_and(words, np.uint32(0xFFFF0000), out=bits[half:])
    return out


def _block(before: Array, after: Array, tolerances: Sequence[float], narrow: bool) -> Sums:
    changed = None
    if before.dtype != after.dtype:
        changed = _rounded_changes(before, after)
        # bfloat16 is put in another order only where both are.
        before, after = before.astype(np.float64), after.astype(np.float64)
        narrow = False
    if narrow:
        w, d = _difference(before, after, _scratch.w, _scratch.d)
        squares, size = _inner(d, d), np.abs(d, out=_scratch.size[: d.size])
        if _held(squares, largest := float(size.max()), size.size):
            return _of_finite(w, d, size, (squares, largest), tolerances, changed)
    w, d = _difference(before, after, _scratch.w64, _scratch.d64)
    squares, size = _inner(d, d), np.abs(d, out=_scratch.size64[: d.size])
    if not math.isfinite(squares):
        return _with_non_finite(before, after, tolerances, changed)
    return _of_finite(w, d, size, (squares, float(size.max())), tolerances, changed)


def _difference(before: Array, after: Array, w: Array, d: Array) -> tuple[Array, Array]:
    w, d = widen(before, w), widen(after, d)
    return w, np.subtract(d, w, out=d)


def _held(squares: float, largest: float, n: int) -> bool:
    """Whether float32 rows hold a sum of squares: finite, not too small, and not that of a few values."""
    if largest == 0:
        return True
    return _TINY * n < squares < math.inf and largest * largest < _OUTLIER * squares


def _of_finite(
    w: Array,
    d: Array,
    size: Array,
    known: tuple[float, float],
    tolerances: Sequence[float],
    changed: int | None,
) -> Sums:
    """The sums of a block without NaN and infinities, of which Σd² and max|d| are known."""
    squares, largest = known
    base_squares, cross, base_absolute = _base_of(w, d)
    bits = size.view(np.uint32 if size.dtype == np.float32 else np.uint64)
    return Sums(
        squares, cross, base_squares, _total(d), _absolute(size), base_absolute, largest,
        # A difference of zeros has the bits of zero once its sign is gone.
        int(np.count_nonzero(bits)) if changed is None else changed,
        tuple(_count_above(size, tolerance) for tolerance in tolerances),
    )  # fmt: skip


def _count_above(size: Array, tolerance: float) -> int:
    """How many lie strictly above; in float32 the nearest number not above the tolerance means the same."""
    edge = size.dtype.type(tolerance)
    if float(edge) > tolerance:
        edge = np.nextafter(edge, size.dtype.type(0))
    return int(np.count_nonzero(np.greater(size, edge, out=_scratch.mask[: size.size])))


def _rounded_changes(before: Array, after: Array) -> int:
    kind = coarser(before.dtype, after.dtype)
    a, b = before.astype(kind).astype(np.float64), after.astype(kind).astype(np.float64)
    return int(np.count_nonzero(~_alike(a, b)))


def _alike(a: Array, b: Array) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = (a == b) | (np.isnan(a) & np.isnan(b))
    return same


def _base(before: Array, narrow: bool) -> Sums:
    w = widen(before, _scratch.w if narrow else _scratch.w64)
    squares, _, absolute = _base_of(w, w)
    lost = 0 if math.isfinite(squares) else int(np.count_nonzero(~np.isfinite(w)))
    return Sums(base_squares=squares, base_absolute=absolute, non_finite=lost)


def _base_of(w: Array, d: Array) -> tuple[float, float, float]:
    """Σw², Σw·d and Σ|w|; in float64 where float32's range would not hold the products."""
    squares = _inner(w, w)
    if w.dtype == np.float32 and not _TINY * w.size < squares < math.inf:
        w, d = w.astype(np.float64), d.astype(np.float64)
        squares = _inner(w, w)
    return squares, _inner(w, d), _absolute(w)


def _with_non_finite(before: Array, after: Array, tolerances: Sequence[float], changed: int | None) -> Sums:
    """A block with NaN or infinities: equal ones are no difference, the others make its sums NaN."""
    w, v = before.astype(np.float64), after.astype(np.float64)
    alike = _alike(w, v)
    d = np.where(alike, 0.0, v - w)
    size = np.abs(d)
    return Sums(
        _inner(d, d), _inner(w, d), _inner(w, w), float(d.sum()), float(size.sum()),
        float(np.abs(w).sum()), float(size.max()),
        int(np.count_nonzero(~alike)) if changed is None else changed,
        tuple(_count_above(size, tolerance) for tolerance in tolerances),
        int(np.count_nonzero(~np.isfinite(w)) + np.count_nonzero(~np.isfinite(v))),
    )  # fmt: skip


def _inner(a: Array, b: Array) -> float:
    """Σ a·b by rows short enough for one thread of BLAS, joined in float64."""
    row = _SHORT_ROW if a.dtype == np.float32 else _ROW
    whole = a.size // row * row
    rows = np.matmul(a[:whole].reshape(-1, 1, row), b[:whole].reshape(-1, row, 1))
    total = float(rows.sum(dtype=np.float64))
    return total if whole == a.size else total + float(np.dot(a[whole:], b[whole:]))


def _total(a: Array) -> float:
    """Σa of one block, by the same rows."""
    if a.dtype == np.float32:
        return float(np.matmul(a.reshape(-1, _ROWS, _SHORT_ROW), _scratch.short_ones).sum(dtype=np.float64))
    whole = a.size // _ROW * _ROW
    rows = np.matmul(a[:whole].reshape(-1, 1, _ROW), _scratch.ones[:, None])
    return float(rows.sum()) + float(a[whole:].sum())


def _absolute(a: Array) -> float:
    """Σ|a| of one block."""
    # Deferred: SciPy takes longer to import than an adapter takes to measure.
    from scipy.linalg import blas

    one = blas.sasum if a.dtype == np.float32 else blas.dasum
    return sum(float(one(a[start : start + _SINGLE])) for start in range(0, a.size, _SINGLE))
