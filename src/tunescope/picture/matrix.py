"""Models by models as a matplotlib drawing: large matrices with their numbers, small ones beside them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from tunescope.picture.cells import cells, colour_map
from tunescope.picture.dusk import dusk
from tunescope.picture.lettering import names, title_text, widest
from tunescope.picture.matrix_views import Matrix
from tunescope.picture.paper import lying_scale, paper
from tunescope.picture.style import DIFFERENCE, INK, figure_of, style

_MARGIN, _TITLE_H, _SCALE_H, _GAP = 0.14, 0.3, 0.9, 0.45
_SMALL, _SMALL_STEP = 0.95, 1.2
# Models up to which every cell holds its number.
_NUMBERED = 8


def matrices(large: Sequence[Matrix], small: Sequence[Matrix] = (), heading: str = "") -> Figure:
    """Matrices side by side, each on its own scale; the small ones follow on the scale of the first."""
    with style():
        labels = names(large[0].labels, 26)
        each = float(np.clip(4.6 / len(labels), 0.1, 0.44))
        font = float(np.clip(62 * each, 5.0, 8.0))
        room = widest(labels, font) + 0.08
        side, top = max(each * len(labels), 1.6), _MARGIN + _TITLE_H + (0.28 if heading else 0.0)
        per_row = max(1, int(np.ceil(np.sqrt(1.6 * len(small))))) if small else 0
        rows = -(-len(small) // per_row) if small else 0
        pitch = max(side, 1.12 * widest([title_text(view.title) for view in large], 9.5)) + room + _GAP
        width = 2 * _MARGIN + len(large) * pitch + per_row * _SMALL_STEP
        height = top + max(side + 0.75 * room + _SCALE_H, rows * _SMALL_STEP) + _MARGIN
        ax = paper(width, height)
        if heading:
            ax.text(_MARGIN, 0.2, title_text(heading, 90), fontsize=11, fontweight="bold", va="baseline")
        for k, view in enumerate(large):
            at = _MARGIN + room + k * pitch, top
            _large(ax, view, labels, at, side, font)
            bar = (at[0], top + side + 0.75 * room + 0.22, min(side, 2.6), 0.12)
            lying_scale(ax, bar, *_scale(view), view.label, pitch - room - 0.1)
        _small(ax, small, (2 * _MARGIN + len(large) * pitch, top), per_row)
    return figure_of(ax)


def _large(
    ax: Axes, view: Matrix, labels: Sequence[str], at: tuple[float, float], side: float, font: float
) -> None:
    (left, top), each = at, side / len(labels)
    colours, limits = _scale(view)
    cells(ax, view.values, colours, limits, extent=(left, left + side, top + side, top))
    ax.text(left, top - 0.08, title_text(view.title), fontsize=9.5, fontweight="bold", va="baseline")
    for k, label in enumerate(labels):
        middle = (k + 0.5) * each
        ax.text(left - 0.05, top + middle, label, fontsize=font, ha="right", va="center_baseline")
        ax.text(
            left + middle, top + side + 0.05, label, fontsize=font, ha="right", va="top", rotation=45,
            rotation_mode="anchor",
        )  # fmt: skip
    if len(labels) <= _NUMBERED:
        _write_numbers(ax, view.values, colour_map(colours), limits, at, each)


def _scale(view: Matrix) -> tuple[str | Colormap, tuple[float, float]]:
    return (DIFFERENCE, (-1.0, 1.0)) if view.signed else (dusk(), (0.0, 1.0))


def _write_numbers(
    ax: Axes, values: np.ndarray, colours: Colormap, limits: tuple[float, float], at: tuple[float, float],
    each: float,
) -> None:  # fmt: skip
    low, high = limits
    for (y, x), value in np.ndenumerate(values):
        if np.isnan(value):
            text, ink = "–", INK
        else:
            red, green, blue, _ = colours((value - low) / (high - low))
            bright = 0.299 * red + 0.587 * green + 0.114 * blue
            text, ink = _two_digits(value), INK if bright > 0.5 else "white"
        place = at[0] + (x + 0.5) * each, at[1] + (y + 0.5) * each
        ax.text(*place, text, ha="center", va="center", fontsize=7, color=ink)


def _two_digits(value: float) -> str:
    """The number with two digits and a true minus sign, which zero has not.

    >>> _two_digits(-0.001), _two_digits(-0.25)
    ('0.00', '−0.25')
    """
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def _small(ax: Axes, views: Sequence[Matrix], at: tuple[float, float], per_row: int) -> None:
    for k, view in enumerate(views):
        x, y = at[0] + k % per_row * _SMALL_STEP, at[1] + k // per_row * _SMALL_STEP
        cells(ax, view.values, *_scale(view), extent=(x, x + _SMALL, y + _SMALL, y))
        ax.text(x + _SMALL / 2, y - 0.04, view.title, fontsize=7.5, ha="center", va="baseline")
