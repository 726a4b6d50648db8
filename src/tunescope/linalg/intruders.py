"""Does a direction coincide with some singular vector of `W`? Answered without W's full SVD."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg.leading import Leading, Sum

Array = NDArray[Any]
Float64 = NDArray[np.float64]

_STEPS = 60
# A Ritz value counts as found when its residual is below this share of the distance to the next.
_FOUND = 1e-2
# Ritz values of a tall matrix below this share of the largest belong to its null space.
_NULL = 1e-5
# A matrix with a side up to this is given its SVD where the process leaves a direction undecided.
_SMALL = 1024


def best_cosines(
    W: Array, directions: Float64, top: Leading, epsilon: float
) -> tuple[Float64, NDArray[np.bool_]]:
    """For every column of `directions (d_out, n)`: the largest |cosine| with a left singular vector of `W`.

    The leading vectors `top` are compared directly. What they leave open is bounded by the Lanczos
    process of `W Wᵀ` started at the direction: the weight of a Ritz value is at least the squared
    cosine with any singular vector there [Golub & Meurant 2010]. The second array says where the best
    vector was found; elsewhere the number is an upper bound, below `epsilon` or the best that was reached.
    """
    direct = np.abs(top.U.T @ directions)
    best: Float64 = direct.max(axis=0, initial=0.0)
    outside = np.sqrt(np.maximum(1.0 - (direct**2).sum(axis=0), 0.0))
    exact = best >= outside
    for column in np.flatnonzero((best < epsilon) & (outside >= epsilon)):
        bound, settled = _bound(Sum(W), directions[:, column], top.U, epsilon)
        exact[column] = settled or bound <= best[column]
        best[column] = max(best[column], bound)
    open_ = (best < epsilon) & (outside < epsilon)
    best[open_] = np.maximum(best[open_], outside[open_])
    undecided = (best >= epsilon) & ~exact & (direct.max(axis=0, initial=0.0) < epsilon)
    if undecided.any() and min(W.shape) <= _SMALL:
        U = np.linalg.svd(W, full_matrices=False)[0]
        best[undecided], exact[undecided] = np.abs(U.T @ directions[:, undecided]).max(axis=0), True
    return best, exact


def _bound(matrix: Sum, u: Float64, known: Float64, epsilon: float) -> tuple[float, bool]:
    """Upper bound of |cosine| with any left singular vector but the `known` ones, and whether it is one.

    Lanczos on what is left of `u` without those, with full reorthogonalisation; the known vectors are
    kept out, so that the spectrum it has to resolve begins below theirs.
    """
    steps = min(_STEPS, *matrix.shape)
    basis = np.hstack([known, np.zeros((len(u), steps))])
    first = known.shape[1]
    rest = u - known @ (known.T @ u)
    size = float(np.linalg.norm(rest))
    basis[:, first] = rest / size
    alphas, betas = np.zeros(steps), np.zeros(steps)
    bound, found = size, False
    for n in range(steps):
        q, held = basis[:, first + n], basis[:, : first + n + 1]
        following = matrix.times(matrix.transposed_times(q[:, None]))[:, 0]
        alphas[n] = q @ following
        for _ in range(2):
            following -= held @ (held.T @ following)
        betas[n] = np.linalg.norm(following)
        weight, found = _largest_weight(alphas[: n + 1], betas[: n + 1], matrix.shape)
        bound = size * weight
        if found or bound < epsilon or n + 1 == steps or betas[n] <= 1e-7 * alphas[0]:
            break
        basis[:, first + n + 1] = following / betas[n]
    return bound, found


def _largest_weight(alphas: Float64, betas: Float64, shape: tuple[int, int]) -> tuple[float, bool]:
    """Root of the largest weight of a Ritz value, and whether that value is found."""
    off = betas[:-1]
    nodes, vectors = np.linalg.eigh(np.diag(alphas) + np.diag(off, 1) + np.diag(off, -1))
    weights = vectors[0] ** 2
    residuals = betas[-1] * np.abs(vectors[-1])
    perhaps_null = np.zeros(len(nodes), dtype=bool)
    if shape[0] > shape[1]:
        # Zero belongs to what W cannot reach, which has no singular vectors; a Ritz value on its way
        # there looks settled long before it arrives.
        weights = np.where(nodes < _NULL * nodes[-1], 0.0, weights)
        perhaps_null = nodes - residuals < _NULL * nodes[-1]
    at = int(weights.argmax())
    apart = np.abs(np.delete(nodes, at) - nodes[at]).min(initial=nodes[-1])
    settled = len(nodes) > 2 and residuals[at] < _FOUND * apart and not perhaps_null[at]
    return float(np.sqrt(weights[at])), bool(settled)
