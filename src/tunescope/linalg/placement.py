"""What two updates that lie on few coordinates have in common by chance.

Random subspaces spread over all coordinates. Updates of few rows, or of rows of unlike size, do not: two
independent ones meet on whole coordinates more often. The null that leaves both on as many coordinates as
they lie on: those of one are exchanged among each other, and their signs flipped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg.chance import phi_tail, trace_variance

Float64 = NDArray[np.float64]

# Placements that are drawn: fewer of updates of many rows. So many numbers are held at a time.
_MOST, _LEAST, _WORK, _HELD = 1000, 200, 1 << 22, 1 << 20
# The share of the draws from which a tail is continued.
_OUTER = 0.04
# Up to this factor in variance spans count as spread over all coordinates.
_EVEN = 1.1


@dataclass(frozen=True, eq=False)
class Placed:
    """Orthonormal directions `U (d, k)` and `V (d, k')` of two updates on one side, leading ones first."""

    U: Float64
    V: Float64

    @cached_property
    def _squares(self) -> tuple[Float64, Float64]:
        """Σ over coordinates of squared leverages of the leading 1, 2, … directions of each."""
        first, second = ((np.cumsum(M * M, axis=1) ** 2).sum(axis=0) for M in (self.U, self.V))
        return first, second

    def variance(self, i: Float64, j: Float64) -> Float64:
        """Variance of ‖U_iᵀ Π V_j‖_F² over random placements Π, at least that of random subspaces.

        With leverages h, g (row sums of squares) of the two, S = Σh² − i²/d and T = i − Σh²: S S'/(d − 1) +
        2 T T'/(d (d − 1)).

        >>> one = Placed(np.eye(8)[:, :2], np.eye(8)[:, :2])
        >>> round(float(one.variance(np.array(2.0), np.array(2.0))), 4)  # of a hypergeometric count
        0.3214
        """
        d = len(self.U)
        first, second = (s[np.asarray(k, np.int64) - 1] for s, k in zip(self._squares, (i, j), strict=True))
        uneven = (first - i * i / d) * (second - j * j / d) / max(d - 1, 1)
        apart = 2 * (i - first) * (j - second) / (d * max(d - 1, 1))
        found: Float64 = np.maximum(uneven + apart, trace_variance(i, j, d))
        return found

    @cached_property
    def even(self) -> bool:
        """Whether both are spread over the coordinates as random subspaces are."""
        i, j = np.array(float(self.U.shape[1])), np.array(float(self.V.shape[1]))
        return bool(self.variance(i, j) <= _EVEN * trace_variance(i, j, len(self.U)))

    def tail(self, phi: Float64, i: Float64, j: Float64) -> Float64:
        """`phi_tail` with the variance of placements: a scale to order them by, too small far out."""
        return phi_tail(phi, i, j, len(self.U), self.variance(i, j))

    @cached_property
    def _drawn(self) -> list[Float64]:
        """`UᵀΠV (draws, k, k')`, in blocks."""
        return list(self._draw())

    def _draw(self) -> Iterator[Float64]:
        d, size = self.V.shape
        draws = int(np.clip(_WORK // d, _LEAST, _MOST))
        random, block = np.random.default_rng(0), max(1, _HELD // (d * size))
        for start in range(0, draws, block):
            rows = min(block, draws - start)
            at = random.permuted(np.tile(np.arange(d), (rows, 1)), axis=1)
            signs = 1.0 - 2.0 * random.integers(0, 2, size=(rows, d, 1))
            yield np.matmul(self.U.T, signs * self.V[at])

    def counts(self, level: float) -> tuple[float, float, int]:
        """Mean and standard deviation of the number of principal cos² from `level` on, and the draws."""
        above = np.concatenate(
            [np.count_nonzero(np.linalg.svd(C, compute_uv=False) ** 2 >= level, axis=1) for C in self._drawn]
        )
        return float(above.mean()), float(above.std()), len(above)

    def p_whole(self, phi: float) -> float:
        """P of φ of the whole spans, or more."""
        i, j = (np.array(float(M.shape[1])) for M in (self.U, self.V))
        sums = np.concatenate([(C * C).sum(axis=(1, 2)) for C in self._drawn]) / min(i, j)
        return _continued(float(self.tail(np.array(phi), i, j)), self.tail(np.minimum(sums, 1.0), i, j))

    def p_leading(self, phi: Float64) -> float:
        """P of the rarest φ(k, k) of k = 1, 2, … among these `(most,)`, or one as rare."""
        ks = np.arange(1.0, len(phi) + 1)
        tails = [self.tail(np.minimum(_leading(C, len(phi)) / ks, 1.0), ks, ks) for C in self._drawn]
        return _continued(float(self.tail(phi, ks, ks).min()), np.concatenate(tails).min(axis=1))


def _leading(C: Float64, most: int) -> Float64:
    """Σ of the squares of the leading k × k, for k up to `most`: `(draws, most)`."""
    sums = np.cumsum(np.cumsum(C[:, :most, :most] ** 2, axis=1), axis=2)
    found: Float64 = np.diagonal(sums, axis1=1, axis2=2)
    return found


def _continued(value: float, drawn: Float64) -> float:
    """The share of draws at or below a value in (0, 1]; beyond the outer ones by the power law they fall by.

    Hill's estimator (1975) of the exponent, at most 1: then the scale is right as it is.
    """
    outer = np.sort(drawn)[: max(int(_OUTER * len(drawn)), 2)]
    edge = max(float(outer[-1]), 1e-300)
    if value >= edge:
        return float((1 + np.count_nonzero(drawn <= value)) / (1 + len(drawn)))
    steepness = float(np.log(edge / np.maximum(outer[:-1], 1e-300)).mean())
    return float(len(outer) / len(drawn) * (max(value, 1e-300) / edge) ** (1 / max(steepness, 1.0)))
