"""Pictures of models by models: how alike their updates are, and which values changed in both."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import polars as pl

from tunescope.picture.drawing import Drawn
from tunescope.picture.matrix import matrices
from tunescope.picture.matrix_views import Matrix, clustered
from tunescope.questions.norms.changed import pooled
from tunescope.questions.norms.metrics import name_of
from tunescope.study.study import Study

# A share of changed values that chance alone explains from here on tells nothing.
_CERTAIN = 0.995


def models(study: Study, labels: Sequence[str]) -> Iterator[Drawn]:
    """Models by models: cosine of ΔW, and whether the maps of norms rank layers alike."""
    if len(labels) < 3 or "similarity" not in study.tables:
        return
    name, rows = name_of(study.readout["metric"]), study.tables["similarity"].frame
    titles = {
        "delta_cosine": ("cosine of ΔW", "cosine"),
        "norm_map_spearman": ("do layers rank alike?", "Spearman within kinds of weight"),
    }
    squares = [
        Matrix(title, tuple(labels), _square(rows, column, labels), label, True)
        for column, (title, label) in titles.items()
    ]
    order = clustered(np.abs(squares[0].values))
    caption = (
        "How alike the models are, two by two: the cosine of their ΔW over all weights both have, and "
        f"whether their maps of {name} rank the layers alike, Spearman's correlation within kinds of weight "
        "(1: in one order, 0: unrelated); colours from −1 to 1, like models side by side."
    )
    yield Drawn("model_similarity", caption, partial(matrices, [s.ordered(order) for s in squares]))


def same_values(study: Study, labels: Sequence[str]) -> Iterator[Drawn]:
    """Models by models: the share of changed values that are the same, beside its chance."""
    if "similarity_changed" not in study.tables:
        return
    rows = pooled(study.tables["similarity_changed"].frame)
    # Where all values of a model changed, the share is 1 whatever they are.
    if (rows["overlap_chance_given_weight"].fill_null(0.0) >= _CERTAIN).all():
        return
    there = tuple(m for m in labels if m in {*rows["model_a"], *rows["model_b"]})
    if not there:
        return
    titles = {"overlap": "changed in both", "overlap_chance_given_weight": "by chance given |w|"}
    squares = [
        Matrix(title, there, _square(rows, column, there), "share of the smaller set")
        for column, title in titles.items()
    ]
    for square in squares:
        np.fill_diagonal(square.values, np.nan)
    caption = (
        "The share of the smaller set of changed values that changed in both models, over all weights, and "
    )
    caption += "what of it the size of the weights, rows and columns explain; colours from 0 to 1."
    yield Drawn("same_values", caption, partial(matrices, squares))


def _square(rows: pl.DataFrame, column: str, labels: Sequence[str]) -> np.ndarray:
    """A column of a table of pairs as a symmetric array, 1 for a model itself, NaN where it is not known."""
    at = {label: i for i, label in enumerate(labels)}
    out = np.eye(len(labels)) + np.where(np.eye(len(labels)) > 0, 0.0, np.nan)
    for a, b, value in rows.select("model_a", "model_b", column).iter_rows():
        out[at[a], at[b]] = out[at[b], at[a]] = np.nan if value is None else value
    return out
