"""Sums over the difference of two rows of numbers, unit by unit.

Of whole units stored in 16 bits or fewer, differences and products are in float32, summed over short rows
and joined in float64: the relative error of a sum is below 2e-8. A tensor's last, incomplete unit and wider
dtypes are in float64 throughout, and so is a unit whose squares float32 does not hold, or whose values are
all of one size: their roundings go one way, and their variance is the difference of two numbers that agree.

BLAS adds in another order where it starts threads or finds its input at another alignment: so rows are
shorter than those from which it starts threads, and lie in buffers of one alignment.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Values that are widened and summed together, in order; fewer would not pay for their calls.
UNIT = 1 << 18
# What BLAS adds in one call: sizes of values, and rows in float64 and in float32.
_SINGLE, _ROW, _SHORT_ROW = 1 << 14, 8192, 512
# Mean squares below this lose digits to float32's smallest products; one value's share of a unit's squares
# beyond this rounds the others away in its row.
_TINY, _OUTLIER = 1e-24, 1 / 64
# The squared coefficient of variation below which values are of one size.
_SPREAD = 1e-4


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


_FIELDS = (
    "squares", "cross", "base_squares", "total", "absolute", "base_absolute", "largest", "changed", "above",
    "non_finite",
)  # fmt: skip
_in_order = attrgetter(*_FIELDS)


def added(parts: Sequence[Sums]) -> Sums:
    """All parts in one, added from the first to the last."""
    if not parts:
        return Sums()
    d2, wd, w2, d, size, w, largest, changed, above, lost = zip(*map(_in_order, parts), strict=True)
    return Sums(
        sum(d2), sum(wd), sum(w2), sum(d), sum(size), sum(w), _largest(largest), sum(changed),
        tuple(sum(counts) for counts in zip(*above, strict=True)), sum(lost),
    )  # fmt: skip


def _largest(values: Sequence[float]) -> float:
    """The maximum, NaN where any is."""
    return math.nan if any(value != value for value in values) else max(values)


def same_bytes(a: Array, b: Array) -> bool:
    """Whether two rows hold the same bytes in the same dtype; unequal ones mostly show it at once."""
    if a.dtype != b.dtype or a.size != b.size:
        return False
    x, y = a.view(np.uint8), b.view(np.uint8)
    return x[:512].tobytes() == y[:512].tobytes() and np.array_equal(x, y)


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
    """A thread's buffers, at multiples of 64 bytes; float32 ones also seen as rows of one call of BLAS."""

    def __init__(self) -> None:
        self.w, self.d, self.size = (_aligned(np.float32) for _ in range(3))
        self.w_rows, self.d_rows, self.size_rows = (
            buffer.reshape(-1, _SHORT_ROW) for buffer in (self.w, self.d, self.size)
        )
        self.inner = np.empty((5, UNIT // _SHORT_ROW), np.float32)
        self.short_ones = np.ones(_SHORT_ROW, np.float32)
        self.w64, self.d64, self.size64 = (_aligned(np.float64) for _ in range(3))
        self.ones = np.ones(_ROW)
        self.mask = _aligned(np.bool_)


def _aligned(kind: Any) -> Array:
    size = UNIT * np.dtype(kind).itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(kind)


_scratch = _Scratch()


def difference_sums(before: Array, after: Array, tolerances: Sequence[float]) -> Sums:
    """The sums of one unit of two rows of equal length, in any floating dtypes."""
    unit = _narrow_unit if before.dtype == after.dtype and _is_narrow(before) else _unit
    with np.errstate(all="ignore"):
        return unit(before, after, tolerances)


def base_sums(before: Array) -> Sums:
    """The sums of one unit that did not change: of d all are zero."""
    base = _narrow_base if _is_narrow(before) else _base
    with np.errstate(all="ignore"):
        return base(before)


def _is_narrow(row: Array) -> bool:
    """Whether a unit is worked on in float32: whole ones of at most 16 bits, whoever reads them."""
    return row.size == UNIT and row.dtype.itemsize <= 2


def widen(values: Array, out: Array) -> Array:
    """Exactly the same numbers in the float32 or float64 buffer `out`, of which the part used is returned.

    Whole units of bfloat16 in float32 are taken apart as 32-bit words, which halves the work and puts the
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


def _narrow_unit(before: Array, after: Array, tolerances: Sequence[float]) -> Sums:
    """A whole unit in float32, where float32 holds its sums."""
    s = _scratch
    widen(before, s.w)
    widen(after, s.d)
    np.subtract(s.d, s.w, out=s.d)
    np.abs(s.d, out=s.size)
    largest = float(np.maximum.reduce(s.size))
    # One sum over what BLAS gives of every row: calls cost more than the few numbers of a row do.
    rows = (s.d_rows, s.d_rows), (s.w_rows, s.d_rows), (s.w_rows, s.w_rows)
    for out, (a, b) in zip(s.inner, rows, strict=False):
        np.vecdot(a, b, out=out)
    np.vecdot(s.d_rows, s.short_ones, out=s.inner[3])
    np.vecdot(s.size_rows, s.short_ones, out=s.inner[4])
    squares, cross, base, total, absolute = s.inner.sum(axis=1, dtype=np.float64).tolist()
    base_absolute = _absolute(s.w)
    held = _held(squares, largest) and _in_range(base)
    if not held or _alike_in_size(squares, absolute) or _alike_in_size(base, base_absolute):
        return _unit(before, after, tolerances)
    above = tuple(_count_above(s.size, tolerance) for tolerance in tolerances)
    return Sums(
        squares, cross, base, total, absolute, base_absolute, largest, _count_above(s.size, 0.0), above
    )


def _narrow_base(before: Array) -> Sums:
    s = _scratch
    widen(before, s.w)
    squares = float(np.vecdot(s.w_rows, s.w_rows, out=s.inner[0]).sum(dtype=np.float64))
    absolute = _absolute(s.w)
    if not _in_range(squares) or _alike_in_size(squares, absolute):
        return _base(before)
    return Sums(base_squares=squares, base_absolute=absolute)


def _held(squares: float, largest: float) -> bool:
    """Whether float32 rows hold the sum of a unit's squares: in range, and not that of a few values."""
    return largest == 0 or (_in_range(squares) and largest * largest < _OUTLIER * squares)


def _alike_in_size(squares: float, absolute: float) -> bool:
    """Whether the sizes of a unit's values vary by less than a hundredth of their mean."""
    return squares * UNIT < (1 + _SPREAD) * absolute * absolute


def _in_range(squares: float) -> bool:
    return _TINY * UNIT < squares < math.inf


def _unit(before: Array, after: Array, tolerances: Sequence[float]) -> Sums:
    """A unit in float64, whatever it holds."""
    changed = None
    if before.dtype != after.dtype:
        changed = _rounded_changes(before, after)
        before, after = before.astype(np.float64), after.astype(np.float64)
    w, d = widen(before, _scratch.w64), widen(after, _scratch.d64)
    np.subtract(d, w, out=d)
    squares, base_squares = _inner(d, d), _inner(w, w)
    if not (math.isfinite(squares) and math.isfinite(base_squares)):
        return _with_non_finite(before, after, tolerances, changed)
    size = np.abs(d, out=_scratch.size64[: d.size])
    return Sums(
        squares, _inner(w, d), base_squares, _total(d), _absolute(size), _absolute(w), float(size.max()),
        _count_above(size, 0.0) if changed is None else changed,
        tuple(_count_above(size, tolerance) for tolerance in tolerances),
    )  # fmt: skip


def _count_above(size: Array, tolerance: float) -> int:
    """How many lie strictly above."""
    edge = _edge(tolerance, size.dtype)
    return int(np.count_nonzero(np.greater(size, edge, out=_scratch.mask[: size.size])))


@cache
def _edge(tolerance: float, kind: np.dtype[Any]) -> Any:
    """The nearest number not above the tolerance: what lies above either lies above both."""
    edge = kind.type(tolerance)
    return np.nextafter(edge, kind.type(0)) if float(edge) > tolerance else edge


def _rounded_changes(before: Array, after: Array) -> int:
    kind = coarser(before.dtype, after.dtype)
    a, b = before.astype(kind).astype(np.float64), after.astype(kind).astype(np.float64)
    return int(np.count_nonzero(~_alike(a, b)))


def _alike(a: Array, b: Array) -> NDArray[np.bool_]:
    return np.asarray((a == b) | (np.isnan(a) & np.isnan(b)), np.bool_)


def _base(before: Array) -> Sums:
    w = widen(before, _scratch.w64)
    squares = _inner(w, w)
    lost = 0 if math.isfinite(squares) else int(np.count_nonzero(~np.isfinite(w)))
    return Sums(base_squares=squares, base_absolute=_absolute(w), non_finite=lost)


def _with_non_finite(before: Array, after: Array, tolerances: Sequence[float], changed: int | None) -> Sums:
    """A unit with NaN or infinities: equal ones are no difference, the others make its sums NaN."""
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
    """Σ a·b in float64 by rows short enough for one thread of BLAS."""
    whole = a.size // _ROW * _ROW
    rows = np.vecdot(a[:whole].reshape(-1, _ROW), b[:whole].reshape(-1, _ROW))
    return float(rows.sum()) + float(np.dot(a[whole:], b[whole:]))


def _total(a: Array) -> float:
    """Σa of one unit in float64, by the same rows."""
    whole = a.size // _ROW * _ROW
    return float(np.vecdot(a[:whole].reshape(-1, _ROW), _scratch.ones).sum()) + float(a[whole:].sum())


def _absolute(a: Array) -> float:
    """Σ|a| of one unit."""
    # Deferred: SciPy takes longer to import than an adapter takes to measure.
    from scipy.linalg import blas

    one = blas.sasum if a.dtype == np.float32 else blas.dasum
    return sum(float(one(a[start : start + _SINGLE])) for start in range(0, a.size, _SINGLE))
