"""Norms along ΔW's, W's and random directions, drawn by layer."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from tunescope.picture.lettering import title_text
from tunescope.picture.style import CYCLE, QUIET, new_figure, own_axes, style
from tunescope.questions.subspace.amplification_views import Along

_LINES = {
    "base": ("along W's own", CYCLE[0], "o"),
    "delta": ("along ΔW's", CYCLE[1], "s"),
    "random": ("along random", CYCLE[2], "^"),
}


def along(view: Along, ax: Axes | None = None) -> Axes:
    """Draw ‖UᵀWV‖_F of one module over the layers, logarithmic, with ‖W‖ and ‖ΔW‖ dashed."""
    with style():
        ax = own_axes(ax, 4.6, 3.2)
        ax.plot(view.layers, view.base_norm, "--", color=CYCLE[0], linewidth=1, label="‖W‖")
        for kind, (label, colour, marker) in _LINES.items():
            values = view.projected[kind]
            ax.plot(
                view.layers, values, marker=marker, markersize=3.2, color=colour, linewidth=1.5, label=label
            )
        ax.plot(view.layers, view.delta_norm, "--", color=CYCLE[1], linewidth=1, label="‖ΔW‖")
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set(title=title_text(view.title), xlabel="layer", ylabel="‖UᵀWV‖ (unit of the weights)")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(axis="y", color="#e4e4e0", linewidth=0.7)
        ax.tick_params(which="minor", color=QUIET)
        ax.set_axisbelow(True)
    return ax


def along_figure(views: Sequence[Along], heading: str) -> Figure:
    """One panel per module, one legend for all."""
    with style():
        columns = min(3, len(views))
        rows = -(-len(views) // columns)
        figure = new_figure(max(4.0 * columns, 5.4), 2.9 * rows + 0.8)
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for i, (view, ax) in enumerate(zip(views, axes, strict=False)):
            along(view, ax)
            # Layers are numbered under every column, also where the last row is not full.
            if i + columns < len(views):
                ax.set_xlabel("")
                ax.tick_params(axis="x", labelbottom=False)
            if i % columns:
                ax.set_ylabel("")
                ax.tick_params(axis="y", labelleft=False)
        for ax in axes[len(views) :]:
            ax.set_visible(False)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
        figure.suptitle(title_text(heading), fontsize=11, fontweight="bold")
    return figure
