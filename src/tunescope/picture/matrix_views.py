"""Models by models as arrays with labels, in the order that puts like beside like."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Matrix:
    """Models by models; `values` is symmetric, `label` names its scale. `signed` values lie in [-1, 1]."""

    title: str
    labels: tuple[str, ...]
    values: Float64
    label: str = ""
    signed: bool = False

    def ordered(self, order: Sequence[int]) -> "Matrix":
        """The same matrix with its models in another order."""
        labels = tuple(self.labels[k] for k in order)
        return Matrix(self.title, labels, self.values[np.ix_(order, order)], self.label, self.signed)


def clustered(similarity: Float64) -> list[int]:
    """An order of the rows that puts like beside like: average linkage, joined where the ends are most alike.

    >>> clustered(np.array([[1.0, 0.1, 0.9], [0.1, 1.0, 0.2], [0.9, 0.2, 1.0]]))
    [0, 2, 1]
    """
    alike = np.clip(np.nan_to_num(similarity, nan=0.0), 0.0, 1.0)
    groups = [[k] for k in range(len(alike))]
    means = alike.copy()
    np.fill_diagonal(means, -1.0)
    while len(groups) > 1:
        a, b = sorted(np.unravel_index(int(np.argmax(means)), means.shape))
        sizes = len(groups[a]), len(groups[b])
        joined = (sizes[0] * means[a] + sizes[1] * means[b]) / sum(sizes)
        groups[a] = _joined(groups[a], groups[b], alike)
        means[a], means[:, a] = joined, joined
        means[a, a] = -1.0
        del groups[b]
        means = np.delete(np.delete(means, b, axis=0), b, axis=1)
    return groups[0] if groups else []


def _joined(first: list[int], second: list[int], alike: Float64) -> list[int]:
    """Both lists end to end, each turned round where that brings the more similar ends together."""
    ways = [(a, b) for a in (first, first[::-1]) for b in (second, second[::-1])]
    a, b = max(ways, key=lambda way: alike[way[0][-1], way[1][0]])
    return [*a, *b]
