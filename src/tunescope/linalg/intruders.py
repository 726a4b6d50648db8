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
# A matrix with a side up to this is given its SVD where the leading vectors leave a direction open.
_SMALL = 1024
# A cosine is called exact where what is known of the vectors' errors cannot move it by more.
_EXACT = 5e-4


def best_cosines(
    W: Array, directions: Float64, top: Leading, epsilon: float, errors: Float64 | None = None
) -> tuple[Float64, NDArray[np.bool_]]:
    """For every column of `directions (d_out, n)`: the largest |cosine| with a left singular vector of `W`.

    The leading vectors `top` are compared directly. What they leave open is read off W's SVD where W is
    small, and else bounded by the Lanczos process of `W Wᵀ` started at the direction: the weight of a Ritz
    value is about the squared cosine with the singular vectors there [Golub & Meurant 2010]. The second
    array says where the number is the cosine itself, to 1e-3; elsewhere it is an upper bound, below
    `epsilon` or the best that was reached. `errors` are the angles by which the directions may be off.
    """
    direct: Float64 = np.abs(top.U.T @ directions)
    best: Float64 = direct.max(axis=0, initial=0.0)
    outside = np.sqrt(np.maximum(1.0 - (direct**2).sum(axis=0), 0.0))
    off = np.zeros(directions.shape[1]) if errors is None else errors
    # A vector turned by an angle moves a cosine by at most angle · sine + angle²/2.
    exact = (best >= outside) & (_movement(best, _angle(direct, top.errors)) < _EXACT)
    if not exact.all() and min(W.shape) <= _SMALL:
        U = np.linalg.svd(W.astype(np.float64), full_matrices=False)[0]
        best[~exact] = np.abs(U.T @ directions[:, ~exact]).max(axis=0)
        return best, _movement(best, off) < _EXACT
    _look_further(W, directions, top, epsilon, (best, exact, outside))
    return best, exact & (_movement(best, off) < _EXACT)


def _angle(direct: Float64, errors: Float64) -> Float64:
    """Per direction: the largest error of a leading vector that could be the nearest."""
    reach = direct + errors[:, None]
    nearest = direct.max(axis=0, initial=0.0)
    angles: Float64 = np.where(reach >= nearest, errors[:, None], 0.0).max(axis=0, initial=0.0)
    return angles


def _movement(cosine: Float64, angle: Float64) -> Float64:
    moved: Float64 = angle * np.sqrt(np.maximum(1 - cosine**2, 0.0)) + angle**2 / 2
    return moved


def _look_further(
    W: Array,
    directions: Float64,
    top: Leading,
    epsilon: float,
    found: tuple[Float64, NDArray[np.bool_], Float64],
) -> None:
    """Bound what the leading vectors leave open, in place; an `exact` set here is the process' own."""
    best, exact, outside = found
    for column in np.flatnonzero((best < epsilon) & (outside >= epsilon)):
        bound, settled = _bound(Sum(W), directions[:, column], top.U, epsilon)
        exact[column] = settled and bound >= best[column]
        best[column] = max(best[column], bound)
    open_ = (best < epsilon) & (outside < epsilon)
    best[open_] = np.maximum(best[open_], outside[open_])


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
    """Root of the largest weight of a Ritz value, and whether it is found and nothing hidden rivals it."""
    off = betas[:-1]
    nodes, vectors = np.linalg.eigh(np.diag(alphas) + np.diag(off, 1) + np.diag(off, -1))
    weights = vectors[0] ** 2
    residuals = betas[-1] * np.abs(vectors[-1])
    hidden = 0.0
    perhaps_null = np.zeros(len(nodes), dtype=bool)
    if shape[0] > shape[1]:
        # Zero belongs to what W cannot reach, which has no singular vectors; a Ritz value on its way
        # there looks settled long before it arrives. Small singular values hide among them.
        hidden = float(weights[nodes < _NULL * nodes[-1]].sum())
        weights = np.where(nodes < _NULL * nodes[-1], 0.0, weights)
        perhaps_null = nodes - residuals < _NULL * nodes[-1]
    at = int(weights.argmax())
    apart = np.abs(np.delete(nodes, at) - nodes[at]).min(initial=nodes[-1])
    settled = len(nodes) > 2 and residuals[at] < _FOUND * apart and not perhaps_null[at]
    return float(np.sqrt(weights[at])), bool(settled and hidden < weights[at])
