"""Grids, profiles and rankings as matplotlib drawings; every function takes an `ax=`."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from tunescope.errors import printable
from tunescope.picture.style import (
    BROKEN,
    CHANGE,
    CYCLE,
    FAMILY_COLOURS,
    MISSING,
    QUIET,
    figure_of,
    new_figure,
    own_axes,
    style,
)
from tunescope.picture.views import Grid, Profile, Ranking

_CELL_W, _CELL_H = 0.5, 0.21
# Models whose typical sizes differ by more than this share no linear scale.
FAR_APART = 20.0


def title_text(text: str, limit: int = 60) -> str:
    """A title that cannot break the picture: unprintable characters escaped, cut in the middle to `limit`.

    >>> title_text("a-long-name-lr-2e-4", 12)
    'a-long…-2e-4'
    """
    safe = printable(text, max(limit, 10_000))
    if len(safe) <= limit:
        return safe
    head = limit // 2
    return f"{safe[:head]}…{safe[len(safe) - (limit - head - 1) :]}"


def names(labels: Sequence[str], limit: int) -> list[str]:
    """Labels cut to `limit`, but never to the same text: where two would be, both stay longer.

    >>> names(["a" * 9 + "x" + "a" * 9, "a" * 9 + "y" + "a" * 9], 8)[0] == "a" * 9 + "x" + "a" * 9
    True
    """
    while limit < max(map(len, labels), default=0):
        short = [title_text(label, limit) for label in labels]
        if len(set(short)) == len(set(labels)):
            return short
        limit *= 2
    return [title_text(label, 10_000) for label in labels]


def heatmap(grid: Grid, ax: Axes | None = None, cmap: str = CHANGE, colorbar: bool = True) -> Axes:
    """Draw a grid: row 0 on top, absent modules pale, non-finite cells crossed."""
    with style():
        ax = own_axes(ax, *size_of([grid]))
        colours = matplotlib.colormaps[cmap].with_extremes(bad=MISSING)
        low, high = grid.limits
        image = ax.imshow(
            grid.values, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest"
        )
        label_cells(ax, grid)
        for y, x in np.argwhere(grid.broken):
            _cross(ax, int(y), int(x))
        ax.set_title(title_text(grid.title))
        if colorbar:
            _colorbar(image, ax, grid.label)
    return ax


def label_cells(ax: Axes, grid: Grid) -> None:
    """Name rows and columns on the axes and part the cells with white lines."""
    rows, columns = grid.values.shape
    every = max(1, int(np.ceil(rows / 50)))
    ax.set_yticks(range(0, rows, every), [title_text(r, 20) for r in grid.rows[::every]], fontsize=7.5)
    crowded = columns > 9 or max(map(len, grid.columns)) > 7
    ax.set_xticks(range(columns), names(grid.columns, 32), fontsize=8)
    if crowded:
        for label in ax.get_xticklabels():
            label.set(rotation=45, ha="right", rotation_mode="anchor")
    ax.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=0.6)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)


def _cross(ax: Axes, y: int, x: int) -> None:
    ax.add_patch(
        Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor=BROKEN, hatch="xxx", linewidth=1.2)
    )


def _colorbar(image: Any, ax: Axes, label: str) -> None:
    height = figure_of(ax).get_size_inches()[1]
    bar = figure_of(ax).colorbar(image, ax=ax, fraction=0.046, pad=0.03, aspect=max(14.0, 6.0 * height))
    bar.set_label(label)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2)
    bar.formatter.set_powerlimits((-3, 4))  # type: ignore[attr-defined]


def size_of(panels: Sequence[Grid]) -> tuple[float, float]:
    """Inches for grids side by side."""
    width = sum(max(2.0, _CELL_W * len(g.columns)) + 1.9 for g in panels)
    return min(width, 40.0), min(max(1.3 + _CELL_H * max(len(g.rows) for g in panels), 2.6), 40.0)


def heatmaps(panels: Sequence[Grid], cmap: str = CHANGE) -> Figure:
    """Several grids side by side, each with its own colour bar."""
    with style():
        figure = new_figure(*size_of(panels))
        widths = [max(2.0, _CELL_W * len(g.columns)) + 1.9 for g in panels]
        axes = figure.subplots(1, len(panels), squeeze=False, width_ratios=widths)[0]
        for grid, ax in zip(panels, axes, strict=True):
            heatmap(grid, ax=ax, cmap=cmap)
    return figure


def profile(view: Profile, ax: Axes | None = None, legend: bool = True, order: Sequence[str] = ()) -> Axes:
    """Draw one family's layer profile: a line per model; `order` fixes which model has which colour."""
    order = order or [line.label for line in view.lines]
    with style():
        ax = own_axes(ax, 6.0, 3.2)
        shown = dict(zip(order, names(order, 40), strict=True))
        for line in view.lines:
            i = order.index(line.label)
            colour = CYCLE[i % len(CYCLE)]
            dashes = ("-", "--", ":", "-.")[i // len(CYCLE) % 4]
            ax.plot(
                line.layers, line.values, dashes, color=colour, marker="o", markersize=3, linewidth=1.5,
                label=shown[line.label],
            )  # fmt: skip
        ax.set(title=view.title, xlabel="layer", ylabel=f"mean of {view.label}")
        if far_apart([line.values for line in view.lines]):
            ax.set_yscale("log")
            # The usual formatter writes mathematical markup, which the house style leaves unparsed.
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.yaxis.set_minor_formatter(NullFormatter())
        else:
            ax.set_ylim(bottom=0)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.grid(axis="y", color="#e4e4e0", linewidth=0.7)
        ax.set_axisbelow(True)
        if legend:
            ax.legend(frameon=False, fontsize=8)
    return ax


def far_apart(lines: Sequence[Any]) -> bool:
    """Whether lines differ so much in size that the small ones would lie flat on a linear axis.

    >>> far_apart([np.array([1.0, 2.0]), np.array([100.0, 120.0])])
    True
    """
    sizes = [float(np.median(values)) for values in lines if len(values) and np.median(values) > 0]
    positive = all(float(values.min(initial=1.0)) > 0 for values in lines)
    return positive and len(sizes) > 1 and max(sizes) > FAR_APART * min(sizes)


def profiles(views: Sequence[Profile]) -> Figure:
    """One panel per family and stack, one legend for all."""
    with style():
        columns = min(2, len(views))
        rows = -(-len(views) // columns)
        figure = new_figure(5.2 * columns, 3.0 * rows + 0.4)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        order = list(dict.fromkeys(line.label for view in views for line in view.lines))
        for view, ax in zip(views, axes, strict=False):
            profile(view, ax=ax, legend=False, order=order)
        for ax in axes[len(views) :]:
            ax.set_visible(False)
        handles = {
            text: h
            for ax in axes[: len(views)]
            for h, text in zip(*ax.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            handles.values(),
            handles.keys(),
            loc="outside lower center",
            ncols=min(4, len(handles)),
            frameon=False,
        )
    return figure


def ranking(view: Ranking, ax: Axes | None = None, limit: float | None = None) -> Axes:
    """Draw a ranking as horizontal bars, largest on top, coloured by family."""
    with style():
        ax = own_axes(ax, 4.6, 0.24 * len(view.names) + 1.0)
        at = np.arange(len(view.names))
        ax.barh(at, view.values, color=[FAMILY_COLOURS[f] for f in view.families], height=0.72)
        ax.set_yticks(at, names(view.names, 36), fontsize=7.5)
        ax.invert_yaxis()
        ax.set(title=title_text(view.title), xlabel=view.label)
        ax.set_xlim(0, limit)
        ax.tick_params(axis="y", length=0)
        ax.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4))
        ax.grid(axis="x", color="#e4e4e0", linewidth=0.7)
        ax.set_axisbelow(True)
        ax.spines["left"].set_color(QUIET)
    return ax


def rankings(views: Sequence[Ranking]) -> Figure:
    """Rankings side by side, on one scale unless the models are far apart, with a legend of the families."""
    with style():
        tallest = max(len(v.names) for v in views)
        columns = min(4, len(views))
        rows = -(-len(views) // columns)
        figure = new_figure(3.6 * columns, (0.2 * tallest + 0.9) * rows + 0.3)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        limit = (
            None if far_apart([v.values for v in views]) else 1.04 * max(float(v.values.max()) for v in views)
        )
        # Updates of zero leave the limit to matplotlib.
        limit = limit or None
        for view, ax in zip(views, axes, strict=False):
            ranking(view, ax=ax, limit=limit)
        for ax in axes[len(views) :]:
            ax.set_visible(False)
        families = [f for f in FAMILY_COLOURS if any(f in v.families for v in views)]
        marks = [Rectangle((0, 0), 1, 1, color=FAMILY_COLOURS[f]) for f in families]
        figure.legend(marks, families, loc="outside lower center", ncols=len(families), frameon=False)
    return figure
