"""The importance map as a matplotlib drawing."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tunescope.picture.drawing import Drawn, Panel
from tunescope.picture.lettering import names, title_text
from tunescope.picture.style import IMPORTANCE, MISSING, figure_of, new_figure, own_axes, style
from tunescope.questions.importance.views import ImportanceMap, importance_maps
from tunescope.study.study import Study

_CELL_W, _CELL_H = 0.46, 0.16


def pictures(study: Study) -> list[Drawn]:
    """The map of every method, and taylor beside curvature where both were measured."""
    summary, arguments = study.readout["summary"], study.arguments
    view = {"order": arguments["order"], "scale": arguments["colour"], "summary": summary}
    drawn, beside = [], []
    for method in summary["methods"]:
        maps = importance_maps(study.table.frame, method, **view)
        if maps:
            drawn.append(_drawn(f"importance_{method}", maps))
        beside += maps if method in ("taylor", "curvature") else []
    both = [_drawn("importance", beside)] if len({m.method for m in beside}) > 1 else []
    return [*both, *drawn]


def _drawn(name: str, maps: Sequence[ImportanceMap]) -> Drawn:
    caption = " ".join(dict.fromkeys(view.caption for view in maps))
    panels: dict[str, Panel] = {view.title: partial(importance_map, view) for view in maps}
    return Drawn(name, caption, partial(importance_figure, maps), panels)


def importance_map(view: ImportanceMap, ax: Axes | None = None, colorbar: bool = True) -> Axes:
    """Draw a map: layer 0 at the bottom, parameters along x with slanted labels, 0 pale to 1 dark blue."""
    with style():
        ax = own_axes(ax, *_size([view]))
        colours = matplotlib.colormaps[IMPORTANCE].with_extremes(bad=MISSING)
        image = ax.imshow(
            view.values, cmap=colours, vmin=0, vmax=1, origin="lower", aspect="auto", interpolation="nearest"
        )
        _axes(ax, view)
        ax.set_title(title_text(view.title), loc="left")
        if colorbar:
            bar = figure_of(ax).colorbar(image, ax=ax, fraction=0.05, pad=0.02, aspect=28)
            places, texts = zip(*view.ticks, strict=True)
            bar.set_ticks(places, labels=texts)
            bar.set_label(view.label, fontsize=8)
            bar.outline.set_visible(False)
            bar.ax.tick_params(length=2)
    return ax


def _axes(ax: Axes, view: ImportanceMap) -> None:
    rows, columns = view.values.shape
    every = 2 if rows <= 40 else 4
    ticks = [i for i, layer in enumerate(view.layers) if layer % every == 0]
    ax.set_yticks(ticks, [str(view.layers[i]) for i in ticks], fontsize=8)
    ax.set_xticks(range(columns), names(view.columns, 44), fontsize=8)
    for label in ax.get_xticklabels():
        label.set(rotation=45, ha="right", rotation_mode="anchor")
    ax.set(xlabel="Parameter", ylabel="Layer")
    ax.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=0.5)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    if view.own_scale:
        ax.axvline(0.5, color="white", linewidth=4)


def _size(views: Sequence[ImportanceMap]) -> tuple[float, float]:
    width = sum(max(3.0, _CELL_W * len(v.columns)) + 2.0 for v in views)
    height = max(2.0, _CELL_H * max(len(v.layers) for v in views)) + 2.9
    return min(width, 40.0), min(height, 40.0)


def importance_figure(views: Sequence[ImportanceMap]) -> Figure:
    """Maps side by side: stacks, or methods."""
    with style():
        figure = new_figure(*_size(views))
        widths = [len(v.columns) + 3 for v in views]
        axes: Any = figure.subplots(1, len(views), squeeze=False, width_ratios=widths)[0]
        for view, ax in zip(views, axes, strict=True):
            importance_map(view, ax=ax)
    return figure
