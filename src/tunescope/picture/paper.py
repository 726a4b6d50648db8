"""One pair of axes for a whole picture, in inches from its upper left corner: scales without ticks of axes.

Places are computed, since axes, ticks and a layout that is found by drawing take longer than the drawing.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from tunescope.picture.cells import NAME, STEPS, broken, cells, length_of, marks_of
from tunescope.picture.lettering import widest
from tunescope.picture.style import INK, new_figure

# Inches of a mark beside a scale, and from it to its number; points of the numbers.
_MARK, _AFTER = 0.028, 0.05
_NUMBER = 8.0
# Inches that a scale's name may begin above it.
_ABOVE = 0.15
# Inches of a line of a scale's name.
_LINE = 1.3 * NAME / 72
Place = tuple[float, float, float, float]


def paper(width: float, height: float) -> Axes:
    """Axes of `width` × `height` inches that fill a figure, x to the right and y down."""
    ax = new_figure(width, height, placed=True).add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.set(xlim=(0, width), ylim=(height, 0))
    return ax


def standing_scale(
    ax: Axes,
    place: Place,
    colours: str | Colormap,
    limits: tuple[float, float],
    label: str,
    more: bool,
    room: float,
) -> None:
    """A scale at `place` (left, top, width, height) with numbers on its right, its name along `room` inches.

    `more` marks the upper end where values lie above it.
    """
    left, top, width, height = place
    limits = length_of(limits)
    low, high = limits
    right, bottom = left + width, top + height
    cells(ax, np.linspace(high, low, STEPS)[:, None], colours, limits, extent=(left, right, bottom, top))
    places, texts = zip(*marks_of(low, high, more), strict=True)
    at = [bottom - (value - low) / (high - low) * height for value in places]
    ax.hlines(at, right, right + _MARK, colors=INK, linewidth=0.8)
    for y, text in zip(at, texts, strict=True):
        ax.text(right + _MARK + _AFTER, y, text, fontsize=_NUMBER, va="center_baseline")
    if low < 0 < high:
        ax.hlines(bottom + low / (high - low) * height, left, right, colors=INK, linewidth=1.0)
    beside, name = right + _MARK + 2 * _AFTER + widest(texts, _NUMBER), broken(label, room)
    # A name longer than the scale runs on below it: above it the paper may end.
    middle = max(top + height / 2, top - _ABOVE + widest(name.split("\n"), NAME) / 2)
    ax.text(beside, middle, name, fontsize=NAME, rotation=90, va="center", ha="left")


def beside_scale(limits: tuple[float, float], label: str, more: bool, room: float) -> float:
    """Inches that numbers and name of a standing scale take on its right."""
    texts = [text for _, text in marks_of(*length_of(limits), more)]
    lines = broken(label, room).count("\n") + 1
    return _MARK + 2 * _AFTER + widest(texts, _NUMBER) + lines * _LINE


def lying_scale(
    ax: Axes, place: Place, colours: str | Colormap, limits: tuple[float, float], label: str, room: float
) -> None:
    """A scale at `place` with five numbers below it, and its name below them, at most `room` inches wide."""
    left, top, width, height = place
    values, bottom = np.linspace(*limits, STEPS)[None], top + height
    cells(ax, values, colours, limits, extent=(left, left + width, bottom, top))
    at = np.linspace(left, left + width, 5)
    ax.vlines(at, bottom, bottom + _MARK, colors=INK, linewidth=0.8)
    for x, value in zip(at, np.linspace(*limits, 5), strict=True):
        ax.text(x, bottom + 0.06, f"{value:g}".replace("-", "−"), fontsize=7.5, ha="center", va="top")
    ax.text(left, bottom + 0.22, broken(label, room), fontsize=8, va="top")
