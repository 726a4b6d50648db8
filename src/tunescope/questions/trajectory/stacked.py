"""The motion of many small low-rank weights at once: what `motion.follow` finds, to the bit, on stacks.

For factors of some thousand values the calls of NumPy, and a file opened for each, cost many times what they
compute: a run of 400 checkpoints of 64 modules is followed in a third of the time.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tunescope.delta import Factored, Update
from tunescope.linalg import gram
from tunescope.questions.trajectory.motion import ROUNDING, Float64, Motion, cosine_of, moments_of

Opener = Callable[[], Update]
Shape = tuple[tuple[int, ...], tuple[int, ...]]

# Updates of so few values in both factors are followed together: of those that come one after the other as
# many as have so many values, and of one shape so many that their float64 copies stay in the cache.
_SMALL, _TOGETHER, _STACKED = 1 << 15, 1 << 20, 1 << 16


def batches(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Which weights are followed together, by how many values both factors of each have; 0: not here.

    >>> list(batches([100, 0, 1 << 16, 200]))
    [[0, 3]]
    """
    batch: list[int] = []
    values = 0
    for i, size in enumerate(sizes):
        if not 0 < size <= _SMALL:
            continue
        batch.append(i)
        values += size
        if values > _TOGETHER:
            yield batch
            batch, values = [], 0
    if batch:
        yield batch


def follow_together(openers: Sequence[Sequence[Opener]]) -> list[list[Motion] | None]:
    """The motion of each weight over its checkpoints, counted from zero, A's from the first checkpoint's A.

    `openers[w][i]` opens weight `w` at checkpoint `i`. `None` for a weight that is not of one shape and of a
    known scale throughout: `motion.follow` takes it.
    """
    steps = len(openers[0])
    firsts = [of[0]() for of in openers]
    lasts = firsts if steps == 1 else [of[-1]() for of in openers]
    shapes = [_shape(update) for update in firsts]
    odd = {w for w, last in enumerate(lasts) if shapes[w] is None or _shape(last) != shapes[w]}
    stacks = [_Followed(members, firsts, lasts) for members in _of_one_shape(shapes, odd)]
    found: list[list[Motion]] = [[] for _ in openers]
    for i in range(steps):
        now = firsts if i == 0 else lasts if i == steps - 1 else _opened(openers, i, odd, firsts)
        odd |= {w for w, update in enumerate(now) if _shape(update) != shapes[w]}
        for stack in stacks:
            # What became odd is replaced by what fits, and thrown away in the end.
            updates = [firsts[w] if w in odd else now[w] for w in stack.members]
            for w, motion in zip(stack.members, stack.step(i, updates), strict=True):
                found[w].append(motion)
    return [None if w in odd else motions for w, motions in enumerate(found)]


def _opened(
    openers: Sequence[Sequence[Opener]], i: int, odd: set[int], firsts: Sequence[Update]
) -> list[Update]:
    """All updates of a checkpoint, in one go, as its file holds them."""
    return [firsts[w] if w in odd else of[i]() for w, of in enumerate(openers)]


def _shape(update: Update) -> Shape | None:
    if not isinstance(update, Factored) or update.scale is None:
        return None
    shapes = (*update.B.shape, *update.A.shape)
    return (update.B.shape, update.A.shape) if len(shapes) == 4 and min(shapes) > 0 else None


def _of_one_shape(shapes: Sequence[Shape | None], odd: set[int]) -> Iterator[list[int]]:
    groups: dict[Shape, list[int]] = {}
    for w, shape in enumerate(shapes):
        if shape is not None and w not in odd:
            groups.setdefault(shape, []).append(w)
    for (b, a), members in groups.items():
        many = max(1, _STACKED // (b[0] * b[1] + a[0] * a[1]))
        yield from (members[k : k + many] for k in range(0, len(members), many))


@dataclass(frozen=True, eq=False, slots=True)
class _Point:
    """Scaled factors `B (n, d_out, r)`, `A (n, r, d_in)` in float64, and ‖ΔW‖ `(n,)`."""

    B: Float64
    A: Float64
    norms: Float64


class _Followed:
    """Weights of one shape on their way: where they began, where they end, and the checkpoint before."""

    def __init__(self, members: list[int], firsts: Sequence[Update], lasts: Sequence[Update]) -> None:
        self.members = members
        self._first_A = _stacked([firsts[w] for w in members])[1]
        self._last = _point([lasts[w] for w in members])[0]
        self._previous: _Point | None = None

    def step(self, i: int, updates: Sequence[Update]) -> list[Motion]:
        """Their motion at checkpoint `i`."""
        now, unscaled = _point(updates)
        n = len(updates)
        of_A = moments_of((now.A - self._first_A).reshape(n, -1))
        of_B = moments_of(unscaled.reshape(n, -1))
        before = [math.nan] * n if self._previous is None else _cosines(now, self._previous)
        after = _cosines(now, self._last)
        self._previous = now
        return [
            Motion(i, {"A": (a, "first_checkpoint"), "B": (b, "zero")}, norm, to_previous, to_last)
            for a, b, norm, to_previous, to_last in zip(
                of_A, of_B, now.norms.tolist(), before, after, strict=True
            )
        ]


def _stacked(updates: Sequence[Update]) -> tuple[Float64, Float64, Float64]:
    """Factors B and A in float64, unscaled, and the scales."""
    factored = [update for update in updates if isinstance(update, Factored)]
    B = np.stack([gram.wide(update.B) for update in factored]).astype(np.float64)
    A = np.stack([gram.wide(update.A) for update in factored]).astype(np.float64)
    return B, A, np.array([update.scale for update in factored], dtype=np.float64)


def _point(updates: Sequence[Update]) -> tuple[_Point, Float64]:
    """The updates as a stack, and their factors B unscaled."""
    unscaled, A, scales = _stacked(updates)
    with np.errstate(all="ignore"):
        B = unscaled * scales[:, None, None]
        return _Point(B, A, _norms(B, A)), unscaled


def _norms(B: Float64, A: Float64) -> Float64:
    """‖BA‖ of each, as `gram.product_frobenius` with `exact`."""
    columns, rows = _columns(B, B), _rows(A, A)
    terms = (rows * columns).reshape(len(B), -1)
    sums = terms.sum(axis=1)
    norms = np.sqrt(sums)
    plain = _in_range(columns) & _in_range(rows) & (sums / np.abs(terms).sum(axis=1) > gram.CANCELLATION)
    for k in np.flatnonzero(~plain).tolist():
        norms[k] = gram.product_frobenius(B[k], A[k], exact=True)[0]
    return np.asarray(norms)


def _in_range(grams: Float64) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    diagonal = np.diagonal(grams, axis1=1, axis2=2)
    finite = np.isfinite(grams).all(axis=(1, 2))
    return np.asarray(finite & (diagonal > 1e-24).all(axis=1) & (diagonal < 1e30).all(axis=1))


def _cosines(a: _Point, b: _Point) -> list[float]:
    """Cosine of each ΔW with its counterpart, as `motion.cosine`."""
    with np.errstate(all="ignore"):
        terms = (_columns(a.B, b.B) * _rows(a.A, b.A)).reshape(len(a.B), -1)
        scale, inner = a.norms * b.norms, terms.sum(axis=1)
        rounded = (scale > 0) & ~(np.abs(terms).sum(axis=1) * ROUNDING <= scale)
    for k in np.flatnonzero(rounded).tolist():
        inner[k] = gram.inner_through_qr(a.B[k], a.A[k], b.B[k], b.A[k])
    return [cosine_of(*sizes) for sizes in zip(inner.tolist(), scale.tolist(), strict=True)]


def _columns(B: Float64, other: Float64) -> Float64:
    """`BᵀB'` of each, block by block as `gram.gram_columns`."""
    total = np.zeros((len(B), B.shape[2], other.shape[2]))
    for start in range(0, B.shape[1], gram.BLOCK):
        span = slice(start, start + gram.BLOCK)
        total += B[:, span].transpose(0, 2, 1) @ other[:, span]
    return total


def _rows(A: Float64, other: Float64) -> Float64:
    """`AA'ᵀ` of each, block by block as `gram.gram_rows`."""
    total = np.zeros((len(A), A.shape[1], other.shape[1]))
    for start in range(0, A.shape[2], gram.BLOCK):
        span = slice(start, start + gram.BLOCK)
        total += A[:, :, span] @ other[:, :, span].transpose(0, 2, 1)
    return total
