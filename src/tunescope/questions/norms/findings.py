"""What a norms table says in words: findings with the numbers they rest on.

Everything here speaks of what changed, never of what matters: a norm is a size, not an effect.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from tunescope.errors import Notice
from tunescope.measure.towers import Tower, towers_of_models
from tunescope.questions.norms.cells import cell_findings
from tunescope.questions.norms.depth import depth_findings
from tunescope.questions.norms.facts import non_finite, untrained
from tunescope.questions.norms.layers import layer_findings
from tunescope.questions.norms.pairs import equal_updates, opposite_updates, strangers
from tunescope.questions.norms.tilt import tilt_findings
from tunescope.study.finding import Finding, noticed_together, ordered

if TYPE_CHECKING:
    from tunescope.measure.between import Between


def norm_findings(
    frame: pl.DataFrame,
    metric: str,
    both: "Between | None" = None,
    notices: Sequence[tuple[str, Notice]] = (),
) -> list[Finding]:
    """All findings of a norms table, of pairs of its models, and of what was noticed while reading, in order.

    Each kind of finding is tested over all models at once, so that a study of many has no more false ones
    than a study of one.
    """
    found = [*untrained(frame), *non_finite(frame), *noticed_together(notices)]
    models = model_towers(frame, metric)
    found += place_findings(models, metric, _per_output(frame, metric))
    if both is not None:
        # Tables of norms hold no update that could be compared; they are no strangers for that.
        published = {label for label, notice in notices if notice.slug == "published-norms"}
        found += [*equal_updates(both), *opposite_updates(both)]
        found += strangers([m for m in models if m not in published], both)
    return ordered(found)


def place_findings(
    models: Mapping[str, Sequence[Tower]],
    metric: str,
    per_output: Mapping[str, Sequence[Tower]] | None = None,
) -> list[Finding]:
    """Where the models changed most: in depth, in whole layers, by family, in single weights."""
    thirds, layers = depth_findings(models, metric), layer_findings(models, metric)
    return [
        *thirds,
        *(found for found in layers if not _told(found, thirds)),
        *tilt_findings(models, metric, per_output),
        *(found for found in cell_findings(models, metric) if not _of_layers(found, layers)),
    ]


def _of_layers(cells: Finding, layers: Sequence[Finding]) -> bool:
    """Whether the weights that stand out are those of layers that do: of few kinds that is one fact."""
    return cells.kind == "hot_cell" and all(
        any(model in f.models and set(cells.components) <= set(f.components) for f in layers)
        for model in cells.models
    )


def _told(layers: Finding, thirds: Sequence[Finding]) -> bool:
    """Whether the layers that stand out are all of a third that is told to lead: that is one fact."""
    numbers, known = sorted(layers.evidence["layers"]), set()
    for third in thirds:
        each = third.evidence.get("each", {" · ".join(third.models): third.evidence})
        known |= {(model, n["stack"], n["leading_layers"]) for model, n in each.items()}
    span = f"{numbers[0]} to {numbers[-1]}"
    whole = len(numbers) == numbers[-1] - numbers[0] + 1
    return whole and all((model, layers.evidence["stack"], span) in known for model in layers.models)


def model_towers(frame: pl.DataFrame, metric: str) -> dict[str, list[Tower]]:
    """The towers of every model of a norms table."""
    return towers_of_models(frame, metric)


def _per_output(frame: pl.DataFrame, metric: str) -> dict[str, list[Tower]] | None:
    """The towers of a norm that grows with a weight's width, divided by it; `None` for other metrics."""
    beside = f"{metric}_normalized"
    return model_towers(frame, beside) if beside in frame.columns and frame[beside].count() else None
