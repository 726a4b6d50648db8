"""What merging keeps of an update: rounding W + ΔW to a storage grid, against ΔW itself."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg.rounding import rounded

Array = NDArray[Any]
# The rows of W and of ΔW, block after block; called again for a second pass.
Blocks = Callable[[], Iterable[tuple[Array, Array]]]

# Short names of the grids, as columns have them.
GRIDS = {"bf16": "bfloat16", "fp16": "float16", "fp8": "float8_e4m3fn"}
_LARGEST_E4M3 = 448.0


def merge_loss(blocks: Blocks) -> dict[str, float | None]:
    """‖ΔW‖/‖W‖, the cosine of W + ΔW with W, and what each grid keeps of ΔW.

    For a grid, with `D = round(W + ΔW) − W`: `merge_projection` ⟨D, ΔW⟩/‖ΔW‖², `merge_cosine` of D and ΔW,
    `merge_error` ‖D − ΔW‖/‖ΔW‖. fp8 is float8_e4m3fn with one scale for the tensor, max|W + ΔW|/448, as
    inference engines choose it for weights.

    >>> found = merge_loss(lambda: [(np.ones((2, 2)), np.full((2, 2), 0.5))])
    >>> found["relative_norm"], found["merge_error_bf16"]
    (0.5, 0.0)
    """
    base = cross = size = largest = 0.0
    for W, delta in _wide(blocks):
        base, cross, size = base + float(W @ W), cross + float(W @ delta), size + float(delta @ delta)
        largest = max(largest, float(np.abs(W + delta).max(initial=0.0)))
    whole = base + 2 * cross + size
    found: dict[str, float | None] = {
        "relative_norm": math.sqrt(size / base) if base else None,
        "cosine_to_base": _cosine(base + cross, base, whole),
    }
    sums = {short: [0.0, 0.0, 0.0] for short in GRIDS}
    for W, delta in _wide(blocks):
        for short, grid in GRIDS.items():
            moved = _stored(W + delta, grid, largest) - W
            rest = moved - delta
            terms = (float(moved @ delta), float(moved @ moved), float(rest @ rest))
            sums[short] = [a + b for a, b in zip(sums[short], terms, strict=True)]
    for short, (inner, squares, lost) in sums.items():
        found |= {
            f"merge_projection_{short}": inner / size if size else None,
            f"merge_cosine_{short}": _cosine(inner, squares, size),
            f"merge_error_{short}": math.sqrt(lost / size) if size else None,
        }
    return found


def _wide(blocks: Blocks) -> Iterable[tuple[Array, Array]]:
    return ((W.astype(np.float64).ravel(), delta.astype(np.float64).ravel()) for W, delta in blocks())


def _stored(values: Array, grid: str, largest: float) -> Array:
    if grid != "float8_e4m3fn" or not largest:
        return rounded(values, grid).astype(np.float64)
    scale = largest / _LARGEST_E4M3
    # Rounding of the division must not carry the largest number beyond the grid.
    on_grid = np.clip(values / scale, -_LARGEST_E4M3, _LARGEST_E4M3)
    return np.asarray(rounded(on_grid, grid).astype(np.float64) * scale)


def _cosine(inner: float, a: float, b: float) -> float | None:
    if not (a > 0 and b > 0):
        return None
    return max(-1.0, min(1.0, inner / (math.sqrt(a) * math.sqrt(b))))
