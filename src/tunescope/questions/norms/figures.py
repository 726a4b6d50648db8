"""The pictures of a norms study: heatmaps, layer profiles, top components, differences."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes

from tunescope.picture import grid as draw
from tunescope.picture.drawing import Drawn, Panel
from tunescope.picture.style import CHANGE, DIFFERENCE
from tunescope.picture.views import Grid
from tunescope.questions.norms import views as view
from tunescope.study.names import file_stems
from tunescope.study.study import Study

# Difference maps are drawn for all pairs up to this many models, else against the first.
ALL_PAIRS = 5


def pictures(study: Study) -> list[Drawn]:
    """Every picture of a study, the map of the metric that was asked for first."""
    labels = list(study.readout["models"])
    stems = file_stems(labels)
    drawn = [*_heatmaps(study, stems), *_profiles(study), *_rankings(study)]
    return [*drawn, *_differences(study, stems)]


def _heatmaps(study: Study, stems: dict[str, str]) -> Iterator[Drawn]:
    frame, shared = study.table.frame, study.arguments["shared_scale"]
    for metric, suffix in _pictured(study.readout["metric"]):
        groups = [view.heatmaps(frame, label, metric) for label in stems]
        for label, group in zip(stems, view.share_limits(groups) if shared else groups, strict=True):
            if any(np.isfinite(grid.values).any() or grid.broken.any() for grid in group):
                caption = f"{group[0].label} of {label}, by layer and module."
                yield _grids(f"norm_heatmap_{stems[label]}_{suffix}", caption, group, CHANGE)


def _grids(name: str, caption: str, group: Sequence[Grid], cmap: str) -> Drawn:
    panels: dict[str, Panel] = {grid.title: partial(_on_axes, grid, cmap) for grid in group}
    return Drawn(name, caption, partial(draw.heatmaps, group, cmap), panels)


def _on_axes(grid: Grid, cmap: str, ax: Axes) -> Axes:
    return draw.heatmap(grid, ax=ax, cmap=cmap)


def _profiles(study: Study) -> Iterator[Drawn]:
    metric = study.readout["metric"]
    if found := view.profiles(study.table.frame, metric):
        caption = f"Mean of {view.label_of(metric)} over the modules of each layer, a line per model."
        panels: dict[str, Panel] = {profile.title: partial(draw.profile, profile) for profile in found}
        yield Drawn("layer_profiles", caption, partial(draw.profiles, found), panels)


def _rankings(study: Study) -> Iterator[Drawn]:
    metric = study.readout["metric"]
    if found := view.rankings(study.table.frame, metric):
        caption = f"The components with the largest {view.label_of(metric)} of each model."
        panels: dict[str, Panel] = {ranking.title: partial(draw.ranking, ranking) for ranking in found}
        yield Drawn("top_components", caption, partial(draw.rankings, found), panels)


def _differences(study: Study, stems: dict[str, str]) -> Iterator[Drawn]:
    labels, metric = list(stems), study.readout["metric"]
    every = list(combinations(labels, 2))
    for a, b in every if len(labels) <= ALL_PAIRS else [(labels[0], label) for label in labels[1:]]:
        if found := view.differences(study.table.frame, a, b, metric):
            caption = f"{view.label_of(metric)} of {b} minus that of {a}; white is no difference."
            yield _grids(f"difference_{stems[b]}_minus_{stems[a]}", caption, found, DIFFERENCE)


def _pictured(metric: str) -> list[tuple[str, str]]:
    """The metrics that get a map: the one that was asked for, and the usual two."""
    usual = [("frobenius_norm_normalized", "normalized"), ("frobenius_norm", "raw")]
    # Where no source says its scale, the unscaled twins are drawn under the usual names.
    return usual if metric.removeprefix("unscaled_") in dict(usual) else [(metric, metric), *usual]
