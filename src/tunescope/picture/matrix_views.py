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
    """An order of the rows that puts like beside like: average linkage, leaves optimally ordered."""
    count = len(similarity)
    if count < 3:
        return list(range(count))
    # Deferred: only several models need it.
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distance = 1.0 - np.clip(np.nan_to_num(similarity, nan=0.0), 0.0, 1.0)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return [int(k) for k in leaves_list(tree)]
