"""Which leading singular vectors of `W + ΔW` are strangers to `W`? Intruder dimensions."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Factored, Update
from tunescope.linalg.gram import wide
from tunescope.linalg.intruders import best_cosines
from tunescope.linalg.leading import Leading, Sum, leading
from tunescope.linalg.overlap import orthonormal
from tunescope.questions.subspace import columns
from tunescope.table import dtypes

SCHEMA = dtypes(columns.INTRUDERS)


def intruder_rows(
    keys: Mapping[str, Any], W: NDArray[np.float32], top: Leading, update: Update, count: int, epsilon: float
) -> list[dict[str, Any]]:
    """One row per leading left singular vector of `W + ΔW` [Shuttleworth et al. 2024].

    The block iteration starts from W's own leading right singular vectors `top.V` and ΔW's row space. A
    vector is an intruder when its best |cosine| with any left singular vector of `W` is below `epsilon`;
    `None` where that could not be decided.
    """
    matrix, rows_of_delta = _changed(W, update)
    start = np.hstack([top.V[:, :count], rows_of_delta])
    changed = leading(matrix, count, start=start)
    cosines, exact = best_cosines(W, changed.U, top, epsilon, changed.errors)
    direct = np.abs(top.U.T @ changed.U).max(axis=0, initial=0.0)
    undecided = (cosines >= epsilon) & ~exact & (direct < epsilon)
    return [
        {
            **keys,
            "index": i + 1,
            "singular_value": float(changed.values[i]),
            "best_cosine": float(cosines[i]),
            "exact": bool(exact[i]),
            "intruder": None if undecided[i] else bool(cosines[i] < epsilon),
            "epsilon": epsilon,
            "residual": max(changed.residual, top.residual),
        }
        for i in range(len(changed.values))
    ]


def _changed(W: NDArray[np.float32], update: Update) -> tuple[Sum, NDArray[np.float64]]:
    """`W + ΔW` with a factored update left factored, and an orthonormal basis of ΔW's input side."""
    scale = 1.0 if update.scale is None else update.scale
    if isinstance(update, Factored):
        B = wide(update.B).astype(np.float64) * scale
        A = wide(update.A).astype(np.float64)
        return Sum(W, B, A), orthonormal(A.T)[0]
    dense = W + wide(update.matrix) * np.float32(scale)
    return Sum(dense), np.zeros((W.shape[1], 0))
