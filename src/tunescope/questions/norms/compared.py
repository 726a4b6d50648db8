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
# A component's name is no part of it: it says its tower only where a model has several.
_ADDRESS = [*_KIND, "layer", "expert"]


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


def is_vector() -> pl.Expr:
    """Whether a row is of a norm's weights or of a bias: no matrix whose inputs one could count."""
    return (pl.col("family") == "norm") | pl.col("module_type").str.ends_with(".bias")


def summed(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of one model that its means run over: matrices in the kinds of weight that changed.

    ‖Δ‖/√d of a vector is the size of one of its values, that of a matrix grows with its inputs: a mean over
    both says how many vectors a model has. Where nothing else moved, vectors are all there is.
    """
    moved = moved_kinds(rows)
    matrices = moved.filter(~is_vector())
    return matrices if matrices.height else moved


def ratio_of_common(above: pl.DataFrame, below: pl.DataFrame, metric: str) -> float | None:
    """The mean of one model's rows over another's, both over the components with a value in both.

    `above` and `below` are rows that count, as of `summed`. `None` where they have no component in common,
    or the lower mean is zero.
    """
    values = _values([above, below], metric)
    return _ratio(values[0], values[1])


def ratios_of_means(frame: pl.DataFrame, models: Mapping[str, Any], metric: str) -> dict[str, float | None]:
    """Every model over every other, over the components both have; of over `ALL_RATIOS` over the first.

    Only kinds of weight that changed in both count: a whole model that holds what an adapter left alone has
    the ratio that the adapter has.
    """
    labels = list(models)
    rows = frame.partition_by("model_id", as_dict=True)
    finite = [rows.get((label,), frame.clear()).filter(pl.col(metric).is_finite()) for label in labels]
    values = _values([summed(part) for part in finite], metric)
    below = len(labels) if len(labels) <= ALL_RATIOS else 1
    return {
        f"{a}/{b}": _ratio(values[i], values[j])
        for i, a in enumerate(labels)
        for j, b in enumerate(labels[:below])
        if a != b
    }


def _values(parts: list[pl.DataFrame], metric: str) -> list[np.ndarray[Any, Any]]:
    """The metric of each part at all addresses of any, NaN where it has none."""
    # Weights of one model at one address, as where a module is not understood, are told apart by their names.
    nth = pl.col("component_name").rank("ordinal").over(_ADDRESS).alias("nth")
    each = [part.with_columns(nth) for part in parts]
    address = [*_ADDRESS, "nth"]
    places = pl.concat(part.select(address) for part in each).unique(maintain_order=True)
    places = places.with_row_index("place")
    found = []
    for part in each:
        there = part.filter(pl.col(metric).is_finite()).select(*address, metric)
        there = there.join(places, on=address, nulls_equal=True)
        values = np.full(places.height, np.nan)
        values[there["place"].to_numpy()] = there[metric].to_numpy()
        found.append(values)
    return found


def _ratio(above: np.ndarray[Any, Any], below: np.ndarray[Any, Any]) -> float | None:
    both = ~(np.isnan(above) | np.isnan(below))
    under = float(below[both].sum())
    return float(above[both].sum()) / under if under else None
