"""Which weights a mean is taken over, so that models that hold different ones can be compared."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

# The most models of which the ratios of all pairs are told.
ALL_RATIOS = 32
# How far a weight moved: the first of these columns that is known.
SIZES = ("unscaled_frobenius_norm", "frobenius_norm")
_KIND = ["stack", "module_type"]
_ADDRESS = [*_KIND, "layer", "expert", "component_name"]


def moved_kinds(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of one model in kinds of weight of which any changed; all rows where none did.

    A checkpoint holds norms and embeddings that were not trained, an adapter does not: with them the mean of
    the one would be smaller for the same change. A weight that did not change while others of its kind did
    stays, as the zero that it is.
    """
    size = pl.coalesce(*SIZES)
    # What cannot be known not to have moved counts as moved.
    moved = rows.filter((size != 0).fill_null(True).any().over(_KIND))
    return moved if moved.height else rows


def ratio_of_common(above: pl.DataFrame, below: pl.DataFrame, metric: str) -> float | None:
    """The mean of one model's rows over another's, both over the components with a value in both.

    `None` where they have no component in common, or the lower mean is zero.
    """
    values = _values(pl.concat([above, below]), [above, below], metric)
    return _ratio(values[0], values[1])


def ratios_of_means(frame: pl.DataFrame, models: Mapping[str, Any], metric: str) -> dict[str, float | None]:
    """Every model over every other, over the components both have; of over `ALL_RATIOS` over the first."""
    labels = list(models)
    values = _values(frame, [frame.filter(pl.col("model_id") == label) for label in labels], metric)
    below = len(labels) if len(labels) <= ALL_RATIOS else 1
    return {
        f"{a}/{b}": _ratio(values[i], values[j])
        for i, a in enumerate(labels)
        for j, b in enumerate(labels[:below])
        if a != b
    }


def _values(every: pl.DataFrame, parts: list[pl.DataFrame], metric: str) -> list[np.ndarray[Any, Any]]:
    """The metric of each part at all addresses of any, NaN where it has none."""
    places = every.select(_ADDRESS).unique(maintain_order=True).with_row_index("place")
    found = []
    for part in parts:
        there = part.filter(pl.col(metric).is_finite()).select(*_ADDRESS, metric)
        there = there.join(places, on=_ADDRESS, nulls_equal=True)
        values = np.full(places.height, np.nan)
        values[there["place"].to_numpy()] = there[metric].to_numpy()
        found.append(values)
    return found


def _ratio(above: np.ndarray[Any, Any], below: np.ndarray[Any, Any]) -> float | None:
    both = ~(np.isnan(above) | np.isnan(below))
    under = float(below[both].sum())
    return float(above[both].sum()) / under if under else None
