"""Fused projections of which some parts are adapted, each by a pair of its own (loralib's `MergedLinear`).

A holds the parts' factors one below the other, (k·r, d_in), and so does B, (rows of the parts, r): ΔW of
part i is s·B_i A_i, and zero for the parts left out [microsoft/LoRA: loralib/layers.py; PEFT 0.2 lora.py].
"""

from collections.abc import Sequence

import numpy as np

from tunescope.delta import Array


def on_diagonal(B: Array, rows: Sequence[int], enabled: Sequence[bool]) -> Array:
    """B with the factor of each enabled part in rows and columns of its own, (Σ rows, k·r).

    >>> on_diagonal(np.array([[1.0], [2.0]]), [1, 1, 1], [True, False, True]).tolist()
    [[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]]
    """
    rank = B.shape[1]
    out = np.zeros((sum(rows), rank * sum(enabled)), dtype=B.dtype)
    top = taken = column = 0
    for height, adapted in zip(rows, enabled, strict=True):
        if adapted:
            out[top : top + height, column : column + rank] = B[taken : taken + height]
            taken, column = taken + height, column + rank
        top += height
    return out
