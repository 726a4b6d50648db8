"""How far a matrix has moved since the start: statistics of Δ, the size of ΔW and where it points."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Array, Dense, Factored, Update
from tunescope.linalg import gram

Float64 = NDArray[np.float64]
# Elements that are widened to float64 at once.
_BLOCK = 1 << 20
# An inner product may err by this share of the product of the norms: a thousandth part of float64's rounding.
ROUNDING = 1e-3


@dataclass(frozen=True, slots=True)
class Moments:
    """Statistics of the entries of Δ: mean and population variance, of Δ and of |Δ|."""

    mean: float
    variance: float
    abs_mean: float
    abs_variance: float
    numel: int


def moments(now: Array, start: Array | None = None) -> Moments:
    """Mean and population variance of `Δ = now − start` and of `|Δ|`, in float64; `start=None` is zero.

    Blocks are joined by the pairwise update of Chan, Golub & LeVeque (1979), so a large matrix is never
    widened whole.

    >>> moments(np.array([[3.0, -1.0]]))
    Moments(mean=1.0, variance=4.0, abs_mean=2.0, abs_variance=1.0, numel=2)
    """
    plain, sizes = _Running(), _Running()
    with np.errstate(all="ignore"):
        for block in _differences(now, start):
            plain.add(block)
            sizes.add(np.abs(block))
    n = max(plain.n, 1)
    return Moments(plain.mean, plain.squares / n, sizes.mean, sizes.squares / n, plain.n)


def moments_of(differences: Float64) -> list[Moments]:
    """`moments` of each row of `Δ (n, values)`, of at most a block of values, to the same bits."""
    with np.errstate(all="ignore"):
        plain, sizes = _centred(differences), _centred(np.abs(differences))
    count = differences.shape[1]
    return [Moments(*of, *of_sizes, count) for of, of_sizes in zip(plain, sizes, strict=True)]


def _centred(rows: Float64) -> list[tuple[float, float]]:
    """Mean and population variance of each row, as `_Running` finds them of one block."""
    n = rows.shape[1]
    means = np.add.reduce(rows, axis=1) / n
    centred = rows - means[:, None]
    squares = [float(np.dot(row, row)) for row in centred]
    return [(mean * n / n, square / n) for mean, square in zip(means.tolist(), squares, strict=True)]


@dataclass(slots=True)
class _Running:
    n: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, block: Float64) -> None:
        if block.size == 0:
            return
        mean, total = float(np.add.reduce(block)) / block.size, self.n + block.size
        gap, centred = mean - self.mean, block - mean
        self.squares += float(np.dot(centred, centred)) + gap * gap * self.n * block.size / total
        self.mean += gap * block.size / total
        self.n = total


def _differences(now: Array, start: Array | None) -> Iterator[Float64]:
    flat = now.reshape(-1)
    origin = None if start is None else start.reshape(-1)
    for i in range(0, flat.size, _BLOCK):
        block = gram.wide(flat[i : i + _BLOCK]).astype(np.float64)
        yield block if origin is None else block - gram.wide(origin[i : i + _BLOCK])


@dataclass(frozen=True, eq=False)
class Displacement:
    """`ΔW = update(now) − update(start)`, kept apart; `start=None` is zero."""

    now: Update
    start: Update | None = None

    def inner(self, other: "Displacement") -> float:
        """⟨ΔW, ΔW'⟩_F, factored where all parts are; NaN where a scale is unknown."""
        parts = [u for u in (self.now, self.start, other.now, other.start) if u is not None]
        if any(u.scale is None for u in parts):
            return math.nan
        with np.errstate(all="ignore"):
            if all(isinstance(u, Factored) for u in parts):
                return self._factored_inner(other)
            pairs = zip(self._blocks(), other._blocks(), strict=True)
            return float(sum(float(np.vdot(a, b)) for a, b in pairs))

    @cached_property
    def norm(self) -> float:
        """‖ΔW‖_F; NaN where a scale is unknown."""
        if any(u is not None and u.scale is None for u in (self.now, self.start)):
            return math.nan
        if self._is_factored:
            # Through QR where the terms of the Gram form cancel, as after a change of gauge alone.
            return gram.product_frobenius(*self._factors, exact=True)[0]
        square = self.inner(self)
        return square if math.isnan(square) else math.sqrt(max(square, 0.0))

    @property
    def _is_factored(self) -> bool:
        return all(u is None or isinstance(u, Factored) for u in (self.now, self.start))

    def _factored_inner(self, other: "Displacement") -> float:
        (B, A), (B2, A2) = self._factors, other._factors
        terms = gram.gram_columns(B, B2, exact=True) * gram.gram_rows(A, A2, exact=True)
        # Gram terms that much larger than both updates would leave their rounding in the result.
        if float(np.abs(terms).sum()) * ROUNDING <= self.norm * other.norm:
            return float(terms.sum())
        return gram.inner_through_qr(B, A, B2, A2)

    @cached_property
    def _factors(self) -> tuple[Float64, Float64]:
        """Factors of ΔW, `[ΔB, B₀] [A; ΔA]`: every term is as small as the motion, so none cancels."""
        B, A = _scaled(self.now)
        if self.start is None:
            return B, A
        B0, A0 = _scaled(self.start)
        if not B0.any():
            return B, A
        if B0.shape != B.shape:
            return np.hstack([B, -B0]), np.vstack([A, A0])
        return np.hstack([B - B0, B0]), np.vstack([A, A - A0])

    def _blocks(self) -> Iterator[Float64]:
        start = None if self.start is None else _matrix(self.start)
        return _differences(_matrix(self.now), start)


def _scaled(update: Update) -> tuple[Float64, Float64]:
    assert isinstance(update, Factored)
    B = gram.wide(update.B).astype(np.float64)
    return B * (1.0 if update.scale is None else update.scale), gram.wide(update.A).astype(np.float64)


def _matrix(update: Update) -> Array:
    """The update as a matrix, in its stored dtype where nothing has to be computed."""
    return update.matrix if isinstance(update, Dense) and update.scale == 1.0 else update.dense()


@dataclass(frozen=True, slots=True)
class Motion:
    """One weight at one checkpoint: per factor its `Moments` and what they are against, and ΔW as a whole.

    `factors` maps `A`, `B` or `W` to (moments, reference), reference one of `start`, `zero`,
    `first_checkpoint`. `norm` is ‖ΔW‖_F; the cosines compare ΔW with the previous and the last
    checkpoint's, NaN where either is zero. `changed_fraction` is the share of a whole weight's values that
    differ from the reference's.
    """

    index: int
    factors: dict[str, tuple[Moments, str]]
    norm: float
    cosine_to_previous: float
    cosine_to_last: float
    changed_fraction: float | None = None


def follow(
    openers: Sequence[Callable[[], Update] | None],
    start: Callable[[], Update] | None = None,
    *,
    origin: str = "zero",
) -> Iterator[Motion]:
    """How one weight moves over a list of checkpoints; `None` where a checkpoint does not have it.

    Without `start` the update counts from `origin`: `zero` for an adapter (of whose factors only B starts
    at zero, so A counts from the first checkpoint), `first_checkpoint` for a whole weight. Holds at most
    four checkpoints of the weight at once.
    """
    present = [i for i, opener in enumerate(openers) if opener is not None]
    if not present:
        return
    first = _open(openers, present[0])
    begin = start() if start is not None else first if origin == "first_checkpoint" else None
    origin = "start" if start is not None else origin
    last = Displacement(first if len(present) == 1 else _open(openers, present[-1]), begin)
    previous: Displacement | None = None
    for i in present:
        update = first if i == present[0] else last.now if i == present[-1] else _open(openers, i)
        now = Displacement(update, begin)
        to_previous = math.nan if previous is None else cosine(now, previous)
        yield Motion(i, _factors(update, first, begin, origin), now.norm, to_previous, cosine(now, last))
        previous = now


def _open(openers: Sequence[Callable[[], Update] | None], i: int) -> Update:
    opener = openers[i]
    assert opener is not None
    return opener()


def cosine(a: Displacement, b: Displacement) -> float:
    """Cosine of two ΔW as vectors, in [−1, 1]; NaN where either is zero."""
    scale = a.norm * b.norm
    return cosine_of(a.inner(b), scale) if scale > 0 else math.nan


def cosine_of(inner: float, scale: float) -> float:
    """An inner product over the product of the norms, in [−1, 1]; NaN where that is not positive."""
    return max(-1.0, min(1.0, inner / scale)) if scale > 0 else math.nan


def _factors(now: Update, first: Update, begin: Update | None, origin: str) -> dict[str, tuple[Moments, str]]:
    if isinstance(now, Dense):
        return {"W": (moments(_matrix(now), None if begin is None else _matrix(begin)), origin)}
    if isinstance(begin, Factored) and begin.A.shape == now.A.shape:
        return {"A": (moments(now.A, begin.A), origin), "B": (moments(now.B, begin.B), origin)}
    if isinstance(first, Factored) and first.A.shape == now.A.shape:
        return {"A": (moments(now.A, first.A), "first_checkpoint"), "B": (moments(now.B), "zero")}
    return {"A": (moments(now.A), "zero"), "B": (moments(now.B), "zero")}
