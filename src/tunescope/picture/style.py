"""One look for every figure: fonts, colours, axes, saving."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from tunescope.picture.encoding import encoded
from tunescope.picture.fonts import HOUSE, letter
from tunescope.writing import write_atomically

CHANGE = "YlOrRd"
IMPORTANCE = "GnBu"
DIFFERENCE = "RdBu_r"
MISSING = "#f2f2f0"
BROKEN = "#c2185b"
INK = "#2b2b2b"
QUIET = "#8a8a86"
GRID = "#e4e4e0"
# Okabe and Ito's palette, which stays distinct for colour-blind readers; black comes last.
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", "#000000")
Dashes = Literal["-", "--", ":", "-."]
Look = tuple[str, Dashes]
_DASHES: tuple[Dashes, ...] = ("-", "--", ":", "-.")
FAMILY_COLOURS = {
    "mlp": "#D55E00",
    "attention": "#0072B2",
    "norm": "#009E73",
    "embedding": "#CC79A7",
    "other": "#8a8a86",
}
# Pixels an inch of a picture; it is laid out at what it is saved at, since texts are not equally wide at all.
DPI = 150
_RC: dict[str, Any] = {
    "font.family": [HOUSE],
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "tunescope",
    "pdf.fonttype": 42,
    "image.composite_image": False,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    # Hinted letters take longer to draw than all else, and are not equally wide in pixels and in vectors.
    "text.hinting": "no_hinting",
    "text.parse_math": False,
}


def look_of(place: int) -> Look:
    """Colour and dashes of the line at `place`: no two alike among four times as many as there are colours.

    >>> look_of(0), look_of(8)
    (('#0072B2', '-'), ('#0072B2', '--'))
    """
    return CYCLE[place % len(CYCLE)], _DASHES[place // len(CYCLE) % len(_DASHES)]


@contextmanager
def style() -> Iterator[None]:
    """The house style, for drawing and for saving."""
    with matplotlib.rc_context(_RC):  # type: ignore[arg-type]
        yield


class Shown(Figure):
    """A figure that a notebook shows as it is: without pyplot no one else tells it how."""

    def draw(self, renderer: Any) -> None:
        """Draw the figure, its labels with fonts that have their signs."""
        letter(self)
        super().draw(renderer)

    def _repr_png_(self) -> bytes:
        written = BytesIO()
        with style():
            self.savefig(written, format="png")
        return written.getvalue()


def new_figure(width: float, height: float, placed: bool = False) -> Shown:
    """An Agg figure of `width` × `height` inches, its layout constrained or `placed` by whoever draws it."""
    figure = Shown(figsize=(width, height), dpi=DPI, layout=None if placed else _layout())
    FigureCanvasAgg(figure)
    return figure


def _layout() -> ConstrainedLayoutEngine:
    """A margin that holds what a text takes more where its letters are rounded to other pixels."""
    return ConstrainedLayoutEngine(w_pad=0.07, h_pad=0.05)


def own_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The given axes, or those of a new figure."""
    return ax if ax is not None else new_figure(width, height).add_subplot()


def figure_of(ax: Axes) -> Figure:
    """The figure that holds the axes."""
    figure = ax.get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure


def freeze(figure: Figure, times: int = 1) -> None:
    """Lay the figure out once and for all; with an engine it would be drawn twice for every file.

    Scales whose place is a share of their map's width settle the more often the layout is found, `times`.
    """
    letter(figure)
    engine = figure.get_layout_engine()
    if engine is not None:
        for _ in range(times):
            engine.execute(figure)
    figure.set_layout_engine(None)


def save(figure: Figure, stem: Path, formats: Sequence[str] = ("png",), caption: str = "") -> list[Path]:
    """Write the figure as `stem.png` and so on, atomically and without a date, so bytes repeat.

    Text is text in SVG and PDF, and maps are rectangles.
    """
    with style():
        freeze(figure)
        contents = encoded(figure, formats, caption)
    # Not by with_suffix, which would take the end of a name with a dot in it.
    return [
        write_atomically(stem.with_name(f"{stem.name}.{kind}"), partial(_put, contents[kind]))
        for kind in formats
    ]


def _put(content: bytes, out: Any) -> None:
    out.write(content)
