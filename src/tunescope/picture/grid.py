"""Maps of layers × modules (or heads, or experts) as matplotlib drawings; a map takes an `ax=`."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tunescope.picture.cells import beyond, cells, cross, number, ruled, scale
from tunescope.picture.lettering import legible, names, title_text, width_of
from tunescope.picture.style import CHANGE, new_figure, own_axes, style
from tunescope.picture.views import Grid

# Inches of a cell, of a map at most, and of a scale with its numbers.
_CELL_W, _CELL_H, _NUMBERED_W = 0.5, 0.21, 0.28
_MOST_W, _MOST_H = 11.0, 8.6
# Inches of the cells of all rows of grids together.
_PAGE_H = 10.5
_SCALE_W, _SCALE_GAP = 0.16, 0.12
# Below this many inches a cell has no white line around it, and neighbouring labels would touch.
_RULED, _LINE_H = 0.06, 0.13


def heatmap(
    grid: Grid, ax: Axes | None = None, cmap: str = CHANGE, colorbar: bool = True, height: float = 0.0
) -> Axes:
    """Draw a grid: row 0 on top, absent modules pale, non-finite cells crossed, the scale's ends numbered.

    `height` are the inches of its cells, where others stand beside or below it.
    """
    with style():
        ax = own_axes(ax, *size_of([grid]))
        cells(ax, grid.values, cmap, grid.limits)
        label_cells(ax, grid, height)
        cross(ax, [(x - 0.5, y - 0.5, 1, 1) for y, x in np.argwhere(grid.broken)])
        width, own = size_of_cells(grid)
        height = height or own
        each = min(width / grid.values.shape[1], height / grid.values.shape[0])
        beyond(ax, [(x, y) for y, x in grid.beyond], min(5.0, max(2.2, 36 * each)))
        ax.set_title(title_text(grid.title))
        if colorbar:
            place = (1 + _SCALE_GAP / width, 0.0, _SCALE_W / width, 1.0)
            more = len(grid.beyond) > 0
            scale(ax.inset_axes(place), cmap, grid.limits, grid.label, more=more, room=height + 0.3)
    return ax


def ends_text(*grids: Grid) -> str:
    """The ends of the scale of the maps, of those outside the layers their own, and what odd cells mean."""
    count = sum(len(grid.beyond) for grid in grids)
    low, high = next((grid.limits for grid in grids if not grid.outside), grids[0].limits)
    text = f"colours from {number(low)} to {number(high)}"
    apart = [grid.limits for grid in grids if grid.outside and grid.limits != (low, high)]
    if apart:
        text += f", outside the layers from {number(apart[0][0])} to {number(apart[0][1])}"
    if count:
        most = number(max(float(np.nanmax(grid.values)) for grid in grids if len(grid.beyond)))
        text += f" ({count} {'cell' if count == 1 else 'cells'} beyond, to {most}, marked by a triangle)"
    return f"{text}{_without_number(grids)}"


def _without_number(grids: Sequence[Grid]) -> str:
    """What pale and crossed cells are, where there are some."""
    pale = any((np.isnan(grid.values) & ~grid.broken).any() for grid in grids)
    crossed = sum(int(grid.broken.sum()) for grid in grids)
    cells_of = f"{crossed} {'cell' if crossed == 1 else 'cells'}"
    return "; pale: no such weight, or no number of it" * pale + (
        f"; {cells_of} crossed out: not finite" if crossed else ""
    )


def label_cells(ax: Axes, grid: Grid, height: float = 0.0) -> None:
    """Name axes, rows and columns, as many as there is room for, and part the cells with white lines.

    `height` are the inches of the cells, where they are not those of the grid alone.
    """
    rows, columns = grid.values.shape
    width, own = size_of_cells(grid)
    height = height or own
    every = max(1, -(-int(rows * _LINE_H / height * 100) // 100))
    every = every if every < 3 else 5 * -(-every // 5)
    shown = range(0, rows, every)
    named = names(grid.rows, 24)
    ax.set_yticks(shown, [named[r] for r in shown], fontsize=7.5)
    _label_columns(ax, grid, width)
    ax.set_ylabel(grid.down if any(grid.rows) else "")
    ax.set_xlabel(grid.across)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    rule(ax, (rows, columns), (width / columns, height / rows))


def _label_columns(ax: Axes, grid: Grid, width: float) -> None:
    columns = len(grid.columns)
    if grid.numbered:
        most = max(width_of(c, 8) for c in grid.columns) + 0.08
        every = max(1, int(np.ceil(columns * most / width)))
        every = every if every < 3 else 4 * -(-every // 4)
        ax.set_xticks(range(0, columns, every), grid.columns[::every], fontsize=8)
        return
    shown = names(grid.columns, 32)
    ax.set_xticks(range(columns), shown, fontsize=8)
    if max(width_of(text, 8) for text in shown) > 0.92 * width / columns:
        for label in ax.get_xticklabels():
            label.set(rotation=45, ha="right", rotation_mode="anchor")


def rule(ax: Axes, shape: tuple[int, int], cell: tuple[float, float], line: float = 0.6) -> None:
    """White lines between the cells of a map, except where a cell is hardly wider than a line."""
    rows, columns = shape
    if min(cell) >= _RULED:
        ruled(ax, [(-0.5, -0.5, columns, rows)], shape, line)


def size_of_cells(grid: Grid) -> tuple[float, float]:
    """Inches of a grid without labels: as large as reads well, and never more than a page."""
    rows, columns = grid.values.shape
    each = _NUMBERED_W if grid.numbered else _CELL_W
    return min(max(1.2, each * columns), _MOST_W), min(max(0.8, _CELL_H * rows), _MOST_H)


def size_of(panels: Sequence[Grid]) -> tuple[float, float]:
    """Inches for grids side by side, with labels and scales."""
    width = sum(_room(grid) for grid in panels)
    below = max(0.0 if g.numbered else 0.7 * max(width_of(legible(c), 8) for c in g.columns) for g in panels)
    return width, max(max(size_of_cells(g)[1] for g in panels) + 0.9 + min(below, 2.4), 2.4)


def _room(grid: Grid) -> float:
    return max(size_of_cells(grid)[0] + 1.7, width_of(title_text(grid.title), 10) * 1.15 + 0.4)


def heatmaps(panels: Sequence[Grid], cmap: str = CHANGE) -> Figure:
    """Several grids side by side, each with its own scale; in rows where they are wider than a page."""
    with style():
        rows = _rows(panels)
        tall = [max(size_of_cells(grid)[1] for grid in row) for row in rows]
        # Rows below each other share a page.
        kept = [height * min(1.0, _PAGE_H / sum(tall)) for height in tall]
        sizes = [size_of(row) for row in rows]
        heights = [size[1] - own + less for size, own, less in zip(sizes, tall, kept, strict=True)]
        figure = new_figure(max(width for width, _ in sizes), sum(heights))
        parts = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=heights)[:, 0]
        for part, row, height in zip(parts, rows, kept, strict=True):
            axes = part.subplots(1, len(row), squeeze=False, width_ratios=[_room(grid) for grid in row])[0]
            for grid, ax in zip(row, axes, strict=True):
                heatmap(grid, ax=ax, cmap=cmap, height=height)
    return figure


def _rows(panels: Sequence[Grid]) -> list[list[Grid]]:
    """The grids in rows no wider than a page and a half."""
    rows: list[list[Grid]] = [[]]
    for grid in panels:
        if rows[-1] and size_of([*rows[-1], grid])[0] > 1.5 * _MOST_W:
            rows.append([])
        rows[-1].append(grid)
    return rows
