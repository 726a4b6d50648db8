"""An update beside the weight that it is added to, a few rows at a time."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Base, Factored, Update
from tunescope.linalg.merge_loss import merge_loss

Array = NDArray[Any]
# Values that are held at once, in a handful of float64 copies.
_BLOCK = 1 << 20


def against_base(update: Update, base: Base, shape: tuple[int, int]) -> dict[str, float | None]:
    """`relative_norm`, `cosine_to_base` and the `merge_*` columns of `merge_loss`, `shape` (d_out, d_in)."""
    step = max(1, _BLOCK // max(shape[1], 1))
    if base.turned:
        # Stored by columns, a block of rows would read all of it again.
        whole = base.matrix(shape)
        base_rows = [whole[first : first + step] for first in range(0, shape[0], step)]
        return merge_loss(lambda: zip(base_rows, _blocks(update, shape[0], step), strict=True))

    def blocks() -> Iterator[tuple[Array, Array]]:
        for first, delta in zip(range(0, shape[0], step), _blocks(update, shape[0], step), strict=True):
            yield base.rows(first, min(first + step, shape[0]), shape), delta

    return merge_loss(blocks)


def _blocks(update: Update, rows: int, step: int) -> Iterator[Array]:
    scale = 1.0 if update.scale is None else update.scale
    for first in range(0, rows, step):
        if isinstance(update, Factored):
            part = update.B[first : first + step].astype(np.float64) @ update.A.astype(np.float64)
        else:
            part = update.matrix[first : first + step].astype(np.float64)
        yield part * scale
