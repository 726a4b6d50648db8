"""φ panels as matplotlib figures."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from tunescope.picture.cells import cells, scale
from tunescope.picture.dusk import dusk
from tunescope.picture.style import QUIET, freeze, new_figure, own_axes, style
from tunescope.questions.subspace.views import Panel, PhiFigure

_PANEL = 2.05


def phi_panel(panel: Panel, vmax: float = 1.0, ax: Axes | None = None) -> Axes:
    """Draw one φ grid: i down, j across, the origin at the top left."""
    with style():
        ax = own_axes(ax, 3.4, 3.4)
        rows, columns = panel.values.shape
        place = (0.5, columns + 0.5, rows + 0.5, 0.5)
        cells(ax, panel.values, dusk(), (0.0, vmax), extent=place)
        ax.set(xlim=place[:2], ylim=place[2:])
        ax.set_box_aspect(1)
        ax.set_xticks(ticks(columns, 12))
        ax.set_yticks(ticks(rows, 10))
        ax.tick_params(labelsize=6.5, length=2, pad=1.5)
        ax.tick_params(axis="x", rotation=90 if columns > 20 else 0)
        ax.set_title(panel.title, parse_math=True, fontsize=9.5, fontweight="normal", pad=4)
        for spine in ax.spines.values():
            spine.set(visible=True, linewidth=0.5, edgecolor=QUIET)
    return ax


def ticks(count: int, most: int) -> list[int]:
    """1, 1 + s, 1 + 2s, … with about `most` of them.

    >>> ticks(64, 10)[:3], ticks(64, 12)[:3], ticks(8, 10)
    ([1, 7, 13], [1, 6, 11], [1, 2, 3, 4, 5, 6, 7, 8])
    """
    step = max(1, count // most)
    # Two-digit labels at every step of a small panel would run into each other.
    return list(range(1, count + 1, 2 if step == 1 and count > most else step))


def phi_figure(view: PhiFigure) -> Figure:
    """All panels of one pair with the Gaussian controls last, and one colour bar."""
    with style():
        placed = _placed(view)
        rows, columns = (max(at[axis] for at in placed) + 1 for axis in (0, 1))
        figure = new_figure(_PANEL * columns + 1.0, (_PANEL + 0.3) * rows + 0.8)
        grid = GridSpec(rows, columns, figure=figure)
        alike = len({panel.values.shape for panel in placed.values()}) == 1
        drawn = []
        for (r, c), panel in placed.items():
            ax = phi_panel(panel, view.vmax, figure.add_subplot(grid[r, c]))
            _label(ax, left=c == 0, bottom=(r + 1, c) not in placed, alike=alike)
            drawn.append(ax)
        figure.suptitle(view.formula, parse_math=True, fontsize=13)
        _bar(figure, drawn, view)
        figure.supxlabel(view.note, fontsize=7, color=QUIET)
        freeze(figure)
    return figure


def _placed(view: PhiFigure) -> dict[tuple[int, int], Panel]:
    """Row and column of every panel; controls fill the last row, then further columns from below."""
    placed = {(r, c): panel for r, panels in enumerate(view.rows) for c, panel in enumerate(panels)}
    rows, columns = len(view.rows), max(map(len, view.rows))
    free = [(rows - 1, c) for c in range(len(view.rows[-1]), columns)]
    free += [(rows - 1 - k % rows, columns + k // rows) for k in range(len(view.controls))]
    return placed | dict(zip(free, view.controls, strict=False))


def _label(ax: Axes, left: bool, bottom: bool, alike: bool) -> None:
    """Axis names at the edges of the figure; tick labels too, where all panels have the same ones."""
    if left:
        ax.set_ylabel("$i$", parse_math=True, fontsize=10, rotation=0, labelpad=7, va="center")
    if bottom:
        ax.set_xlabel("$j$", parse_math=True, fontsize=10, labelpad=2)
    if alike:
        ax.tick_params(labelleft=left, labelbottom=bottom)


def _bar(figure: Figure, axes: Sequence[Axes], view: PhiFigure) -> None:
    mappable = ScalarMappable(Normalize(0.0, view.vmax), dusk())
    bar = figure.colorbar(mappable, ax=list(axes), fraction=0.025, pad=0.015, aspect=30).ax
    # The usual bar would be pixels in every format.
    bar.clear()
    clipped = f"clipped at {view.vmax:g}: {100 * view.clipped:.2g}% of the cells lie above"
    scale(bar, dusk(), (0.0, view.vmax), clipped if view.clipped else "φ", more=view.clipped > 0)
