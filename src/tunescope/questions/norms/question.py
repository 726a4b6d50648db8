"""How much did each weight change: what the house needs to know of it."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from tunescope.questions.norms.readout import norms_markdown
from tunescope.study.following import attributing
from tunescope.study.names import file_stems
from tunescope.study.question import Drawing, Question, adapters_of
from tunescope.study.study import Study
from tunescope.table import square

if TYPE_CHECKING:
    from tunescope.page.panels import Content


def _pictures(study: Study) -> Sequence[Drawing]:
    # Deferred: drawing needs matplotlib, measuring and reading do not.
    from tunescope.questions.norms.figures import pictures

    return pictures(study)


def _content(study: Study) -> "Content":
    # Deferred: only a page needs it, and it takes the words of the whole readout.
    from tunescope.questions.norms.page import content

    return content(study)


def _views(study: Study) -> Mapping[str, pl.DataFrame]:
    """The published files: one table for each model, all models together, and squares between models."""
    frame = study.table.frame
    labels = list(study.readout["models"])
    stems = file_stems(labels, taken=("all_models",))
    parts = {rows["model_id"][0]: rows for rows in frame.partition_by("model_id", maintain_order=True)}
    views = {f"weight_norms_{stem}": parts.get(m, frame.clear()) for m, stem in stems.items()}
    views["weight_norms_all_models"] = frame
    if len(labels) > 1:
        views |= {name: _square(study, labels, column) for name, column in _SQUARES.items()}
    return views


_SQUARES = {
    "similarity_delta_cosine": "delta_cosine",
    "similarity_norm_map_cosine": "norm_map_cosine",
    "similarity_norm_map_spearman": "norm_map_spearman",
    "distance_norm_map_l2": "norm_map_distance",
}


def _square(study: Study, labels: Sequence[str], column: str) -> pl.DataFrame:
    number = {label: i for i, label in enumerate(labels)}
    rows = study.tables["similarity"].frame
    i, j = ([number[label] for label in rows[side].to_list()] for side in ("model_a", "model_b"))
    values = np.full((len(labels), len(labels)), np.nan)
    values[i, j] = values[j, i] = rows[column].to_numpy()
    np.fill_diagonal(values, 0.0 if column == "norm_map_distance" else 1.0)
    return square(labels, values)


def _following(study: Study, _: Path | None) -> Sequence[str]:
    still = {
        label for f in study.findings if f.kind == "untrained" and not f.components for label in f.models
    }
    places = adapters_of(study, without=still)
    command = f"tunescope subspace {shlex.join(places[:4])} -o directions/"
    if len(places) == 1:
        stacks = study.table.frame["stack"].unique().to_list()
        command = attributing(places[0], study.arguments["base"] or study.readout["base"], stacks) or command
    return (command,) if places else ()


QUESTION = Question(
    kind="norms",
    main="norms",
    words=norms_markdown,
    pictures=_pictures,
    views=_views,
    bulky=("norms",),
    following=_following,
    content=_content,
)
