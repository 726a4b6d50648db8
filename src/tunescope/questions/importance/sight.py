"""What was looked at in a map of importance, and the smallest lead that would have been found."""

import polars as pl

from tunescope.measure.depth import MOST_VISIBLE
from tunescope.questions.importance.findings import ALPHA, LEAD
from tunescope.questions.importance.levels import levels_of
from tunescope.statistics.groups import parts_differ, visible_lead


def visible_lead_of(frame: pl.DataFrame) -> float | None:
    """The least lead of a third of the layers that would be found nine times in ten, by the worst method."""
    methods = [m for m in frame["method"].unique(maintain_order=True).to_list() if m != "bypass"]
    inside = frame.filter(pl.col("layer").is_not_null() & pl.col("score").is_not_null())
    seen = []
    for method in methods:
        for _, part in inside.filter(pl.col("method") == method).group_by("stack", maintain_order=True):
            if (levels := levels_of(part)) is not None:
                spread = parts_differ(levels[2]).spread
                seen.append(visible_lead(len(levels[0]), spread, ALPHA / len(methods), LEAD))
    return max(seen) if seen and max(seen) < MOST_VISIBLE else None
