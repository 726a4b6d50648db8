"""When the parts of an integral have converged, and when only rounding noise is left."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Stopped = Literal["converged", "noise_floor", "most_nodes"]

# The residual may be this share of |gain|, or this share of the gain's standard error. A cell may change
# between two sets by this share of the largest cell, or this share of its own standard error.
GAIN_SHARE, ERROR_SHARE = 0.01, 0.1
# Changes below so many units of rounding of the loss are noise once they shrink no more.
_ROUNDING_UNITS = 16


@dataclass(frozen=True)
class Step:
    """One nested set: its number of nodes, its residual, the largest change of a cell since the last set.

    In nats per token; the first set has no change.
    """

    nodes: int
    residual: float
    change: float | None = None


def per_token(nats: Array, tokens: Array) -> tuple[Array, Array]:
    """Mean per token of (sequences, columns) sums, and its standard error over sequences, both (columns,).

    The mean is Σ nats / Σ tokens; its error √(n/(n−1) · Σ (nats − tokens·mean)²) / Σ tokens is that of a
    mean weighted by tokens, NaN for fewer than two sequences.

    >>> mean, error = per_token(np.array([[1.0], [3.0]]), np.array([1.0, 1.0]))
    >>> float(mean[0]), float(error[0])
    (2.0, 1.0)
    """
    n, total = len(tokens), float(tokens.sum())
    mean: Array = nats.sum(0) / total
    if n < 2:
        return mean, np.full_like(mean, np.nan)
    spread = np.square(nats - tokens[:, None] * mean).sum(0)
    return mean, np.sqrt(spread * n / (n - 1)) / total


def gain_of(base: Array, tuned: Array, tokens: Array) -> tuple[float, float]:
    """Mean of base − tuned per token, and its standard error."""
    mean, error = per_token((base - tuned)[:, None], tokens)
    return float(mean[0]), float(error[0])


def tolerance(gain: float, error: float) -> float:
    """The residual that is small enough: 1 % of |gain| or a tenth of its standard error."""
    return max(GAIN_SHARE * abs(gain), 0.0 if math.isnan(error) else ERROR_SHARE * error)


@dataclass(frozen=True, eq=False)
class Judge:
    """When an integral is good enough, or can become no better.

    `base`, `tuned` and `tokens` are (sequences,); `epsilon` is the relative rounding error of the model.
    """

    base: Array
    tuned: Array
    tokens: Array
    epsilon: float

    def step(self, size: int, found: Sequence[Array]) -> Step:
        """What the last of the sets found so far, (sequences, cells) each, says."""
        residual = (found[-1].sum() - (self.tuned - self.base).sum()) / self.tokens.sum()
        if len(found) < 2:
            return Step(size, float(residual))
        return Step(size, float(residual), float(self._changes(found).max(initial=0.0)))

    def verdict(self, history: Sequence[Step], found: Sequence[Array]) -> Stopped | None:
        """Why the last set can be the last, or `None`."""
        if len(found) < 2:
            return None
        mean, error = per_token(found[-1], self.tokens)
        allowed = np.maximum(GAIN_SHARE * np.abs(mean).max(initial=0.0), ERROR_SHARE * np.nan_to_num(error))
        settled = bool((self._changes(found) <= allowed).all())
        fits = abs(history[-1].residual) <= tolerance(*gain_of(self.base, self.tuned, self.tokens))
        if settled and fits:
            return "converged"
        return "noise_floor" if self._noisy(history, settled) else None

    def _changes(self, found: Sequence[Array]) -> Array:
        """How far every cell moved between the last two sets, (cells,)."""
        moved: Array = np.abs((found[-1] - found[-2]).sum(0)) / self.tokens.sum()
        return moved

    def _noisy(self, history: Sequence[Step], settled: bool) -> bool:
        """Whether what is left neither shrinks nor exceeds the rounding of the loss."""
        if len(history) < 3:
            return False
        (_, before, last), level = history[-3:], self._rounding()
        if settled:
            still = abs(last.residual - before.residual) <= 0.1 * abs(last.residual)
            return still and abs(last.residual) <= level
        change, earlier = last.change or 0.0, before.change or 0.0
        return 0.5 * earlier < change <= level

    def _rounding(self) -> float:
        loss = max(float(np.abs(side).sum()) for side in (self.base, self.tuned)) / float(self.tokens.sum())
        return _ROUNDING_UNITS * self.epsilon * loss
