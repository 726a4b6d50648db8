"""Sums over the difference of two rows of numbers, unit by unit.

Of whole units stored in 16 bits, differences and products are in float32, summed over 16 values each and
joined in float64: the relative error of a sum is below 2e-8. A tensor's last, incomplete unit and other
dtypes are in float64 throughout, and so is a unit whose squares float32 does not hold, or whose values are
all of one size: their roundings go one way, and their variance is the difference of two numbers that agree.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg import unit_sums as in_order

Array = NDArray[Any]

# Values that are widened and summed together, in order; fewer would not pay for their calls.
UNIT = in_order.UNIT
# The sizes of a difference that are told apart from none.
TOLERANCES = (1e-6, 1e-5)
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
    above: tuple[int, int] = (0, 0)
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
        (sum(low for low, _ in above), sum(high for _, high in above)), sum(lost),
    )  # fmt: skip


def _largest(values: Sequence[float]) -> float:
    """The maximum, NaN where any is."""
    return math.nan if any(value != value for value in values) else max(values)


def same_bytes(a: Array, b: Array) -> bool:
    """Whether two rows hold the same bytes in the same dtype; unequal ones mostly show it at once."""
    if a.dtype != b.dtype or a.size != b.size:
        return False
    x, y = a.view(np.uint8), b.view(np.uint8)
    if x[:512].tobytes() != y[:512].tobytes():
        return False
    whole = x.size // 8 * 8
    # Eight bytes in one comparison; the rest singly.
    return np.array_equal(x[:whole].view(np.uint64), y[:whole].view(np.uint64)) and np.array_equal(
        x[whole:], y[whole:]
    )


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


def difference_sums(before: Array, after: Array) -> Sums:
    """The sums of one unit of two rows of equal length, in any floating dtypes."""
    if before.dtype != after.dtype:
        changed = _rounded_changes(before, after)
        wide = _sums(before.astype(np.float64), after.astype(np.float64))
        return replace(wide, changed=changed)
    return (_narrow_sums(before, after) if _is_narrow(before) else None) or _sums(before, after)


def base_sums(before: Array) -> Sums:
    """The sums of one unit that did not change: of d all are zero."""
    return (_narrow_sums(before, None) if _is_narrow(before) else None) or _sums(before, None)


def _is_narrow(row: Array) -> bool:
    """Whether a unit is worked on in float32: whole ones of 16 bits, whoever reads them."""
    return row.size == UNIT and row.dtype.itemsize == 2


def _narrow_sums(before: Array, after: Array | None) -> Sums | None:
    """A whole unit in float32, `None` where float32 does not hold its sums."""
    found = _read(in_order.unit_sums(before, after, TOLERANCES, single=True))
    of_base = _in_range(found.base_squares) and not _alike_in_size(found.base_squares, found.base_absolute)
    if after is None:
        return found if of_base else None
    of_difference = _held(found.squares, found.largest) and not _alike_in_size(found.squares, found.absolute)
    return found if of_base and of_difference else None


def _sums(before: Array, after: Array | None) -> Sums:
    """A unit in float64, whatever it holds."""
    found = _read(in_order.unit_sums(before, after, TOLERANCES))
    if math.isfinite(found.squares) and math.isfinite(found.base_squares):
        return found
    if after is not None:
        return _with_non_finite(before, after)
    with np.errstate(all="ignore"):
        return replace(found, non_finite=int(np.count_nonzero(~np.isfinite(before.astype(np.float64)))))


def _read(numbers: Sequence[float]) -> Sums:
    d2, wd, w2, d, size, w, largest, changed, low, high = numbers
    return Sums(d2, wd, w2, d, size, w, largest, int(changed), (int(low), int(high)))


def _held(squares: float, largest: float) -> bool:
    """Whether float32 rows hold the sum of a unit's squares: in range, and not that of a few values."""
    return largest == 0 or (_in_range(squares) and largest * largest < _OUTLIER * squares)


def _alike_in_size(squares: float, absolute: float) -> bool:
    """Whether the sizes of a unit's values vary by less than a hundredth of their mean."""
    return squares * UNIT < (1 + _SPREAD) * absolute * absolute


def _in_range(squares: float) -> bool:
    return _TINY * UNIT < squares < math.inf


def _rounded_changes(before: Array, after: Array) -> int:
    kind = coarser(before.dtype, after.dtype)
    a, b = before.astype(kind).astype(np.float64), after.astype(kind).astype(np.float64)
    return int(np.count_nonzero(~_alike(a, b)))


def _alike(a: Array, b: Array) -> NDArray[np.bool_]:
    return np.asarray((a == b) | (np.isnan(a) & np.isnan(b)), np.bool_)


def _with_non_finite(before: Array, after: Array) -> Sums:
    """A unit with NaN or infinities: equal ones are no difference, the others make its sums NaN."""
    with np.errstate(all="ignore"):
        w, v = before.astype(np.float64), after.astype(np.float64)
        alike = _alike(w, v)
        d = np.where(alike, 0.0, v - w)
        size = np.abs(d)
        return Sums(
            float((d * d).sum()), float((w * d).sum()), float((w * w).sum()), float(d.sum()),
            float(size.sum()), float(np.abs(w).sum()), float(size.max()), int(np.count_nonzero(~alike)),
            (int(np.count_nonzero(size > TOLERANCES[0])), int(np.count_nonzero(size > TOLERANCES[1]))),
            int(np.count_nonzero(~np.isfinite(w)) + np.count_nonzero(~np.isfinite(v))),
        )  # fmt: skip
