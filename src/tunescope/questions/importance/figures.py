"""The importance map as a matplotlib drawing."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tunescope.picture.cells import cells, number, scale
from tunescope.picture.drawing import Drawn, Panel
from tunescope.picture.grid import rule
from tunescope.picture.lettering import names, title_text, widest, width_of
from tunescope.picture.style import IMPORTANCE, MISSING, freeze, new_figure, own_axes, style
from tunescope.picture.views import limits_of
from tunescope.questions.importance.views import OWN_MEANING, ImportanceMap, importance_maps
from tunescope.study.study import Study

_CELL_W, _CELL_H, _MOST_H, _MOST_W = 0.46, 0.16, 8.2, 14.0
# Inches of a scale, and between its left edge and the next one's.
_SCALE_W, _SCALE_STEP = 0.16, 0.85
# Inches of the second line of a scale's name, and of the numbers of layers at least.
_NAME, _LEFT = 0.3, 0.75
_BELOW_ZERO = "Oranges"


def pictures(study: Study) -> list[Drawn]:
    """The map of every method, and taylor beside curvature where both were measured; columns in one order."""
    summary, arguments = study.readout["summary"], study.arguments
    methods = list(summary["methods"])
    view = {"order": arguments["order"], "scale": arguments["colour"], "summary": summary}
    begin = str(study.written.get("limits", "zero"))
    drawn: list[Drawn] = []
    beside: list[ImportanceMap] = []
    for method in methods:
        maps = importance_maps(study.table.frame, method, first=methods[0], **view)
        if maps:
            drawn.append(_drawn(f"importance_{method}", maps, begin))
        if method in ("taylor", "curvature"):
            beside += [m.without_own() for m in maps] if beside else maps
    both = [_drawn("importance", beside, begin)] if len({m.method for m in beside}) > 1 else []
    return [*both, *drawn]


def _drawn(name: str, maps: Sequence[ImportanceMap], begin: str) -> Drawn:
    several = len({view.method for view in maps}) > 1
    said = dict.fromkeys((view.title, view.caption) if several else ("", view.caption) for view in maps)
    caption = " ".join(f"{title}: {text}" if title else text for title, text in said)
    if any(view.own_scale for view in maps):
        caption += f" {OWN_MEANING}"
    panels: dict[str, Panel] = {view.title: partial(importance_map, view, begin=begin) for view in maps}
    return Drawn(name, caption, partial(importance_figure, maps, begin), panels)


def importance_map(
    view: ImportanceMap, ax: Axes | None = None, colorbar: bool = True, begin: str = "zero"
) -> Axes:
    """Draw a map: layer 0 at the top, parameters along x, blue by size; below zero orange and hatched."""
    with style():
        ax = own_axes(ax, *_size([view]))
        rows, columns = view.values.shape
        own = 1 if view.own_scale else 0
        limits = limits_of([view.values[:, own:]], begin) if begin == "data" else (0.0, 1.0)
        place = (own - 0.5, columns - 0.5, -0.5, rows - 0.5)
        cells(ax, view.values[:, own:], IMPORTANCE, limits, extent=place, origin="lower")
        if own:
            _own_column(ax, view.values[:, 0])
        ax.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5), aspect="auto")
        _axes(ax, view)
        ax.set_title(title_text(view.title), loc="left")
        if colorbar:
            _scales(ax, view, limits)
    return ax


def _own_limits(values: np.ndarray) -> tuple[float, float]:
    known = np.nan_to_num(values)
    return min(0.0, float(known.min(initial=0.0))), max(0.0, float(known.max(initial=0.0)))


def _own_column(ax: Axes, values: np.ndarray) -> None:
    low, high = _own_limits(values)
    place = (-0.5, 0.5, -0.5, len(values) - 0.5)
    cells(ax, values[:, None], _signed(low, high), (low, high or 1.0), extent=place, origin="lower")
    for k in np.flatnonzero(values < 0):
        ax.add_patch(
            Rectangle((-0.5, k - 0.5), 1, 1, fill=False, edgecolor="white", hatch="////", linewidth=0)
        )
    ax.axvline(0.5, color="white", linewidth=4)


def _signed(low: float, high: float) -> Colormap:
    """Blue by size above zero, orange by size below."""
    values = np.linspace(low, high or 1.0, 256)
    above, below = matplotlib.colormaps[IMPORTANCE], matplotlib.colormaps[_BELOW_ZERO]
    colours = np.where(values[:, None] < 0, below(np.abs(values)), above(np.abs(values)))
    return ListedColormap(colours.tolist(), name="signed").with_extremes(bad=MISSING)


def _scales(ax: Axes, view: ImportanceMap, limits: tuple[float, float]) -> None:
    """The scale of the parameters, and that of the layers where it is another."""
    width, height = _cells_size(view)
    marks = view.ticks if limits == (0.0, 1.0) else ()
    place = (1 + 0.1 / width, 0.0, _SCALE_W / width, 1.0)
    both = bool(view.own_scale) and _one_scale(view, limits)
    name = f"{view.label}\n{view.own_scale}" if both else view.label
    scale(ax.inset_axes(place), IMPORTANCE, limits, name, marks, room=height + 1.0)
    if not view.own_scale or both:
        return
    low, high = _own_limits(view.values[:, 0])
    # Zero is named unless the name of a limit stands there.
    ends = [(v, number(v)) for v in (low, high) if abs(v) > 0]
    ends += [] if any(abs(v) < 0.06 * (high - low) for v, _ in ends) else [(0.0, "0")]
    place = (1 + (0.1 + _SCALE_STEP) / width, 0.0, _SCALE_W / width, 1.0)
    bar = ax.inset_axes(place)
    scale(bar, _signed(low, high), (low, high or 1.0), view.own_scale, ends, room=height + 1.0)


def _one_scale(view: ImportanceMap, limits: tuple[float, float]) -> bool:
    """Whether layers and parameters are shares of a largest one, all from 0 to 1."""
    return view.even and limits == (0.0, 1.0) and _own_limits(view.values[:, 0]) == (0.0, 1.0)


def _axes(ax: Axes, view: ImportanceMap) -> None:
    rows, columns = view.values.shape
    width, height = _cells_size(view)
    every = next(k for k in (2, 4, 5, 10, 20, 50, 1000) if k * height / rows >= 0.16)
    ticks = [i for i, layer in enumerate(view.layers) if layer % every == 0]
    ax.set_yticks(ticks, [str(view.layers[i]) for i in ticks], fontsize=8)
    ax.set_xticks(range(columns), names(view.columns, 44), fontsize=8)
    for label in ax.get_xticklabels():
        label.set(rotation=45, ha="right", rotation_mode="anchor")
    ax.set(xlabel="Parameter", ylabel="Layer")
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    rule(ax, (rows, columns), (width / columns, height / rows), 0.5)


def _cells_size(view: ImportanceMap) -> tuple[float, float]:
    """Inches of the cells of a map, which never take more than a page."""
    rows, columns = view.values.shape
    return min(max(2.0, _CELL_W * columns), _MOST_W), min(max(1.6, _CELL_H * rows), _MOST_H)


def _room(view: ImportanceMap) -> float:
    """Inches of a map with the names beside it: those of columns lean to the left of the first."""
    shown = names(view.columns, 44)
    cells_width, columns = _cells_size(view)[0], len(shown)
    leaning = [0.72 * width_of(name, 8) - (k + 0.5) * cells_width / columns for k, name in enumerate(shown)]
    scales = _SCALE_STEP * (2 if view.own_scale else 1) + _NAME * bool(view.own_scale)
    return cells_width + max(_LEFT, max(leaning) + 0.15) + scales


def _size(views: Sequence[ImportanceMap]) -> tuple[float, float]:
    below = max(0.72 * widest(names(v.columns, 44), 8) for v in views)
    return sum(map(_room, views)), max(_cells_size(v)[1] for v in views) + below + 0.8


def importance_figure(views: Sequence[ImportanceMap], begin: str = "zero") -> Figure:
    """Maps side by side: stacks, or methods."""
    with style():
        figure = new_figure(*_size(views))
        axes: Any = figure.subplots(1, len(views), squeeze=False, width_ratios=list(map(_room, views)))[0]
        for view, ax in zip(views, axes, strict=True):
            importance_map(view, ax=ax, begin=begin)
        freeze(figure, 3)
    return figure
