"""p-values corrected for all the places that were looked at."""

from collections.abc import Sequence

import numpy as np

from tunescope.statistics.types import Float64


def holm(p: Sequence[float] | Float64) -> Float64:
    """Holm's adjusted p-values (1979): rejecting those at most α keeps any false rejection below α.

    `p` is `(m,)`; the result too, in the order given. Holds under any dependence.

    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    return _restored(np.maximum.accumulate(steps), order)


def benjamini_hochberg(p: Sequence[float] | Float64) -> Float64:
    """Adjusted p-values of Benjamini and Hochberg (1995): a share q of those at most q is false.

    `p` is `(m,)`; the result too, in the order given. Needs independent or positively dependent tests.

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.04, 0.04]
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    m = len(values)
    steps = values[order] * m / np.arange(1, m + 1)
    return _restored(np.minimum.accumulate(steps[::-1])[::-1], order)


def _restored(steps: Float64, order: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Float64:
    out = np.empty_like(steps)
    out[order] = np.minimum(steps, 1.0)
    return out
