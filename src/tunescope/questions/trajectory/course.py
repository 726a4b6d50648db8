"""How a whole weight moves over its checkpoints: all of them side by side in one streamed pass."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Values
from tunescope.linalg.differences import UNIT, Sums, added, difference_sums, same_bytes
from tunescope.linalg.widening import widen
from tunescope.questions.trajectory.motion import Moments, Motion

Array = NDArray[Any]
# Values of one row of an inner product, short enough for float32.
_ROW = 512


@dataclass(slots=True)
class _Course:
    """What has been summed up of one checkpoint: its sums against the origin, and inner products of ΔW."""

    sums: list[Sums] = field(default_factory=list)
    to_previous: float = 0.0
    to_last: float = 0.0
    finite: bool = True

    @property
    def norm(self) -> float:
        """‖ΔW‖_F, NaN where a value is not finite."""
        return math.sqrt(added(self.sums).squares) if self.finite else math.nan


def follow_whole(checkpoints: Sequence[Values | None], start: Values | None, reference: str) -> list[Motion]:
    """The motion of one weight over its checkpoints (`None` where one lacks it), counted from `start`.

    Without `start` Δ counts from the first checkpoint. Every tensor is read once, a unit of 2¹⁸ values at a
    time for all checkpoints together; units whose bytes are those of the origin cost no arithmetic.
    """
    there = {i: values for i, values in enumerate(checkpoints) if values is not None}
    if not there:
        return []
    origin = start if start is not None else there[min(there)]
    courses = {i: _Course() for i in there}
    memory = _memory(1 + len(there), min(UNIT, origin.size))
    for begin in range(0, origin.size, UNIT):
        _add_unit(there, courses, origin, (begin, min(begin + UNIT, origin.size)), memory)
    return list(_motions(courses, origin.size, reference))


def _motions(courses: Mapping[int, _Course], size: int, reference: str) -> Iterator[Motion]:
    norms = {i: course.norm for i, course in courses.items()}
    last, before = max(norms), None
    for i, course in courses.items():
        yield Motion(
            index=i,
            factors={"W": (_moments(course, size), reference)},
            norm=norms[i],
            cosine_to_previous=math.nan
            if before is None
            else _cosine(course.to_previous, norms[i], norms[before]),
            cosine_to_last=_cosine(course.to_last, norms[i], norms[last]),
            changed_fraction=added(course.sums).changed / size if size else None,
        )
        before = i


# What a unit of the origin and of each checkpoint is read into, and its values or their differences.
_Memory = list[tuple[NDArray[np.uint8], NDArray[np.float64]]]


def _memory(rows: int, size: int) -> _Memory:
    """Held for a whole weight: fresh memory for every unit costs several times its arithmetic."""
    return [(np.empty(8 * size, np.uint8), np.empty(size)) for _ in range(rows)]


def _add_unit(
    there: dict[int, Values],
    courses: dict[int, _Course],
    origin: Values,
    span: tuple[int, int],
    memory: _Memory,
) -> None:
    (raw, held), *others = memory
    base = origin.into(*span, raw)
    units = [values.into(*span, raw) for values, (raw, _) in zip(there.values(), others, strict=True)]
    # 16-bit values are exact in float32.
    narrow = all(values.dtype == base.dtype and values.dtype.itemsize <= 2 for values in units)
    kind: Any = np.float32 if narrow else np.float64
    wide = widen(base, held.view(kind)[: base.size])
    clean = bool(np.isfinite(wide).all())
    outs = [held.view(kind)[: base.size] for _, held in others]
    deltas = [_difference(values, base, wide, out) for values, out in zip(units, outs, strict=True)]
    previous: Array | None = None
    for i, values, delta in zip(there, units, deltas, strict=True):
        course = courses[i]
        if delta is None:
            course.sums.append(Sums())
            course.finite = course.finite and clean
        else:
            sums = difference_sums(base, values)
            course.sums.append(sums)
            course.finite = course.finite and sums.non_finite == 0
            course.to_last += _inner(delta, deltas[-1])
            course.to_previous += _inner(delta, previous)
        previous = delta


def _difference(values: Array, base: Array, wide: Array, out: Array) -> Array | None:
    """Δ, `None` where the bytes are the same; inexact only in float32, whose rounding no cosine shows."""
    if same_bytes(base, values):
        return None
    widen(values, out)
    with np.errstate(all="ignore"):
        return np.subtract(out, wide, out=out)


def _inner(a: Array, b: Array | None) -> float:
    """Σ a·b by short rows, joined in float64."""
    if b is None:
        return 0.0
    whole = a.size // _ROW * _ROW
    with np.errstate(all="ignore"):
        rows = np.matmul(a[:whole].reshape(-1, 1, _ROW), b[:whole].reshape(-1, _ROW, 1))
        return float(rows.sum(dtype=np.float64)) + float(np.dot(a[whole:], b[whole:]))


def _moments(course: _Course, n: int) -> Moments:
    if not course.finite:
        return Moments(math.nan, math.nan, math.nan, math.nan, n)
    whole = added(course.sums)
    mean, abs_mean = whole.total / max(n, 1), whole.absolute / max(n, 1)
    square = whole.squares / max(n, 1)
    return Moments(mean, max(square - mean * mean, 0.0), abs_mean, max(square - abs_mean * abs_mean, 0.0), n)


def _cosine(inner: float, a: float, b: float) -> float:
    scale = a * b
    return max(-1.0, min(1.0, inner / scale)) if scale > 0 else math.nan
