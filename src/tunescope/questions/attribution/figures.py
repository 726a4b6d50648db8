"""Maps of attribution, change against effect, and measured against attributed, as matplotlib drawings."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from tunescope.picture.cells import cells, scale
from tunescope.picture.grid import label_cells
from tunescope.picture.labels import place_labels
from tunescope.picture.lettering import title_text
from tunescope.picture.style import (
    CYCLE,
    DIFFERENCE,
    FAMILY_COLOURS,
    INK,
    QUIET,
    figure_of,
    new_figure,
    own_axes,
    style,
)
from tunescope.questions.attribution.views import ATTRIBUTION, CHANGE, CLEAR, Checks, Map, Scatter

_CELL_W, _CELL_H, _MOST_H = 0.52, 0.21, 8.6
_BARS, _SCALE = 0.75, 0.9
_FADED = 0.35
# Which multiples of a power of ten get a label on an axis of more than so many decades.
_SUBDIVISIONS = (
    (2.5, (1,)),
    (1.0, (1, 2, 5)),
    (0.4, (1, 1.5, 2, 3, 4, 6, 8)),
    (0.0, (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7, 8, 9)),
)
_TINTS = {"moved_without_effect": "#f4e6c8", "effect_without_motion": "#d9e8f5"}
_WORDS = {
    "moved_without_effect": "moved much, little effect",
    "effect_without_motion": "moved little, much effect",
}


def attribution_maps(views: Sequence[Map]) -> Figure:
    """Maps side by side with the sums of rows and columns as bars; modules outside blocks as bars alone."""
    with style():
        widths = [_width(view) for view in views]
        tallest = max(len(view.grid.rows) for view in views)
        figure = new_figure(sum(widths), _height(tallest) + _BARS + 1.9)
        parts = figure.subfigures(1, len(views), squeeze=False, width_ratios=widths)[0]
        for part, view in zip(parts, views, strict=True):
            (_bars if view.grid.outside else _map)(part, view)
    return figure


def _width(view: Map) -> float:
    if view.grid.outside:
        return 3.4
    return max(_CELL_W * len(view.grid.columns), 0.8) + _BARS + _SCALE + 1.2


def _bars(part: FigureBase, view: Map) -> None:
    """Modules outside blocks have no layers to spread over: one bar each."""
    ax = part.subplots()
    count = len(view.column_sums)
    low, high = matplotlib.colormaps[DIFFERENCE]([0.12, 0.88])
    ax.barh(range(count), view.column_sums, height=0.6, color=_sides(view.column_sums, low, high))
    ax.set_yticks(range(count), [title_text(name, 32) for name in view.grid.columns], fontsize=8)
    ax.set_ylim(max(count, 6) - 0.5, -0.5)
    ax.axvline(0, color=QUIET, linewidth=0.7)
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.tick_params(axis="y", length=0)
    ax.spines[["left"]].set_visible(False)
    ax.set_title("outside blocks")
    ax.set_xlabel(view.grid.label)


def _height(rows: int) -> float:
    """Inches of the cells of so many rows, at most a page."""
    return max(min(_CELL_H * rows, _MOST_H), 0.8)


def _map(part: FigureBase, view: Map) -> None:
    rows, columns = view.grid.values.shape
    ratios = {
        "width_ratios": [max(_CELL_W * columns, 0.8), _BARS, 0.14],
        "height_ratios": [_BARS, _height(rows)],
    }
    axes = part.subplots(2, 3, squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.02, **ratios})
    main, top, side, bar = axes[1, 0], axes[0, 0], axes[1, 1], axes[1, 2]
    for empty in (axes[0, 1], axes[0, 2]):
        empty.set_axis_off()
    cells(main, view.grid.values, DIFFERENCE, view.grid.limits)
    label_cells(main, view.grid)
    _sums(top, side, view)
    top.set_title(title_text(view.grid.title))
    scale(bar, DIFFERENCE, view.grid.limits, f"{view.grid.label}\n{title_text(view.sides)}")


def _sums(top: Axes, side: Axes, view: Map) -> None:
    """Sums over the layers above, over the modules beside, blue where they lowered the loss."""
    low, high = matplotlib.colormaps[DIFFERENCE]([0.12, 0.88])
    top.bar(
        range(len(view.column_sums)), view.column_sums, width=0.7, color=_sides(view.column_sums, low, high)
    )
    side.barh(range(len(view.row_sums)), view.row_sums, height=0.7, color=_sides(view.row_sums, low, high))
    top.axhline(0, color=QUIET, linewidth=0.7)
    side.axvline(0, color=QUIET, linewidth=0.7)
    top.set_xlim(-0.5, len(view.column_sums) - 0.5)
    side.set_ylim(len(view.row_sums) - 0.5, -0.5)
    top.set_xticks([])
    side.set_yticks([])
    for ax in (top, side):
        ax.spines[:].set_visible(False)
        ax.tick_params(labelsize=6.5, length=2)
    side.xaxis.set_major_locator(MaxNLocator(2))
    top.yaxis.set_major_locator(MaxNLocator(2))
    side.set_xlabel("sum", fontsize=7)
    top.set_ylabel("sum", fontsize=7)


def _sides(values: np.ndarray, low: object, high: object) -> list[object]:
    return [low if value < 0 else high for value in values]


def change_effect(view: Scatter, ax: Axes | None = None) -> Axes:
    """Change against |effect| on logarithmic axes; filled points lowered the loss, open ones raised it."""
    with style():
        ax = own_axes(ax, 7.2, 5.0)
        ax.set(
            xscale="log",
            yscale="log",
            xlabel=CHANGE,
            ylabel=f"|{ATTRIBUTION.split(' (')[0]}| (nats per token)",
        )
        colours = np.array([FAMILY_COLOURS[family] for family in view.families])
        for lowers, clear in product((True, False), (True, False)):
            chosen = (view.lowers == lowers) & (view.clear == clear)
            face = colours[chosen] if lowers else np.full(int(chosen.sum()), "white")
            look = {"c": face, "edgecolors": colours[chosen], "alpha": 0.9 if clear else _FADED}
            ax.scatter(view.change[chosen], view.effect[chosen], s=26, linewidths=1.0, zorder=3, **look)
        _limits(ax, view)
        _quarters(ax, view)
        ax.set_title(title_text(view.title))
        _legend(ax, view)
        place_labels(ax, view.change, view.effect, view.named, view.names)
    return ax


def _limits(ax: Axes, view: Scatter) -> None:
    """Room of a fifth of the range on every side, for the names."""
    for values, put in ((view.change, ax.set_xlim), (view.effect, ax.set_ylim)):
        if len(values):
            low, high = np.log10(values.min()), np.log10(values.max())
            room = 0.14 * max(high - low, 0.5)
            put(10 ** (low - room), 10 ** (high + room))
    for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        decades = np.log10(high / low)
        subs = next(subs for least, subs in _SUBDIVISIONS if decades > least)
        axis.set_major_locator(LogLocator(subs=subs))
        # Powers of ten would need mathematical markup, which the house style leaves off for hostile names.
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def _quarters(ax: Axes, view: Scatter) -> None:
    """Tint the two corners in which the outliers lie."""
    if view.edges is None:
        return
    x_low, x_high, y_low, y_high = view.edges
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    corners = {
        "moved_without_effect": (x_high, right, bottom, y_low),
        "effect_without_motion": (left, x_low, y_high, top),
    }
    for kind, (x0, x1, y0, y1) in corners.items():
        ax.fill_between([x0, x1], y0, y1, color=_TINTS[kind], linewidth=0, zorder=0)
    ax.set(xlim=(left, right), ylim=(bottom, top))


def _legend(ax: Axes, view: Scatter) -> None:
    families = [f for f in FAMILY_COLOURS if f in view.families]
    marks = [Line2D([], [], marker="o", linestyle="", color=FAMILY_COLOURS[f], label=f) for f in families]
    look: dict[str, Any] = {"marker": "o", "linestyle": "", "color": QUIET}
    marks.append(Line2D([], [], label="lowered the loss", **look))
    marks.append(Line2D([], [], label="raised it", fillstyle="none", **look))
    if not view.clear.all():
        marks.append(Line2D([], [], label=f"within {CLEAR:g} standard errors of 0", alpha=_FADED, **look))
    if view.edges is not None:
        marks += [
            Line2D([], [], marker="s", markersize=9, linestyle="", color=_TINTS[k], label=_WORDS[k])
            for k in _TINTS
        ]
    figure_of(ax).legend(handles=marks, loc="outside lower center", ncols=3, frameon=False, fontsize=8)


def verification(view: Checks, ax: Axes | None = None) -> Axes:
    """Measured against attributed change of the loss, with standard errors and the line of equality."""
    with style():
        ax = own_axes(ax, 6.0, 5.2)
        for largest, face, text in ((True, CYCLE[0], "largest"), (False, "white", "random")):
            chosen = view.largest == largest
            errors = [error[chosen] for error in view.errors]
            at = view.attributed[chosen], view.measured[chosen]
            bars = {"xerr": errors[0], "yerr": errors[1], "ecolor": QUIET, "elinewidth": 0.8}
            ax.errorbar(*at, fmt="o", markersize=5, color=CYCLE[0], mfc=face, label=text, **bars)
        ax.axhline(0, color=QUIET, linewidth=0.6)
        ax.axvline(0, color=QUIET, linewidth=0.6)
        ax.margins(0.12)
        ax.set(xlabel=f"attributed {ATTRIBUTION}", ylabel="measured when put back (nats per token)")
        low, high = ax.get_xlim(), ax.get_ylim()
        ax.axline((0, 0), slope=1, color=INK, linewidth=0.8, linestyle=":", label="equal")
        ax.set(xlim=low, ylim=high)
        ax.set_title(title_text(view.title))
        ax.ticklabel_format(style="sci", scilimits=(-3, 4))
        ax.legend(frameon=False, fontsize=8)
        far = np.argsort(-np.abs(view.measured))[:4]
        place_labels(ax, view.attributed, view.measured, far.tolist(), view.names)
    return ax
