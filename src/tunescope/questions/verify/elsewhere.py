"""What is amiss in a merged model outside the modules that were replayed."""

from collections.abc import Sequence
from dataclasses import dataclass

from tunescope.delta import Pair
from tunescope.measure.dense import change, looked
from tunescope.questions.verify.measure import Candidates, Unread
from tunescope.source.opened import Source

_LACKING = "only in the base"


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
    """Every weight that no adapter touches, beside the base's: rounding to a file's dtype is no change."""
    replayed, not_read = {module.address for module in modules}, {gone.address for gone in unread}
    changed, spoilt = [], []
    for delta in merged.deltas:
        if delta.address in replayed or delta.pair is None:
            continue
        equal, lost = looked(delta.pair.before, delta.pair.after)
        if lost:
            spoilt.append((delta.component_name, lost))
        if not equal and delta.address not in not_read and _differs(delta.pair):
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


def _differs(pair: Pair) -> bool:
    return change(pair.before, pair.after).changed_fraction != 0
