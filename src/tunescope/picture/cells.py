"""Cells of a map: pixels where a picture has pixels, rectangles where it has vectors; and their scale."""

import re
from collections.abc import Sequence
from io import StringIO
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.image import AxesImage
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import IdentityTransform
from numpy.typing import NDArray

from tunescope.picture.lettering import widest, width_of
from tunescope.picture.rendering import Both
from tunescope.picture.style import BROKEN, INK, MISSING
from tunescope.picture.tiles import Tiles

Float64 = NDArray[np.float64]
# Points by which a rectangle of a PDF overlaps its neighbours, so that no viewer shows a seam between them.
_OVERLAP = 0.15
# Colours of a scale, which no eye tells from all 256 of a map.
STEPS = 128
# Points of the name of a scale.
NAME = 8.5
# What a name ends with in brackets, and what joins the parts of a formula.
_UNIT, _OPERATOR = re.compile(r" \((?=[^()]*\)$)"), re.compile(r" ([/÷−]) ")
_CLOSED = np.array([Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY], dtype=Path.code_type)


class Cells(AxesImage):
    """An image whose cells are one path per colour in SVG and PDF, neighbours of a row in one rectangle."""

    def can_composite(self) -> bool:
        """Never: a composite would be pixels."""
        return False

    def draw(self, renderer: Any) -> None:
        """Draw pixels where the renderer has them, rectangles where it has vectors."""
        if not self.get_visible():
            return
        gc = renderer.new_gc()
        self._set_gc_clip(gc)  # type: ignore[attr-defined]
        gc.set_antialiased(False)
        gc.set_linewidth(_OVERLAP)
        tiles, both = self._tiles(), isinstance(renderer, Both)
        if renderer.seen if both else hasattr(renderer, "buffer_rgba"):
            image, left, bottom = tiles.pixels()
            (renderer.pixels if both else renderer).draw_image(gc, left, bottom, image)
        if both and renderer.text is not None:
            _write(tiles, renderer.vectors, renderer.text, renderer.share)
        elif not both and not hasattr(renderer, "buffer_rgba"):
            _draw(tiles, renderer, gc)
        gc.restore()
        self.stale = False

    def _tiles(self) -> Tiles:
        """The cells on the page, as far as the axes show them."""
        colours = self.to_rgba(np.ma.asarray(self.get_array()), bytes=True)
        rows, columns = colours.shape[:2]
        left, right, bottom, top = self.get_extent()
        begin, end = (top, bottom) if self.origin == "upper" else (bottom, top)
        move = self.get_transform().transform
        x = move(np.column_stack([np.linspace(left, right, columns + 1), np.full(columns + 1, begin)]))[:, 0]
        y = move(np.column_stack([np.full(rows + 1, left), np.linspace(begin, end, rows + 1)]))[:, 1]
        shown = self.get_clip_box()
        tiles = Tiles(colours, x, y)
        return tiles if shown is None else tiles.within(*shown.extents)


def _draw(tiles: Tiles, renderer: Any, gc: Any) -> None:
    """Draw the rectangles by a renderer of vectors."""
    renderer.open_group("cells")
    for colour, corners in tiles.rectangles():
        path = Path(corners[:, [0, 1, 2, 1, 2, 3, 0, 3, 0, 1]].reshape(-1, 2), np.tile(_CLOSED, len(corners)))
        path.should_simplify = False
        gc.set_foreground(colour, isRGBA=True)
        renderer.draw_path(gc, path, IdentityTransform(), colour)
    renderer.close_group("cells")


def _write(tiles: Tiles, vectors: Any, text: StringIO, share: float) -> None:
    """Write the rectangles into the text of the vectors, whose units are `share` of a pixel.

    A call of the renderer, or of its writer, for each colour would take longer than the rest of the picture.
    """
    vectors.open_group("cells")
    # Edges that are not smoothed meet without a seam.
    vectors.writer.start("g", attrib={"shape-rendering": "crispEdges"})
    # A note is what ends the writer's open tag.
    vectors.writer.comment("a path for each colour")
    for rgba, corners in tiles.rectangles():
        ends = corners * share
        ends[:, [1, 3]] = vectors.height - ends[:, [3, 1]]
        path = "".join([f"M{x0:g} {y0:g}H{x1:g}V{y1:g}H{x0:g}z" for x0, y0, x1, y1 in ends.round(2).tolist()])
        red, green, blue, _ = (round(255 * part) for part in rgba)
        text.write(f'<path d="{path}" fill="#{red:02x}{green:02x}{blue:02x}"/>\n')
    vectors.writer.end("g")
    vectors.close_group("cells")


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
    if len(places) == 0:
        return
    x, y, width, height = np.asarray(places, dtype=float).T
    gap = np.full_like(x, np.nan)
    # Around the cell, then its diagonals, each cell apart from the next.
    across = [x, x + width, x + width, x, x, gap, x, x + width, gap, x, x + width, gap]
    down = [y, y, y + height, y + height, y, gap, y, y + height, gap, y + height, y, gap]
    ax.plot(np.ravel(across, "F"), np.ravel(down, "F"), color=BROKEN, linewidth=1)


def beyond(ax: Axes, places: Sequence[tuple[float, float]], size: float) -> None:
    """A triangle in the middle of each cell whose value lies beyond the scale; `size` in points."""
    if len(places) == 0:
        return
    x, y = np.asarray(places, dtype=float).T
    look: dict[str, Any] = {"marker": "^", "color": "white", "markeredgecolor": INK, "markeredgewidth": 0.4}
    ax.plot(x, y, linestyle="none", markersize=size, **look)


def ruled(
    ax: Axes, boxes: Sequence[tuple[float, float, float, float]], shape: tuple[int, int], line: float
) -> None:
    """White lines between the cells, `shape` (rows, columns), of maps given as left, top, width, height."""
    rows, columns = shape
    ends = []
    for left, top, width, height in boxes:
        x = left + width * np.arange(1, columns) / columns
        y = top + height * np.arange(1, rows) / rows
        ends += [[(at, top), (at, top + height)] for at in x]
        ends += [[(left, at), (left + width, at)] for at in y]
    if ends:
        path = Path(np.reshape(ends, (-1, 2)), np.tile([Path.MOVETO, Path.LINETO], len(ends)))
        ax.add_patch(
            PathPatch(path, fill=False, edgecolor="white", linewidth=line, snap=True, capstyle="butt")
        )


def length_of(limits: tuple[float, float]) -> tuple[float, float]:
    """The limits of a scale, of length one where no value lies above the lower end."""
    low, high = limits
    return limits if high > low else (low, low + 1.0)


def scale(
    ax: Axes, colours: str | Colormap, limits: tuple[float, float], label: str,
    marks: Sequence[tuple[float, str]] = (), more: bool = False, room: float = 9.0,
) -> None:  # fmt: skip
    """Fill the axes with the scale of a map: its colours, its limits as numbers, and what it measures.

    `marks` replace the numbers beside it; `more` marks the upper end where values lie above it. `room` are
    the inches along it that its name may take before it is broken.
    """
    limits = length_of(limits)
    low, high = limits
    ramp = np.linspace(low, high, STEPS)[:, None]
    cells(ax, ramp, colours, limits, extent=(0.0, 1.0, low, high), origin="lower")
    ax.set(xlim=(0, 1), ylim=limits, aspect="auto")
    ax.set_xticks([])
    ax.yaxis.tick_right()
    ax.yaxis.set_label_position("right")
    places, texts = zip(*(marks or marks_of(low, high, more)), strict=True)
    ax.set_yticks(places, texts)
    ax.tick_params(length=2, labelsize=8)
    ax.set_ylabel(broken(label, room), fontsize=NAME)
    ax.spines[:].set_visible(False)
    if low < 0 < high:
        ax.axhline(0, color=INK, linewidth=1.0)


def broken(label: str, room: float) -> str:
    """The name of a scale on as few lines as there is room for: before a unit, else between words.

    >>> broken("difference of ‖ΔW‖_F / √d_out (unit of the weights)", 1.6)
    'difference of\\n‖ΔW‖_F / √d_out\\n(unit of the weights)'
    """
    if width_of(label, NAME) <= room:
        return label
    lines = _UNIT.sub("\n(", label)
    if widest(lines.split("\n"), NAME) <= room:
        return lines
    # A formula is one word.
    words = _OPERATOR.sub("\N{NO-BREAK SPACE}\\1\N{NO-BREAK SPACE}", lines)
    filled = "\n".join(_filled(line.split(" "), room) for line in words.split("\n"))
    return filled.replace("\N{NO-BREAK SPACE}", " ")


def _filled(words: Sequence[str], room: float) -> str:
    """Words on lines that are no wider than the room, unless a word alone is."""
    lines = [words[0]]
    for word in words[1:]:
        longer = f"{lines[-1]} {word}"
        if width_of(longer, NAME) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def marks_of(low: float, high: float, more: bool) -> list[tuple[float, str]]:
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
