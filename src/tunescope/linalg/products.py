"""Cosines of many low-rank products with one another, from blocks of their factors' Gram matrices.

⟨BA, B'A'⟩ = Σ (BᵀB')∘(AA'ᵀ): the factors of all products lie below one another, and a block of some
hundreds of rows against another is two matrix products, one per side.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg.gram import wide

Array = NDArray[Any]
Float64 = NDArray[np.float64]
# Maps a function over tiles, in their order: `map`, or that of an executor.
Each = Callable[..., Iterable[Any]]

# Rows that meet at once: their two Grams stay in the cache.
_ROWS = 512
# Columns whose products are summed in float32 before they are added in float64.
_COLUMNS = 1024
# Products of one rank that are scaled at once.
_TOGETHER = 32


@dataclass(frozen=True, eq=False)
class Stack:
    """The factors of `n` products, each of norm 1, below one another.

    `left` `(rows, d_out)` has rows of norm 1, `right` `(rows, d_in)`; `starts` `(n,)` is where each product's
    rows begin. `spread` is √(Σ_k ‖b_k‖²‖a_k‖²)/‖BA‖ at its largest: 1 for orthogonal factors, large where the
    rank-one terms of a product cancel.
    """

    left: Array
    right: Array
    starts: NDArray[np.intp]
    spread: float


def stacked(factors: Sequence[tuple[Array, Array]], norms: Sequence[float], exact: bool) -> Stack:
    """Factors `B (d_out, r)` and `A (r, d_in)` with the norms ‖BA‖ as a stack, in float64 or float32.

    A product whose norm is zero or not finite becomes rows of zeros.
    """
    ranks = [max(len(A), 1) for _, A in factors]
    dtype = np.float64 if exact else np.float32
    left = np.zeros((sum(ranks), len(factors[0][0])), dtype)
    right = np.zeros((sum(ranks), factors[0][1].shape[1]), dtype)
    starts = np.cumsum([0, *ranks])
    spread = 0.0
    usable = [i for i, norm in enumerate(norms) if norm > 0 and math.isfinite(norm)]
    for _, run in groupby(usable, lambda i: (ranks[i], i // _TOGETHER)):
        members = list(run)
        B = np.concatenate([wide(factors[i][0]).T for i in members])
        A = np.concatenate([wide(factors[i][1]) for i in members])
        rows, columns = _normalised(B, A, np.repeat([norms[i] for i in members], ranks[members[0]]))
        at = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in members])
        left[at], right[at] = rows, columns
        sizes = np.einsum("rd,rd->r", columns, columns).reshape(len(members), -1).sum(axis=1)
        spread = max(spread, math.sqrt(float(sizes.max())))
    return Stack(left, right, starts[:-1], spread)


def _normalised(B: Array, A: Array, norms: Float64) -> tuple[Float64, Float64]:
    """Rows of B with norm 1, and those of A with what that takes out of B put in, over the norm of BA."""
    rows, columns = B.astype(np.float64), A.astype(np.float64)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    largest[largest == 0] = 1.0
    rows /= largest
    sizes = np.sqrt(np.einsum("rd,rd->r", rows, rows))[:, None]
    sizes[sizes == 0] = 1.0
    rows /= sizes
    columns *= largest * sizes / norms[:, None]
    return rows, columns


def cosines(a: Stack, b: Stack, each: Each = map) -> Float64:
    """⟨BA, B'A'⟩ `(n, n')` of the products of one stack with those of another, or with themselves.

    >>> one = stacked([(np.eye(3, 1), np.eye(1, 4)), (np.ones((3, 1)), np.eye(1, 4))], [1.0, 3**0.5], True)
    >>> cosines(one, one).round(6).tolist()
    [[1.0, 0.57735], [0.57735, 1.0]]
    """
    found = np.zeros((len(a.starts), len(b.starts)))
    tiles = [(x, y) for x, y in product(_cut(a), _cut(b)) if a is not b or x.start <= y.start]
    for (x, y), tile in zip(tiles, each(lambda tile: _tile(a, b, *tile), tiles), strict=True):
        found[x, y] = tile
        if a is b and x != y:
            found[y, x] = tile.T
    return found


def _cut(stack: Stack) -> Iterator[slice]:
    """Runs of whole products that have about `_ROWS` rows."""
    edges = [*stack.starts.tolist(), len(stack.left)]
    first = 0
    for last in range(1, len(edges)):
        if last + 1 == len(edges) or edges[last + 1] - edges[first] > _ROWS:
            yield slice(first, last)
            first = last


def _tile(a: Stack, b: Stack, x: slice, y: slice) -> Float64:
    mine, theirs = _rows(a, x), _rows(b, y)
    terms = np.multiply(
        _gram(a.left[mine], b.left[theirs]), _gram(a.right[mine], b.right[theirs]), dtype=np.float64
    )
    over_rows = np.add.reduceat(terms, a.starts[x] - mine.start, axis=0)
    found: Float64 = np.add.reduceat(over_rows, b.starts[y] - theirs.start, axis=1)
    return found


def _rows(stack: Stack, products: slice) -> slice:
    edges = (*stack.starts.tolist(), len(stack.left))
    return slice(edges[products.start], edges[products.stop])


def _gram(a: Array, b: Array) -> Array:
    if a.dtype == np.float64 or a.shape[1] <= _COLUMNS:
        return a @ b.T
    total = np.zeros((len(a), len(b)))
    for start in range(0, a.shape[1], _COLUMNS):
        total += a[:, start : start + _COLUMNS] @ b[:, start : start + _COLUMNS].T
    return total
