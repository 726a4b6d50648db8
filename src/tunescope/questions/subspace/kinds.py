"""What two updates of one weight have in common, as one word, by stated thresholds on the excess overlap."""

from collections.abc import Mapping
from typing import Any

# Thresholds on the excess (φ − chance)/(1 − chance) of the whole spans, unless said otherwise. Trained
# updates are never isotropic, so z is no measure of this: unrelated adapters of one base reach z = 30.
THRESHOLDS = {
    "most": 0.5,  # most of one span lies in the other
    "same_start": 0.8,  # on the input side, where a LoRA A hardly moves from where it started
    "little": 0.15,  # below it: what adapters of one base share without a start or a task in common
    "same_run_cosine": 0.1,  # of ΔW itself
    "identical_distance": 1e-6,  # ‖ΔW − ΔW'‖ over √(‖ΔW‖² + ‖ΔW'‖²)
}
KINDS = (
    "identical", "same_run", "shared_initialisation", "shared_directions", "first_directions_shared",
    "nothing_shared", "untrained", "non_finite",
)  # fmt: skip


def kind_of(row: Mapping[str, Any], rank: int) -> str | None:
    """One of `KINDS` for a summary row; `None` where chance already fills a side's whole space.

    `rank` is the smaller rank of the two updates.
    """
    incoming, outgoing = row["excess_input"], row["excess_output"]
    if _identical(row):
        return "identical"
    if incoming is None or outgoing is None:
        return None
    if row["dimensions_shared_output"] == 0 and outgoing < THRESHOLDS["little"]:
        return _at_chance_outside(incoming, row["dimensions_shared_input"], row["excess_leading"], rank)
    together = (row["delta_cosine"] or 0.0) >= THRESHOLDS["same_run_cosine"]
    if incoming >= THRESHOLDS["same_start"] and outgoing >= THRESHOLDS["little"] and together:
        return "same_run"
    return _learned(row["dimensions_shared_output"], row["excess_leading"], outgoing, rank)


def _at_chance_outside(incoming: float, shared_inputs: int, leading: float | None, rank: int) -> str:
    """The word for an output side at chance: what is in common on the input side alone was not learned."""
    if incoming < THRESHOLDS["most"] and _only_first(shared_inputs, leading, rank):
        return "first_directions_shared"
    if incoming < THRESHOLDS["little"] and shared_inputs == 0:
        return "nothing_shared"
    return "shared_initialisation"


def _learned(shared: int, leading: float | None, outgoing: float, rank: int) -> str:
    """The word for an output side above chance."""
    few = outgoing < THRESHOLDS["most"] and _only_first(shared, leading, rank)
    return "first_directions_shared" if few else "shared_directions"


def _only_first(shared: int, leading: float | None, rank: int) -> bool:
    """Whether at most half of the dimensions are shared, and these are the leading ones."""
    return 0 < 2 * shared <= rank and leading is not None and leading >= THRESHOLDS["most"]


def _identical(row: Mapping[str, Any]) -> bool:
    if row["inner"] is None:
        return False
    together = row["norm_a"] ** 2 + row["norm_b"] ** 2
    distance = together - 2 * row["inner"]
    return bool(together > 0 and distance <= THRESHOLDS["identical_distance"] ** 2 * together)
