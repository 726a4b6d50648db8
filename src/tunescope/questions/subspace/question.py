"""In which directions did weights change: what the house needs to know of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tunescope.questions.subspace import views as view
from tunescope.questions.subspace.readout import subspace_markdown
from tunescope.study.coverage import coverage_lines
from tunescope.study.following import several
from tunescope.study.question import Drawing, Question, adapters_of
from tunescope.study.study import Study
from tunescope.table import square

if TYPE_CHECKING:
    from tunescope.page.panels import Content


def _words(study: Study) -> str:
    return subspace_markdown(study.readout, coverage_lines(study.tables["coverage"].frame), study.sources)


def _pictures(study: Study) -> Sequence[Drawing]:
    # Deferred: drawing needs matplotlib, measuring and reading do not.
    from tunescope.questions.subspace.pictures import pictures

    return pictures(study)


def _views(study: Study) -> Mapping[str, pl.DataFrame]:
    """Models by models: the overall matrix of each side in clustered order, and all layers in long form."""
    labels, summary = study.readout["models"], study.table.frame
    if len(labels) < 3:
        return {}
    views: dict[str, pl.DataFrame] = {}
    long: list[dict[str, Any]] = []
    for side in view.SIDES:
        matrices = view.model_matrices(summary, labels, side)
        first = matrices[0]
        views[f"subspace_models_{side}"] = square(first.labels, _nullable(first.values))
        for matrix in matrices:
            for a, row in zip(matrix.labels, _nullable(matrix.values), strict=True):
                long += [
                    {"side": side, "weights": matrix.title, "model_a": a, "model_b": b, "excess": value}
                    for b, value in zip(matrix.labels, row, strict=True)
                ]
    return views | {"subspace_models_by_layer": pl.DataFrame(long)}


def _nullable(values: np.ndarray[Any, Any]) -> list[list[float | None]]:
    return [[None if np.isnan(v) else float(v) for v in row] for row in values]


def _following(study: Study, _: Path | None) -> Sequence[str]:
    places = adapters_of(study)
    return (f"tunescope norms {several(places, 4)} -o norms/",) if places else ()


def _content(study: Study) -> "Content":
    # Deferred: only a page needs it.
    from tunescope.questions.subspace.page import content

    return content(study)


QUESTION = Question(
    kind="subspace",
    main="subspace_summary",
    words=_words,
    pictures=_pictures,
    views=_views,
    bulky=("subspace",),
    following=_following,
    content=_content,
)
