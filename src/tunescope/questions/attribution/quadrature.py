"""Nested nodes of Clenshaw and Curtis on [0, 1]: every set holds all nodes of the one before."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

Node = tuple[int, int]
"""A node as the fraction j/N of the half circle that it stands on: α = (1 − cos(πj/N))/2."""


def sizes(most: int) -> Iterator[int]:
    """Numbers of nodes of the sets up to `most`: 1, 3, 5, 9, 17, …, each nested in the next.

    >>> list(sizes(20))
    [1, 3, 5, 9, 17]
    """
    size = 1
    while size <= most:
        yield size
        size = 3 if size == 1 else 2 * size - 1


def nodes(size: int) -> list[Node]:
    """The nodes of the set of `size` nodes, from base to tuned.

    >>> nodes(3)
    [(0, 1), (1, 2), (1, 1)]
    """
    if size == 1:
        return [(1, 2)]
    fractions = [Fraction(j, size - 1) for j in range(size)]
    return [(fraction.numerator, fraction.denominator) for fraction in fractions]


def place(node: Node) -> float:
    """Where on the path a node lies, α in [0, 1].

    >>> [round(place(node), 3) for node in nodes(5)]
    [0.0, 0.146, 0.5, 0.854, 1.0]
    """
    return float((1 - np.cos(np.pi * node[0] / node[1])) / 2)


def weights(size: int) -> Array:
    """The weights of `nodes(size)`, which sum to 1; exact for polynomials of degree `size`.

    w_j = c_j/N · (1 − Σ_{k=1}^{N/2} b_k cos(2πjk/N)/(4k² − 1))/2 with N = size − 1, c_j = 1 at both ends and
    2 between, b_k = 1 for k = N/2 and 2 below [Clenshaw & Curtis 1960; Trefethen 2008, SIAM Review 50(1)].

    >>> weights(3) * 6
    array([1., 4., 1.])
    """
    if size == 1:
        return np.ones(1)
    count = size - 1
    j, k = np.arange(size), np.arange(1, count // 2 + 1)
    b = np.where(k == count // 2, 1.0, 2.0)
    c = np.where((j == 0) | (j == count), 1.0, 2.0)
    sums = (np.cos(2 * np.pi * np.outer(j, k) / count) * (b / (4 * k**2 - 1))).sum(1)
    return np.asarray(c / count * (1 - sums) / 2)
