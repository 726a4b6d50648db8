"""Cells of a map: pixels where a picture has pixels, rectangles where it has vectors; and their scale."""

from collections.abc import Sequence
from textwrap import fill
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.image import AxesImage
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tunescope.picture.lettering import widest, width_of
from tunescope.picture.style import BROKEN, INK, MISSING

Float64 = NDArray[np.float64]
# Points by which a rectangle overlaps its neighbours, so that no viewer shows a seam between them.
_OVERLAP = 0.15
# Points of the name of a scale.
_NAME = 8.5
_CLOSED = np.array([Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY], dtype=Path.code_type)


class Cells(AxesImage):
    """An image whose cells are one path per colour in SVG and PDF, neighbours of a row in one rectangle."""

    def can_composite(self) -> bool:
        """Never: a composite would be pixels."""
        return False

    def draw(self, renderer: Any) -> None:
        """Draw pixels with a renderer that has them, else rectangles."""
        if hasattr(renderer, "buffer_rgba"):
            super().draw(renderer)
            return
        if not self.get_visible():
            return
        renderer.open_group("cells", self.get_gid())
        gc = renderer.new_gc()
        self._set_gc_clip(gc)  # type: ignore[attr-defined]
        gc.set_antialiased(False)
        gc.set_linewidth(_OVERLAP)
        for colour, path in self._paths():
            gc.set_foreground(colour, isRGBA=True)
            renderer.draw_path(gc, path, self.get_transform(), colour)
        gc.restore()
        renderer.close_group("cells")
        self.stale = False

    def _paths(self) -> list[tuple[tuple[float, ...], Path]]:
        """The colours that occur, each with the rectangles that have it."""
        rgba = np.ascontiguousarray(self.to_rgba(np.ma.asarray(self.get_array()), bytes=True))
        codes = rgba.view(np.uint32)[..., 0]
        rows, columns = codes.shape
        first = np.ones(codes.shape, dtype=bool)
        first[:, 1:] = codes[:, 1:] != codes[:, :-1]
        y, x = np.nonzero(first)
        end = np.where(np.append(y[1:] != y[:-1], True), columns, np.append(x[1:], columns))
        left, right, bottom, top = self.get_extent()
        begin = top if self.origin == "upper" else bottom
        step_x, step_y = (right - left) / columns, (bottom - top) / rows
        step_y = step_y if self.origin == "upper" else -step_y
        x0, x1, y0, y1 = left + x * step_x, left + end * step_x, begin + y * step_y, begin + (y + 1) * step_y
        corners = np.stack([x0, y0, x1, y0, x1, y1, x0, y1, x0, y0], axis=1).reshape(-1, 5, 2)
        colours = codes[y, x]
        found = []
        for code in np.unique(colours):
            chosen = corners[colours == code]
            colour = tuple(float(v) / 255 for v in np.array([code]).view(np.uint8))
            if colour[3]:
                path = Path(chosen.reshape(-1, 2), np.tile(_CLOSED, len(chosen)))
                path.should_simplify = False
                found.append((colour, path))
        return found


def cells(
    ax: Axes,
    values: Float64,
    colours: str | Colormap,
    limits: tuple[float, float],
    extent: tuple[float, float, float, float] | None = None,
    origin: Literal["upper", "lower"] = "upper",
) -> Cells:
    """Put values (rows, columns) on the axes, row 0 on top; NaN is pale. The axes' limits follow `extent`."""
    rows, columns = values.shape
    whole = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    if origin == "lower":
        whole = (-0.5, columns - 0.5, -0.5, rows - 0.5)
    image = Cells(
        ax, cmap=colour_map(colours), norm=Normalize(*limits), extent=extent or whole, origin=origin,
        interpolation="nearest",
    )  # fmt: skip
    image.set_data(values)
    image.set_clip_path(ax.patch)
    ax.add_image(image)
    if extent is None:
        ax.set(xlim=whole[:2], ylim=whole[2:], aspect="auto")
    return image


def colour_map(colours: str | Colormap) -> Colormap:
    """A map by its name, pale where there is no number."""
    if isinstance(colours, Colormap):
        return colours
    return matplotlib.colormaps[colours].with_extremes(bad=MISSING)


def cross(ax: Axes, places: Sequence[tuple[float, float, float, float]]) -> None:
    """Cross out cells, given as left, top, width, height: a module is there, but its number is not finite."""
    for x, y, width, height in places:
        ax.plot([x, x + width, x + width, x, x], [y, y, y + height, y + height, y], color=BROKEN, linewidth=1)
        ax.plot([x, x + width], [y, y + height], color=BROKEN, linewidth=1)
        ax.plot([x, x + width], [y + height, y], color=BROKEN, linewidth=1)


def beyond(ax: Axes, places: Sequence[tuple[float, float]], size: float) -> None:
    """A triangle in the middle of each cell whose value lies beyond the scale; `size` in points."""
    for x, y in places:
        ax.plot(
            [x], [y], marker="^", color="white", markeredgecolor=INK, markeredgewidth=0.4, markersize=size
        )


def scale(
    ax: Axes, colours: str | Colormap, limits: tuple[float, float], label: str,
    marks: Sequence[tuple[float, str]] = (), more: bool = False, room: float = 9.0,
) -> None:  # fmt: skip
    """Fill the axes with the scale of a map: its colours, its limits as numbers, and what it measures.

    `marks` replace the numbers beside it; `more` marks the upper end where values lie above it. `room` are
    the inches along it that its name may take before it is broken.
    """
    low, high = limits
    if high <= low:
        # No value lies above the lower end: all cells have its colour, and the scale still needs a length.
        high, limits = low + 1.0, (low, low + 1.0)
    ramp = np.linspace(low, high, 256)[:, None]
    cells(ax, ramp, colours, limits, extent=(0.0, 1.0, low, high), origin="lower")
    ax.set(xlim=(0, 1), ylim=limits, aspect="auto")
    ax.set_xticks([])
    ax.yaxis.tick_right()
    ax.yaxis.set_label_position("right")
    places, texts = zip(*(marks or _marks(low, high, more)), strict=True)
    ax.set_yticks(places, texts)
    ax.tick_params(length=2, labelsize=8)
    ax.set_ylabel(broken(label, room), fontsize=_NAME)
    ax.spines[:].set_visible(False)
    if low < 0 < high:
        ax.axhline(0, color=INK, linewidth=1.0)


def broken(label: str, room: float) -> str:
    """The name of a scale on as few lines as there is room for, broken before what stands in brackets."""
    if width_of(label, _NAME) <= room:
        return label
    lines = label.replace(" (", "\n(")
    return (
        lines
        if widest(lines.split("\n"), _NAME) <= room
        else fill(label, max(int(room / 0.075), 12), break_long_words=False)
    )


def _marks(low: float, high: float, more: bool) -> list[tuple[float, str]]:
    """Both limits, and round numbers between them that come near neither."""
    room = 0.12 * (high - low)
    inside = [
        v
        for v in MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        if low + room < v < high - room
    ]
    ends = [(low, number(low)), (high, ("≥ " if more else "") + number(high))]
    return [ends[0], *((v, number(v)) for v in inside), ends[1]]


def number(value: float) -> str:
    """Three digits, a true minus sign, and no exponent between a thousandth and a million.

    >>> number(0.15349), number(-2.5e-7), number(0.0), number(128.0)
    ('0.153', '−2.5e−7', '0', '128')
    """
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        digits = 3 if abs(value) < 1000 else 0
        text = f"{value:.{digits}g}" if digits else f"{value:.0f}"
    else:
        mantissa, _, power = f"{value:.2e}".partition("e")
        text = f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"
    return text.replace("-", "−")
