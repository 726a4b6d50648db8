"""Small multiples: many maps on one sheet and one scale, labelled at the edges."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tunescope.picture.cells import beyond, cells, cross, ruled
from tunescope.picture.lettering import legible, names, widest
from tunescope.picture.paper import beside_scale, paper, standing_scale
from tunescope.picture.style import CHANGE, INK, figure_of, style
from tunescope.picture.views import Grid

# Points of titles and labels; inches of gaps, of a scale and of margins.
_TITLE, _LABEL = 7.5, 6.5
# A scale whose numbers stand apart, beside a map however small; every block is higher.
_LEAST_BAR = 1.1
_GAP, _TITLE_H, _SCALE_W, _MARGIN = 0.14, 0.19, 0.16, 0.12
_LINE_H = 0.11
# Inches on the right of a scale, where its numbers and its name take no more.
_BESIDE = 0.85
_PAGE = 1.25
# Up to so many panels cells are larger.
_FEW = 4
# Signs of a model's name that its title keeps beside a part of the model.
_LEAST_NAME = 8
# Inches up to which few panels stand in one row.
_WIDE = 12.0
# Inches of a cell from which on white lines part it from its neighbours.
_RULED = 0.07


@dataclass(frozen=True, slots=True)
class _Plan:
    """A block of panels in inches: of one panel's cells, of its place, and how many stand side by side."""

    width: float
    height: float
    step: float
    across: int
    down: int
    left: float
    below: float
    scaled: bool
    beside: float = _BESIDE

    @property
    def size(self) -> tuple[float, float]:
        """Inches of the block, its scale included."""
        return (
            self.left + self.across * self.step + _SCALE_W + self.beside,
            max(self.down * (self.height + _TITLE_H + _GAP) - _GAP + self.below + 0.1, 1.9 * self.scaled),
        )


def sheet(blocks: Sequence[Sequence[Grid]], cmap: str = CHANGE) -> Figure:
    """One block of panels for each kind (towers, weights outside blocks), each on the scale of its first.

    A scale is drawn once where blocks that follow each other have the same.

    The panels of a block must have the same rows and columns; `aligned` gives them these.
    """
    with style():
        scales = [(block[0].limits, block[0].label) for block in blocks]
        # A scale that is the same as that of the block above stands there.
        plans = [_plan(block, k == 0 or scales[k - 1] != scales[k]) for k, block in enumerate(blocks)]
        width = max(plan.size[0] for plan in plans)
        height = sum(plan.size[1] for plan in plans) + 2 * _MARGIN
        ax, top = paper(width, height), _MARGIN
        for block, plan in zip(blocks, plans, strict=True):
            _block(ax, block, plan, top, cmap)
            if plan.scaled:
                more = any(len(grid.beyond) for grid in block)
                scale = cmap, block[0].limits, block[0].label, more, plan.size[1] - 0.3
                standing_scale(ax, _bar(plan, top), *scale)
            top += plan.size[1]
    return figure_of(ax)


def _plan(block: Sequence[Grid], scaled: bool) -> _Plan:
    """As many panels side by side as make the sheet a little wider than high."""
    first = block[0]
    rows, columns = first.values.shape
    few = len(block) <= _FEW
    each = (0.14 if few else 0.09) if first.numbered else (0.3 if few else 0.2)
    width = float(np.clip(each * columns, 0.6, 7.0 / min(len(block), 3) ** 0.5 if few else 3.2))
    height = float(
        np.clip((0.14 if few else 0.1) * rows, 0.25, 6.5 if few else 3.6 if len(block) <= 12 else 2.4)
    )
    # One title alone may run on above the colours of the scale, though not above its numbers.
    beside = _SCALE_W if len(block) == 1 else 0.0
    step = max(width, widest(_titles(block), 1.18 * _TITLE) - beside) + _GAP
    left = _MARGIN + widest(names(first.rows, 20), _LABEL) + 0.28
    long = widest([legible(c) for c in first.columns], _LABEL)
    turned = long > 0.95 * width / columns
    below = 0.18 + (0.16 if first.numbered else min(long, 1.6) + 0.16 if turned else 0.18)
    # As many rows with as few panels in each as hold all, so that none is nearly empty.
    counts = {-(-len(block) // down): down for down in range(len(block), 0, -1)}
    plans = [_Plan(width, height, step, n, down, left, below, scaled) for n, down in sorted(counts.items())]
    if few and plans[-1].size[0] <= _WIDE:
        return _named(block, plans[-1])
    return _named(block, min(plans, key=lambda plan: abs(np.log(plan.size[0] / plan.size[1] / _PAGE))))


def _named(block: Sequence[Grid], plan: _Plan) -> _Plan:
    """The plan with room for the numbers of the scale and as many lines as its name takes."""
    more = any(len(grid.beyond) for grid in block)
    wide = beside_scale(block[0].limits, block[0].label, more, plan.size[1] - 0.3)
    return replace(plan, beside=max(_BESIDE, wide + _MARGIN / 2))


def _titles(block: Sequence[Grid]) -> list[str]:
    """Titles that stand apart: of a model and a part of it, only the model's name is shortened."""
    limit = 44 if len(block) == 1 else 26
    models = [grid.model for grid in block]
    parts = [grid.title.removeprefix(grid.model) for grid in block]
    if not all(models) or len(set(parts)) > 1 or len(parts[0]) > limit - _LEAST_NAME:
        return names([grid.title for grid in block], limit)
    return [name + legible(parts[0]) for name in names(models, limit - len(parts[0]))]


def _bar(plan: _Plan, top: float) -> tuple[float, float, float, float]:
    """Where the scale of a block stands."""
    tall = float(np.clip(plan.down * (plan.height + _TITLE_H + _GAP) - _GAP - _TITLE_H, _LEAST_BAR, 3.2))
    return plan.left + plan.across * plan.step, top + _TITLE_H, _SCALE_W, tall


def _block(ax: Axes, block: Sequence[Grid], plan: _Plan, top: float, cmap: str) -> None:
    titles, (rows, columns) = _titles(block), block[0].values.shape
    each = plan.width / columns, plan.height / rows
    places = []
    for k, grid in enumerate(block):
        down, across = divmod(k, plan.across)
        x = plan.left + across * plan.step
        y = top + _TITLE_H + down * (plan.height + _TITLE_H + _GAP)
        places.append((x, y, plan.width, plan.height))
        cells(ax, grid.values, cmap, block[0].limits, extent=(x, x + plan.width, y + plan.height, y))
        ax.text(x, y - 0.05, titles[k], fontsize=_TITLE, fontweight="bold", va="baseline")
        cross(ax, [(x + j * each[0], y + i * each[1], *each) for i, j in np.argwhere(grid.broken)])
        middles = [(x + (j + 0.5) * each[0], y + (i + 0.5) * each[1]) for i, j in grid.beyond]
        beyond(ax, middles, min(4.0, 36 * min(each)))
        if across == 0:
            _name_rows(ax, grid, plan, y)
        if k + plan.across >= len(block):
            _name_columns(ax, grid, plan, (x, y + plan.height))
    if min(each) >= _RULED:
        ruled(ax, places, (rows, columns), 0.5)


def _name_rows(ax: Axes, grid: Grid, plan: _Plan, y: float) -> None:
    rows = len(grid.rows)
    each = plan.height / rows
    every = max(1, int(np.ceil(_LINE_H / each)))
    every = every if every < 3 else 5 * -(-every // 5)
    shown = names(grid.rows, 20)
    for k in range(0, rows, every):
        ax.text(
            plan.left - 0.04, y + (k + 0.5) * each, shown[k], fontsize=_LABEL,
            ha="right", va="center_baseline",
        )  # fmt: skip
    if any(grid.rows):
        ax.text(
            _MARGIN, y + plan.height / 2, grid.down, fontsize=_LABEL + 1, rotation=90, va="center", color=INK
        )


def _name_columns(ax: Axes, grid: Grid, plan: _Plan, at: tuple[float, float]) -> None:
    (x, y), columns = at, len(grid.columns)
    each = plan.width / columns
    shown = list(grid.columns) if grid.numbered else names(grid.columns, 26)
    turned = not grid.numbered and widest(shown, _LABEL) > 0.95 * each
    # Names that are not turned all have room; of numbers some may be left out.
    room = widest(shown, _LABEL) + 0.05 if grid.numbered else _LINE_H if turned else each
    every = max(1, int(np.ceil(room / each)))
    for k in range(0, columns, every):
        ax.text(
            x + (k + 0.5) * each, y + 0.04, shown[k], fontsize=_LABEL, ha="center", va="top",
            rotation=90 if turned else 0,
        )  # fmt: skip
    if any(grid.columns):
        under = y + plan.below - 0.18
        ax.text(x + plan.width / 2, under, grid.across, fontsize=_LABEL + 1, ha="center", va="top")


def aligned(grids: Sequence[Grid]) -> list[Grid]:
    """The grids with the rows and columns of all of them, in the order of the first that has them."""
    rows = _union([grid.rows for grid in grids])
    columns = _union([grid.columns for grid in grids])
    return [_spread(grid, rows, columns) for grid in grids]


def _union(lists: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """All names, each where the lists that have it agree that it stands."""
    merged: list[str] = []
    for names_ in lists:
        at = 0
        for name in names_:
            if name in merged:
                at = merged.index(name) + 1
            else:
                merged.insert(at, name)
                at += 1
    return tuple(merged)


def _spread(grid: Grid, rows: Sequence[str], columns: Sequence[str]) -> Grid:
    if (grid.rows, grid.columns) == (tuple(rows), tuple(columns)):
        return grid
    values = np.full((len(rows), len(columns)), np.nan)
    broken = np.zeros(values.shape, dtype=bool)
    at = np.ix_([list(rows).index(r) for r in grid.rows], [list(columns).index(c) for c in grid.columns])
    values[at], broken[at] = grid.values, grid.broken
    return grid.with_cells(tuple(rows), tuple(columns), values, broken)
