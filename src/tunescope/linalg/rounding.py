"""Rounding to the grid that a file stores its numbers on, and the grid's step."""

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Grid -> bits of the significand behind the point, and the exponent of the smallest normal number.
GRIDS: Mapping[str, tuple[int, int]] = {
    "float64": (52, -1022),
    "float32": (23, -126),
    "float16": (10, -14),
    "bfloat16": (7, -126),
    "float8_e4m3fn": (3, -6),
    "float8_e5m2": (2, -14),
}

# The bits of 16-bit numbers that are all set in what is not finite.
_EXPONENTS = {"bfloat16": np.uint16(0x7F80), "float16": np.uint16(0x7C00)}
_STRETCH = 1 << 15


def rounded(values: Array, grid: str) -> Array:
    """The numbers rounded to nearest (ties to even) on a dtype's grid, in float32 (float64 for float64).

    Beyond the grid's range they become infinite, as in storing. bfloat16 goes by the bits, several times
    faster than a cast.

    >>> rounded(np.array([1.01], np.float32), "bfloat16").item()
    1.0078125
    """
    if grid == "float64":
        return values.astype(np.float64)
    narrow = values.astype(np.float32)
    if grid == "bfloat16":
        _to_bfloat16(narrow.reshape(-1))
        return narrow
    if grid == "float32":
        return narrow
    with np.errstate(over="ignore"):
        return narrow.astype(_dtype(grid)).astype(np.float32)


def _to_bfloat16(values: Array) -> None:
    """Round contiguous float32 in place, by stretches: what is needed beside them stays in the cache."""
    bits, odd = values.view(np.uint32), np.empty(min(values.size, _STRETCH), np.uint32)
    for start in range(0, values.size, _STRETCH):
        part = bits[start : start + _STRETCH]
        up = np.right_shift(part, 16, out=odd[: part.size])
        up &= 1
        up += 0x7FFF
        part += up
        part &= np.uint32(0xFFFF0000)


def _dtype(grid: str) -> Any:
    return np.dtype(getattr(ml_dtypes, grid, grid))


def step(values: Array, grid: str) -> Array:
    """The distance from each number to the next larger one in size on the grid, in float64.

    >>> step(np.array([1.5, 0.0]), "bfloat16")[0].item() == 2.0**-7
    True
    """
    digits, smallest = GRIDS[grid]
    kind = np.float32 if values.dtype == np.float32 and grid != "float64" else np.float64
    sizes = np.maximum(np.abs(values.astype(kind, copy=False)), kind(2.0**smallest))
    if kind == np.float64:
        return np.asarray(np.ldexp(1.0, np.frexp(sizes)[1] - (digits + 1)))
    # The exponent by its bits: several times faster than taking every number apart.
    exponents = (sizes.view(np.uint32) >> 23).astype(np.int64)
    exponents += 1023 - 127 - digits
    return np.asarray((exponents << 52).view(np.float64))


def non_finite(values: Array) -> int:
    """How many of a row's values are NaN or infinite; 16-bit rows go by the bits of their exponents."""
    exponent = _EXPONENTS.get(values.dtype.name)
    if exponent is None:
        wide = values if values.dtype.itemsize >= 4 else values.astype(np.float32)
        return int(wide.size - np.count_nonzero(np.isfinite(wide)))
    bits = values.view(np.uint16) & exponent
    return int(np.count_nonzero(bits == exponent)) if bits.size and bits.max() == exponent else 0
