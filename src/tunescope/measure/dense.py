"""How far whole tensors are from another: one streamed pass over all of them, whatever their size.

Sums are taken over units of 2¹⁸ values counted from the tensor's start and added in order, and readers hand
over whole units: so no bit depends on how much is read at once, nor on how many threads take turns at spans.
"""

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Array, Values
from tunescope.linalg.differences import (
    TOLERANCES,
    UNIT,
    Sums,
    added,
    base_sums,
    coarser,
    difference_sums,
    same_bytes,
)
from tunescope.linalg.rounding import non_finite

Span = tuple[int, int]
# What is told of a span beside its sums: where it begins, its values before, and those after.
Also = Callable[[int, Array, Sequence[Array]], None]
_T = TypeVar("_T")
# Units that are read at once.
_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a tensor `W` of `numel` values: statistics of `ΔW = W_after − W_before`.

    `norm` ‖ΔW‖_F, `base_norm` ‖W_before‖_F, `relative_norm` their ratio, `cosine_to_base`
    ⟨W, W'⟩/(‖W‖‖W'‖) in [−1, 1], `mean`, `variance` (population) of ΔW, `abs_mean`, `abs_variance`,
    `max_abs` of |ΔW|, `relative_l1` Σ|ΔW|/Σ|W|. `changed_fraction` is the share of values that differ
    (+0 is −0, NaN is NaN; where the dtypes differ, after rounding to the coarser, which `rounded_to` names),
    `changed_fraction_above` the shares with |ΔW| strictly above 1e-6 and 1e-5. A zero denominator gives
    `None`; `base_norm` is `None` for a tensor whose bytes are the same in both, which is not looked into.
    `non_finite` counts NaN and infinities of both sides.
    """

    numel: int
    norm: float
    base_norm: float | None
    relative_norm: float | None
    cosine_to_base: float | None
    mean: float | None
    variance: float | None
    abs_mean: float | None
    abs_variance: float | None
    max_abs: float
    relative_l1: float | None
    changed_fraction: float | None
    changed_fraction_above: tuple[float | None, ...]
    identical: bool
    rounded_to: str | None = None
    non_finite: int = 0


def change(before: Values, after: Values, executor: Executor | None = None) -> Change:
    """Statistics of the difference of two tensors of equal size, read once (equal bytes: once more).

    >>> import numpy as np
    >>> from tunescope.delta import InMemory
    >>> found = change(InMemory(np.array([3.0, 4.0])), InMemory(np.array([3.0, 4.5])))
    >>> found.norm, found.relative_norm, found.changed_fraction
    (0.5, 0.1, 0.5)
    """
    return changes(before, [after], executor)[0]


def changes(
    before: Values, afters: Sequence[Values], executor: Executor | None = None, also: Also | None = None
) -> list[Change]:
    """The same of several tensors against one, which is read once for all of them.

    `also` is called with the first place of every span that is read, its values before and those after, in
    whatever order threads come to them; the arrays are gone once it returns.
    """
    for after in afters:
        if before.size != after.size:
            raise ValueError(f"tensors of {before.size} and {after.size} values have no difference")
    spans = _mapped(executor, lambda span: _differences(before, afters, span, also), _spans(before.size))
    parts = list(spans)
    return [
        _summed(before, after, [unit for span in parts for unit in span[i]], executor)
        for i, after in enumerate(afters)
    ]


def _summed(before: Values, after: Values, units: list[Sums | None], executor: Executor | None) -> Change:
    """Statistics from the sums of all units, those of `before` alone where the bytes are the same in both."""
    kinds = before.part(0, 0).dtype, after.part(0, 0).dtype
    rounded = None if kinds[0] == kinds[1] else coarser(*kinds).name
    if all(unit is None for unit in units):
        return _identical(before, rounded)
    skipped = [i for i, unit in enumerate(units) if unit is None]
    ranges = ((i * UNIT, min((i + 1) * UNIT, before.size)) for i in skipped)
    bases = _mapped(executor, lambda span: base_sums(*_filled((before,), span)), ranges)
    for i, sums in zip(skipped, bases, strict=True):
        units[i] = sums
    return _statistics(added([unit for unit in units if unit is not None]), before.size, rounded)


def _spans(size: int) -> Iterator[Span]:
    step = UNIT * _AT_ONCE
    return ((start, min(start + step, size)) for start in range(0, size, step))


def _units(size: int) -> Iterator[Span]:
    return ((start, min(start + UNIT, size)) for start in range(0, size, UNIT))


def _differences(
    before: Values, afters: Sequence[Values], span: Span, also: Also | None
) -> list[list[Sums | None]]:
    """The sums of each unit of a span of each tensor, None for one whose bytes are the same in both."""
    a, *rest = _filled((before, *afters), span)
    if also is not None:
        also(span[0], a, rest)
    return [
        [None if same_bytes(a[i:j], b[i:j]) else difference_sums(a[i:j], b[i:j]) for i, j in _units(a.size)]
        for b in rest
    ]


def _mapped(executor: Executor | None, work: Callable[[Span], _T], spans: Iterable[Span]) -> Iterable[_T]:
    """The work done on every span, in their order."""
    return map(work, spans) if executor is None else executor.map(work, spans)


class _Memory(threading.local):
    """What a thread has a span of each side read into; fresh memory would cost more than the reading."""

    def __init__(self) -> None:
        self.rows: list[NDArray[np.uint8]] = []

    def held(self, count: int) -> list[NDArray[np.uint8]]:
        """Room for a span of so many tensors."""
        self.rows += [np.empty(8 * UNIT * _AT_ONCE, np.uint8) for _ in range(count - len(self.rows))]
        return self.rows[:count]


_memory = _Memory()


def _filled(rows: Sequence[Values], span: Span) -> list[Array]:
    """A span of each row, until the same thread reads another."""
    return [values.into(*span, held) for values, held in zip(rows, _memory.held(len(rows)), strict=True)]


def looked(before: Values, after: Values) -> tuple[bool, int]:
    """Whether two tensors of equal size hold the same bytes, and how many values of `after` are not finite.

    >>> from tunescope.delta import InMemory
    >>> looked(InMemory(np.ones(3)), InMemory(np.array([1.0, np.nan, 2.0])))
    (False, 1)
    """
    equal, lost = True, 0
    for span in _spans(before.size):
        if equal:
            a, b = _filled((before, after), span)
            equal = same_bytes(a, b)
        else:
            (b,) = _filled((after,), span)
        lost += non_finite(b)
    return equal, lost


def _identical(values: Values, rounded: str | None) -> Change:
    """What can be said of a tensor that did not change without summing it up."""
    n = values.size
    zero = 0.0 if n else None
    anything = any(values.part(*span).any() for span in _first(values))
    whole = 0.0 if anything else None
    none_above = tuple(zero for _ in TOLERANCES)
    return Change(
        n, 0.0, None, whole, 1.0 if anything else None, zero, zero, zero, zero, 0.0, whole, zero, none_above,
        identical=True, rounded_to=rounded,
    )  # fmt: skip


def _first(values: Values) -> Iterator[Span]:
    """Small spans first: nearly every tensor shows in its first values that it is not all zero."""
    start, step = 0, 64
    while start < values.size:
        yield start, min(start + step, values.size)
        start, step = start + step, UNIT


def _statistics(sums: Sums, n: int, rounded: str | None) -> Change:
    squares, cross, base = sums.squares, sums.cross, sums.base_squares
    norm, base_norm = math.sqrt(squares), math.sqrt(base)
    mean, abs_mean = sums.total / n, sums.absolute / n
    # ⟨W, W'⟩ = ‖W‖² + ⟨W, ΔW⟩ and ‖W'‖² = ‖W‖² + 2⟨W, ΔW⟩ + ‖ΔW‖².
    after = base + 2 * cross + squares
    return Change(
        numel=n,
        norm=norm,
        base_norm=base_norm,
        relative_norm=_ratio(norm, base_norm),
        cosine_to_base=_cosine(base + cross, base, after),
        mean=mean,
        variance=_positive(squares / n - mean * mean),
        abs_mean=abs_mean,
        abs_variance=_positive(squares / n - abs_mean * abs_mean),
        max_abs=sums.largest,
        relative_l1=_ratio(sums.absolute, sums.base_absolute),
        changed_fraction=sums.changed / n,
        changed_fraction_above=tuple(count / n for count in sums.above),
        identical=False,
        rounded_to=rounded,
        non_finite=sums.non_finite,
    )


def _ratio(a: float, b: float) -> float | None:
    return a / b if b != 0 else None


def _cosine(inner: float, a: float, b: float) -> float | None:
    if a == 0 or b <= 0:
        return None
    value = inner / (math.sqrt(a) * math.sqrt(b))
    return max(-1.0, min(1.0, value)) if value == value else value


def _positive(value: float) -> float:
    return value if value != value else max(value, 0.0)
