"""Models by models as a matplotlib drawing: large matrices with their numbers, small ones beside them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from tunescope.picture.cells import broken, cells, colour_map
from tunescope.picture.dusk import dusk
from tunescope.picture.lettering import names, title_text, widest
from tunescope.picture.matrix_views import Matrix
from tunescope.picture.style import DIFFERENCE, INK, new_figure, style

_MARGIN, _TITLE_H, _SCALE_H, _GAP = 0.14, 0.3, 0.9, 0.45
# Points of the name of a scale.
_NAME = 8.0
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
        figure = new_figure(width, height, placed=True)
        if heading:
            figure.text(
                _MARGIN / width, 1 - 0.2 / height, title_text(heading, 90), fontsize=11, fontweight="bold"
            )
        page = (width, height)
        for k, view in enumerate(large):
            left = _MARGIN + room + k * pitch
            _large(figure, view, labels, page, (left, top, side, 0.75 * room, pitch - room - 0.1), font)
        if small:
            _small(figure, small, page, (2 * _MARGIN + len(large) * pitch, top, per_row))
    return figure


def _axes(
    figure: Figure, page: tuple[float, float], left: float, top: float, width: float, height: float
) -> Axes:
    """Axes by inches from the left and from the top."""
    place = (left / page[0], 1 - (top + height) / page[1], width / page[0], height / page[1])
    return figure.add_axes(place)


def _large(
    figure: Figure, view: Matrix, labels: Sequence[str], page: tuple[float, float],
    place: tuple[float, float, float, float, float], font: float,
) -> None:  # fmt: skip
    left, top, side, below, _ = place
    ax = _axes(figure, page, left, top, side, side)
    colours, limits = _scale(view)
    cells(ax, view.values, colours, limits)
    at = range(len(labels))
    ax.set_xticks(at, labels, rotation=45, ha="right", rotation_mode="anchor", fontsize=font)
    ax.set_yticks(at, labels, fontsize=font)
    ax.set_title(title_text(view.title), fontsize=9.5, loc="left")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if len(labels) <= _NUMBERED:
        _write_numbers(ax, view.values, colour_map(colours), limits)
    bar = _axes(figure, page, left, top + side + below + 0.22, min(side, 2.6), 0.12)
    _lying(bar, colours, limits, view.label, place[4])


def _scale(view: Matrix) -> tuple[str | Colormap, tuple[float, float]]:
    return (DIFFERENCE, (-1.0, 1.0)) if view.signed else (dusk(), (0.0, 1.0))


def _lying(bar: Axes, colours: str | Colormap, limits: tuple[float, float], label: str, room: float) -> None:
    cells(bar, np.linspace(*limits, 256)[None], colours, limits, extent=(*limits, 0.0, 1.0))
    bar.set(xlim=limits, ylim=(0, 1), aspect="auto")
    bar.set_yticks([])
    bar.set_xticks(np.linspace(*limits, 5), [f"{v:g}".replace("-", "−") for v in np.linspace(*limits, 5)])
    bar.tick_params(length=2, labelsize=7.5)
    bar.set_xlabel(broken(label, room), fontsize=_NAME, loc="left")
    bar.spines[:].set_visible(False)


def _write_numbers(ax: Axes, values: np.ndarray, colours: Colormap, limits: tuple[float, float]) -> None:
    low, high = limits
    for (y, x), value in np.ndenumerate(values):
        if np.isnan(value):
            text, ink = "–", INK
        else:
            red, green, blue, _ = colours((value - low) / (high - low))
            bright = 0.299 * red + 0.587 * green + 0.114 * blue
            text, ink = _two_digits(value), INK if bright > 0.5 else "white"
        ax.text(x, y, text, ha="center", va="center", fontsize=7, color=ink)


def _two_digits(value: float) -> str:
    """The number with two digits and a true minus sign, which zero has not.

    >>> _two_digits(-0.001), _two_digits(-0.25)
    ('0.00', '−0.25')
    """
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def _small(
    figure: Figure, views: Sequence[Matrix], page: tuple[float, float], at: tuple[float, float, int]
) -> None:
    """All on one axes: axes for each would take longer than everything else."""
    left, top, per_row = at
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.set(xlim=(0, page[0]), ylim=(page[1], 0))
    for k, view in enumerate(views):
        x, y = left + k % per_row * _SMALL_STEP, top + k // per_row * _SMALL_STEP
        cells(ax, view.values, *_scale(view), extent=(x, x + _SMALL, y + _SMALL, y))
        ax.text(x + _SMALL / 2, y - 0.04, view.title, fontsize=7.5, ha="center", va="baseline")
