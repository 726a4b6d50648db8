"""What is amiss in a merged model outside the modules that were replayed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Pair
from tunescope.linalg.differences import UNIT, same_bytes
from tunescope.linalg.rounding import GRIDS, non_finite, rounded
from tunescope.questions.verify.measure import Candidates
from tunescope.questions.verify.meeting import Unread
from tunescope.source.opened import Source

Array = NDArray[Any]

_LACKING = "only in the base"
# What a merger may have computed in before it wrote a wider file.
_NARROW = ("bfloat16", "float16")


@dataclass(frozen=True)
class Elsewhere:
    """Weights that no adapter touches: `changed` ones, and `non_finite` with how many such values each has.

    `missing` are tensors of the base that the merged model lacks, `incomparable` weights of both with why.
    """

    changed: tuple[str, ...] = ()
    non_finite: tuple[tuple[str, int], ...] = ()
    missing: tuple[str, ...] = ()
    incomparable: tuple[tuple[str, str], ...] = ()


def elsewhere(merged: Source, modules: Sequence[Candidates], unread: Sequence[Unread]) -> Elsewhere:
    """Every weight that no adapter touches, beside the base's: rounding to a dtype is no change."""
    replayed, not_read = {module.address for module in modules}, {gone.address for gone in unread}
    changed, spoilt = [], []
    for delta in merged.deltas:
        if delta.address in replayed or delta.pair is None:
            continue
        differs, lost = compared(delta.pair)
        if lost:
            spoilt.append((delta.component_name, lost))
        if differs and delta.address not in not_read:
            changed.append(delta.component_name)
    lacking = merged.base.coverage if merged.base is not None else ()
    return Elsewhere(
        tuple(changed),
        tuple(spoilt),
        tuple(entry.tensor for entry in lacking if entry.status != "used" and entry.reason == _LACKING),
        tuple(
            (d.component_name, d.status) for d in merged.incomparable if d.address not in replayed | not_read
        ),
    )


def compared(pair: Pair) -> tuple[bool, int]:
    """Whether a weight is another than before, and how many of its values are not finite; read once.

    It is the same where rounding the base to the file's dtype, to one that a merger computed in, or the
    weight to the base's dtype, makes them equal throughout.

    >>> from tunescope.delta import InMemory
    >>> third = np.array([1 / 3], np.float32)
    >>> compared(Pair(InMemory(third), InMemory(rounded(third, "bfloat16"))))
    (False, 0)
    """
    kinds = pair.before.part(0, 0).dtype.name, pair.after.part(0, 0).dtype.name
    ways = [("", "")]
    if kinds[0] in GRIDS:
        ways += [(grid, "") for grid in dict.fromkeys((kinds[1], *_NARROW)) if grid in GRIDS]
        ways.append(("", kinds[0]))
    memory, lost = [np.empty(8 * UNIT, np.uint8) for _ in range(2)], 0
    for start in range(0, pair.before.size, UNIT):
        span = start, min(start + UNIT, pair.before.size)
        before, after = pair.before.into(*span, memory[0]), pair.after.into(*span, memory[1])
        lost += non_finite(after)
        if ways and not same_bytes(before, after):
            ways = [way for way in ways if _equal(before, after, way, kinds[1])]
    return not ways, lost


def _equal(before: Array, after: Array, way: tuple[str, str], stored: str) -> bool:
    """Whether the base, or the weight, rounded to a grid is the other, +0 being −0 and NaN NaN."""
    ours, theirs = way
    a, b = _wide(before), _wide(after)
    a = a if not ours else rounded(a, ours)
    # What a merger computed in 16 bits is stored in the file's dtype after all.
    a = rounded(a, stored) if ours and stored in GRIDS else a
    return bool(np.array_equal(a, b if not theirs else rounded(b, theirs), equal_nan=True))


def _wide(values: Array) -> Array:
    return values if values.dtype == np.float64 else values.astype(np.float32)
