"""Layer profiles as lines, and rankings as bars; every function takes an `ax=`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from tunescope.picture.lettering import names, title_text, widest
from tunescope.picture.style import (
    FAMILY_COLOURS,
    GRID,
    QUIET,
    figure_of,
    look_of,
    new_figure,
    own_axes,
    style,
)
from tunescope.picture.views import Curve, Profile, Ranking

# Models whose typical sizes differ by more than this share no linear scale.
FAR_APART = 20.0
# More bands than this would lie on one another, and are left out.
BANDS = 2
# Lines that come this near each other everywhere, as a share of the largest value, lie on one another.
_TOUCHING = 0.015
# Signs of a title over one of several rankings side by side.
_BESIDE = 24


def profile(
    view: Profile, ax: Axes | None = None, legend: bool = True, beside: Sequence[Profile] = ()
) -> Axes:
    """Draw one family's layer profile: a line per model, colours and scale as in the profiles `beside`."""
    every = beside or [view]
    order = _order(every)
    with style():
        ax = own_axes(ax, 6.0, 3.2)
        shown = dict(zip(order, names(order, 40), strict=True))
        wide = widths([line.values for line in view.lines])
        for k, line in enumerate(view.lines):
            i = order.index(line.label)
            colour, dashes = look_of(i)
            ax.plot(
                line.layers, line.values, dashes, color=colour, marker="o", markersize=3, linewidth=wide[k],
                label=shown[line.label],
            )  # fmt: skip
        label = f"mean of {view.label}".replace(" (", "\n(")
        ax.set(title=title_text(view.title), xlabel="layer", ylabel=label)
        if any(far_apart([line.values for line in other.lines]) for other in every):
            ax.set_yscale("log")
            # The usual formatter writes mathematical markup, which the house style leaves unparsed.
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.yaxis.set_minor_formatter(NullFormatter())
        else:
            values = np.concatenate([line.values for other in every for line in other.lines])
            low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
            ax.set_ylim(1.06 * low, 1.06 * high if high > low else None)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.grid(axis="y", color=GRID, linewidth=0.7)
        ax.set_axisbelow(True)
        if legend:
            ax.legend(frameon=False, fontsize=8)
    return ax


def _order(views: Sequence[Profile]) -> list[str]:
    """All models, those of the study in its order."""
    drawn = [line.label for view in views for line in view.lines]
    return [m for m in dict.fromkeys([*(m for view in views for m in view.models), *drawn]) if m in drawn]


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
        # One scale for all families, so that their heights compare.
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for view, ax in zip(views, axes, strict=False):
            profile(view, ax=ax, legend=False, beside=views)
        for ax in axes[len(views) :]:
            ax.set_visible(False)
        handles = {
            text: h
            for ax in axes[: len(views)]
            for h, text in zip(*ax.get_legend_handles_labels(), strict=True)
        }
        shown = [text for text in names(_order(views), 40) if text in handles]
        figure.legend(
            [handles[text] for text in shown],
            shown,
            loc="outside lower center",
            ncols=_abreast(shown, 5.2 * columns),
            frameon=False,
        )
    return figure


def _abreast(shown: Sequence[str], width: float) -> int:
    """How many names of a legend stand side by side on `width` inches."""
    return max(1, min(4, len(shown), int((width - 0.2) / (widest(shown, 9.0) + 0.65))))


def ranking(view: Ranking, ax: Axes | None = None, limit: float | None = None) -> Axes:
    """Draw a ranking as horizontal bars, largest on top, coloured by family."""
    with style():
        ax = own_axes(ax, 4.6, 0.24 * len(view.names) + 1.0)
        at = np.arange(len(view.names))
        ax.barh(at, view.values, color=[FAMILY_COLOURS[f] for f in view.families], height=0.72)
        ax.set_yticks(at, names(view.names, 36), fontsize=7.5)
        ax.invert_yaxis()
        ax.set(title=title_text(view.title), xlabel=view.label.replace(" (", "\n("))
        ax.set_xlim(0, limit)
        ax.tick_params(axis="y", length=0)
        # A common power of ten would stand on the axis' own name.
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.grid(axis="x", color=GRID, linewidth=0.7)
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
        titles = names([view.title for view in views], _BESIDE if len(views) > 1 else 60)
        for view, title, ax in zip(views, titles, axes, strict=False):
            ranking(replace(view, title=title), ax=ax, limit=limit)
        for ax in axes[len(views) :]:
            ax.set_visible(False)
        families = [f for f in FAMILY_COLOURS if any(f in v.families for v in views)]
        marks = [Rectangle((0, 0), 1, 1, color=FAMILY_COLOURS[f]) for f in families]
        figure.legend(marks, families, loc="outside lower center", ncols=len(families), frameon=False)
    return figure


def widths(lines: Sequence[Any]) -> list[float]:
    """Points of lines drawn one after another: wider the more later ones coincide with it, so that all show.

    >>> widths([np.array([0.5, 1.0]), np.array([0.5, 1.0]), np.array([0.2, 1.0])])
    [3.6, 1.8, 1.8]
    """

    def coincide(one: Any, other: Any) -> bool:
        both = min(len(one), len(other))
        known = np.isfinite(one[:both]) & np.isfinite(other[:both])
        gap = np.abs(one[:both] - other[:both])[known]
        sizes = np.abs(np.concatenate([one[np.isfinite(one)], other[np.isfinite(other)]]))
        return bool(gap.size and gap.max() <= _TOUCHING * sizes.max())

    later = [sum(coincide(line, other) for other in lines[k + 1 :]) for k, line in enumerate(lines)]
    return [min(1.8 * (1 + count), 8.0) for count in later]


def curves(views: Sequence[Curve], title: str, label: str, across: str, ax: Axes | None = None) -> Axes:
    """Lines over whole numbers, logarithmic across; bands where there are at most two lines."""
    with style():
        ax = own_axes(ax, 6.4, 3.6)
        shown = names([view.label for view in views], 40)
        wide = widths([view.middle for view in views])
        for k, (view, name) in enumerate(zip(views, shown, strict=True)):
            colour, dashes = look_of(k)
            if len(views) <= BANDS:
                ax.fill_between(view.x, view.low, view.high, color=colour, alpha=0.15, linewidth=0)
            ax.plot(view.x, view.middle, dashes, color=colour, linewidth=wide[k], label=name)
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.set(title=title, xlabel=across, ylabel=label, ylim=(0, 1.02), xlim=(1, None))
        ax.grid(axis="y", color=GRID, linewidth=0.7)
        ax.set_axisbelow(True)
        ax.legend(frameon=False, fontsize=8)
    return ax


def alone(panel: Callable[[Axes], Axes]) -> Figure:
    """A figure that holds one panel and nothing else."""
    with style():
        ax = own_axes(None, 6.4, 3.8)
        panel(ax=ax)  # type: ignore[call-arg]
    return figure_of(ax)
