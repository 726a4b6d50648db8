"""What two updates of one weight have in common, as one word, by stated sizes of the excess overlap.

The word describes one weight. What is said of two models, in `findings`, is tested over all their weights.
"""

from collections.abc import Mapping
from typing import Any

# Thresholds on the excess (φ − chance)/(1 − chance) of the whole spans, unless said otherwise. Trained
# updates are never isotropic, so z is no measure of this: unrelated adapters of one base reach z = 30.
THRESHOLDS = {
    "most": 0.5,  # most of one span lies in the other
    "same_start": 0.8,  # on the input side, where a LoRA A hardly moves from where it started
    "little": 0.15,  # below it: what adapters of one base share without a start or a task in common
    "same_run_cosine": 0.1,  # of ΔW itself
    "start_cosine": 0.5,  # of A and A', entry by entry: above it the start is one
    "identical_distance": 1e-6,  # ‖ΔW − ΔW'‖ over √(‖ΔW‖² + ‖ΔW'‖²)
}
KINDS = (
    "identical", "same_run", "shared_initialisation", "shared_inputs", "shared_directions",
    "first_directions_shared", "few_directions_shared", "nothing_shared", "untrained", "non_finite",
)  # fmt: skip


def kind_of(row: Mapping[str, Any], rank: int) -> str | None:
    """One of `KINDS` for a summary row; `None` where chance fills a side so far that nothing can be told.

    `rank` is the smaller rank of the two updates.
    """
    incoming, outgoing = row["excess_input"], row["excess_output"]
    if _identical(row):
        return "identical"
    if incoming is None or outgoing is None:
        return None
    together = (row["delta_cosine"] or 0.0) >= THRESHOLDS["same_run_cosine"]
    if incoming >= THRESHOLDS["same_start"] and outgoing >= THRESHOLDS["little"] and together:
        return "same_run"
    if incoming >= THRESHOLDS["most"] and outgoing < THRESHOLDS["little"]:
        return _start(row)
    if outgoing >= THRESHOLDS["little"] or row["dimensions_shared_output"]:
        return _learned(row, rank)
    return _at_chance_outside(row, rank)


def _start(row: Mapping[str, Any]) -> str:
    """Inputs in common alone: one start where the factors A themselves are alike, else it is open."""
    told = (row["start_cosine"] or 0.0) >= THRESHOLDS["start_cosine"]
    return "shared_initialisation" if told else "shared_inputs"


def _learned(row: Mapping[str, Any], rank: int) -> str:
    """The word for an output side above chance."""
    outgoing, count = row["excess_output"], row["dimensions_shared_output"]
    few = outgoing < THRESHOLDS["most"] and row["excess_input"] < THRESHOLDS["most"]
    if few and _only_first(row, "output", rank):
        # Where the spans fill the space, the whole of them says nothing and the leading directions all.
        return "shared_directions" if filled(row, "output") else "first_directions_shared"
    if outgoing >= THRESHOLDS["little"]:
        return "shared_directions"
    return "few_directions_shared" if count else "nothing_shared"


def _at_chance_outside(row: Mapping[str, Any], rank: int) -> str | None:
    """The word for an output side at chance."""
    incoming, count = row["excess_input"], row["dimensions_shared_input"]
    if incoming >= THRESHOLDS["little"] or count:
        few = incoming < THRESHOLDS["most"] and _only_first(row, "input", rank)
        return "first_directions_shared" if few else _start(row)
    unknown = count is None or row["dimensions_shared_output"] is None
    return None if unknown else "nothing_shared"


def _only_first(row: Mapping[str, Any], side: str, rank: int) -> bool:
    """Whether at most half of the dimensions are shared, and these are the leading ones."""
    count, leading = row[f"dimensions_shared_{side}"], row[f"excess_leading_{side}"]
    return bool(count) and 2 * count <= rank and leading is not None and leading >= THRESHOLDS["most"]


def filled(row: Mapping[str, Any], side: str) -> bool:
    """Whether the two spans together fill a side's whole space."""
    return bool(row["rank_a"] + row["rank_b"] >= row["d_in" if side == "input" else "d_out"])


def _identical(row: Mapping[str, Any]) -> bool:
    if row["inner"] is None:
        return False
    together = row["norm_a"] ** 2 + row["norm_b"] ** 2
    distance = together - 2 * row["inner"]
    return bool(together > 0 and distance <= THRESHOLDS["identical_distance"] ** 2 * together)
