"""Animated layer profiles: axes drawn once, lines and bands moved frame by frame."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon, Rectangle
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tunescope.errors import UsageError
from tunescope.picture.animation import RGB, durations, pace, write_animation
from tunescope.picture.drawing import Drawn
from tunescope.picture.fonts import families, letter
from tunescope.picture.grid import ends_text
from tunescope.picture.lettering import names, title_text
from tunescope.picture.profiles import widths
from tunescope.picture.sheet import sheet
from tunescope.picture.style import BROKEN, DPI, INK, QUIET, Look, look_of, save, style
from tunescope.picture.views import Grid, shared
from tunescope.questions.trajectory.gallery import Gallery
from tunescope.questions.trajectory.views import Animation, Track
from tunescope.words import named

# Inches, and pixels an inch in the animations: twice a page's, so that dense screens show them sharp.
_WIDTH, _HEIGHT, _DPI = 7.6, 4.3, 200
# Frames of an animation at most: it lasts ten seconds, at four a second. A frame takes 30 ms to draw and
# write: with 60, `trajectory` of 400 checkpoints took 2.1 times as long as reading and measuring them once.
_MOST_FRAMES = 40
_GRID = "#e4e4e0"
_BAND, _BAND_SHARED = 0.20, 0.12
# Names in a legend at the usual size, and signs of one at most.
_LEGEND_LINES, _LONGEST_KEY = 13, 24


def looks_of(keys: Sequence[str]) -> dict[str, Look]:
    """Colour and dashes for every key, the same whatever order they come in."""
    return {key: look_of(i) for i, key in enumerate(sorted(set(keys)))}


class Drawing(Sequence[RGB]):
    """The frames of an animation, drawn when asked for; `draw(i)` also leaves the figure at frame i."""

    def __init__(self, view: Animation, looks: dict[str, Look]) -> None:
        self.view, self.looks = view, looks
        self._power = _power(view.limits)
        canvas: Any
        with style():
            self.figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DPI)
            canvas = FigureCanvasAgg(self.figure)
            shared = len(view.tracks) > 1
            self.axes = self._still_axes(shared)
            wide = widths([track.centre.ravel() for track in view.tracks])
            self._lines = [self._line(*pair, shared) for pair in zip(view.tracks, wide, strict=True)]
            self._caption, self._bar = self._header()
            self._broken = self._warning()
            letter(self.figure)
            canvas.draw()
            self._still = canvas.copy_from_bbox(self.figure.bbox)
            self._canvas = canvas

    def __len__(self) -> int:
        return len(self.view.moments)

    @overload
    def __getitem__(self, i: int) -> RGB: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[RGB]: ...
    def __getitem__(self, i: int | slice) -> RGB | Sequence[RGB]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        self.draw(i)
        with style():
            self._canvas.restore_region(self._still)
            for artist in self.moving():
                self.axes.draw_artist(artist)
        return np.array(self._canvas.buffer_rgba())

    def draw(self, i: int) -> None:
        """Move lines, bands, caption and progress to frame `i`."""
        moment = self.view.moments[i]
        for (line, band), track, capture in zip(self._lines, self.view.tracks, moment.captures, strict=True):
            centre = track.centre[capture] / 10.0**self._power
            spread = track.spread[capture] / 10.0**self._power
            line.set_data(track.layers, centre)
            band.set_xy(_outline(track.layers, centre, spread))
        self._broken.set_text(gaps := _broken(self.view.tracks, moment.captures))
        self._broken.set_fontfamily(families(gaps))
        self._caption.set_text(moment.caption)
        self._bar.set_width(moment.progress)

    def exact(self) -> list[str]:
        """Colours that no palette may change."""
        return ["#ffffff", INK, QUIET, _GRID, *dict.fromkeys(self.looks[t.key][0] for t in self.view.tracks)]

    def moving(self) -> list[Any]:
        """The artists that change from frame to frame, in drawing order."""
        bands = [band for _, band in self._lines]
        return [*bands, *(line for line, _ in self._lines), self._caption, self._bar, self._broken]

    def _still_axes(self, shared: bool) -> Axes:
        right = 0.965 - (_legend_width(self.view) if shared else 0.0)
        ax = self.figure.add_axes((0.105, 0.125, right - 0.105, 0.745))
        low, high = (limit / 10.0**self._power for limit in self.view.limits)
        layers = np.concatenate([t.layers for t in self.view.tracks])
        ax.set_xlim(layers.min() - 0.5, layers.max() + 0.5)
        ax.set_ylim(low, high)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=13, integer=True))
        ax.set_xlabel("layer")
        power = f"×10{_superscript(self._power)} " if self._power else ""
        ax.set_ylabel(f"{self.view.label} ({power}unit of the weights)")
        ax.grid(axis="y", color=_GRID, linewidth=0.8)
        ax.set_axisbelow(True)
        if low < 0 < high:
            ax.axhline(0, color=QUIET, linewidth=0.9, zorder=1)
        if shared:
            self._legend(ax)
        return ax

    def _legend(self, ax: Axes) -> None:
        keys = list(dict.fromkeys(t.key for t in self.view.tracks))
        looks = [self.looks[key] for key in keys]
        marks = [Line2D([], [], color=colour, linestyle=dashes, linewidth=2.0) for colour, dashes in looks]
        size = float(np.clip(9.0 * _LEGEND_LINES / len(keys), 5.0, 9.0))
        most = int(_LEGEND_LINES * 9.0 / size)
        shown = names(keys, _LONGEST_KEY)
        if len(keys) > most:
            marks, shown = [*marks[: most - 1], Line2D([], [], linewidth=0)], shown[: most - 1]
            shown.append(f"and {len(keys) - most + 1} more")
        ax.legend(
            marks, shown, loc="upper left", bbox_to_anchor=(1.015, 1.0), frameon=False, handlelength=2.2,
            labelspacing=0.7, borderaxespad=0, fontsize=size,
        )  # fmt: skip

    def _line(self, track: Track, width: float, shared: bool) -> tuple[Line2D, Polygon]:
        colour, dashes = self.looks[track.key]
        band = Polygon(
            np.zeros((1, 2)), closed=True, facecolor=colour, edgecolor="none",
            alpha=_BAND_SHARED if shared else _BAND, animated=True, zorder=2, visible=self.view.banded,
        )  # fmt: skip
        line = Line2D(
            [], [], color=colour, linestyle=dashes, linewidth=width, solid_joinstyle="round", animated=True,
            zorder=3, marker="o", markersize=3.2, markeredgewidth=0,
        )  # fmt: skip
        self.axes.add_patch(band)
        self.axes.add_line(line)
        return line, band

    def _warning(self) -> Text:
        return self.axes.text(
            0.5, 0.94, "", transform=self.axes.transAxes, ha="center", va="center", fontsize=10,
            fontweight="bold", color=BROKEN, animated=True,
        )  # fmt: skip

    def _header(self) -> tuple[Text, Rectangle]:
        left, right = 0.105, 0.965
        self.figure.text(
            left, 0.94, title_text(self.view.title), fontsize=11.5, fontweight="bold", va="center"
        )
        caption = self.figure.text(right, 0.94, "", fontsize=10.5, ha="right", va="center", animated=True)
        rail = self.axes.get_position()
        track_ax = self.figure.add_axes((rail.x0, 0.888, rail.width, 0.006))
        track_ax.set_axis_off()
        track_ax.set(xlim=(0, 1), ylim=(0, 1))
        track_ax.add_patch(Rectangle((0, 0), 1, 1, color=_GRID, linewidth=0))
        bar = Rectangle((0, 0), 0, 1, color=QUIET, linewidth=0, animated=True)
        track_ax.add_patch(bar)
        return caption, bar


def _broken(tracks: Sequence[Track], captures: Sequence[int]) -> str:
    """Which lines of a frame have gaps because their values are NaN or infinite."""
    shown = [(t, t.broken[capture]) for t, capture in zip(tracks, captures, strict=True)]
    gaps = [(t, broken) for t, broken in shown if broken.any()]
    if not gaps:
        return ""
    which = "" if len(tracks) == 1 else f": {named((title_text(t.label, _LONGEST_KEY) for t, _ in gaps), 3)}"
    layers = "" if all(broken.all() for _, broken in gaps) else " in some layers"
    return f"not finite{layers}{which}"


def _legend_width(view: Animation) -> float:
    """Room for the longest name, as a share of the figure's width."""
    longest = max(map(len, names([track.key for track in view.tracks], _LONGEST_KEY)))
    return 0.07 + 0.0102 * longest


def _outline(
    layers: NDArray[np.int64], centre: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The corners of the band between centre − spread and centre + spread, where both are finite."""
    ok = np.isfinite(centre) & np.isfinite(spread)
    if not ok.any():
        return np.zeros((1, 2))
    x = layers[ok].astype(np.float64)
    lower, upper = centre[ok] - spread[ok], centre[ok] + spread[ok]
    return np.column_stack([np.concatenate([x, x[::-1]]), np.concatenate([lower, upper[::-1]])])


def _power(limits: tuple[float, float]) -> int:
    """The power of ten that the axis is divided by: none between 0.1 and 1,000."""
    top = max(abs(limit) for limit in limits)
    if not top or 0.1 <= top < 1000:
        return 0
    return int(np.floor(np.log10(top)))


def _superscript(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def pictures(
    shown: Gallery,
    fps: float | None,
    hold: float,
    begin: str = "zero",
    beside: Callable[[Sequence[str]], str] = lambda _: "",
) -> list["Animated | Drawn"]:
    """Every picture of a gallery: both animations of each panel, and ‖ΔW‖ by layer and step of each run.

    `beside` is what the caption of a picture of some runs says besides what the picture shows.
    """
    looks = looks_of(shown.keys)
    panels = list(shown.panels())
    maps = shared([panel.norm[1] for panel in panels if panel.norm is not None], begin)
    scaled = iter(maps)
    drawn: list[Animated | Drawn] = []
    for panel in panels:
        more = beside(panel.runs)
        drawn += [Animated(view, looks, fps, hold, more) for view in (panel.mean, panel.abs_mean)]
        if panel.norm is not None:
            name, grid = panel.norm[0], next(scaled)
            caption = f"{grid.label} of every layer at every step: {grid.title}; {ends_text(grid)}."
            drawn.append(Drawn(name, f"{caption} {more}".rstrip(), partial(norm_heatmap, grid)))
    return drawn


@dataclass(frozen=True, eq=False)
class Animated:
    """An animation as a picture of a study: GIF and APNG, and its last frame in other formats."""

    view: Animation
    looks: dict[str, Look]
    fps: float | None = None
    hold: float = 2.0
    beside: str = ""
    on_request: bool = False

    @property
    def name(self) -> str:
        """The stem of its files."""
        return self.view.name

    @property
    def caption(self) -> str:
        """What it shows, from the data, and what is not all there."""
        shown = f"{self.view.alt()} {self.view.subtitle[:1].upper()}{self.view.subtitle[1:]}."
        return f"{shown} {self.beside}".rstrip()

    def draw(self, ax: Any = None, panel: str | None = None) -> Figure:
        """The last frame; it has no panels that could be drawn on given axes."""
        if ax is not None or panel is not None:
            raise UsageError(
                "no-such-panel",
                f"the animation {self.name!r} needs a figure of its own",
                fix="leave ax out",
            )
        return still(Drawing(self.view, self.looks))

    def write(self, folder: Path, formats: Sequence[str]) -> list[Path]:
        """Write `NAME.gif` and `NAME.apng`, and the last frame in each format."""
        drawing = Drawing(self.view.thinned(_MOST_FRAMES), self.looks)
        stem = folder / self.name
        pace_kept = pace(len(drawing)) if self.fps is None else self.fps
        times = durations(len(drawing), pace_kept, self.hold)
        written = write_animation(stem, drawing, times, drawing.exact())
        return written + save(still(drawing), stem, formats, caption=self.caption)


def still(drawing: Drawing) -> Figure:
    """The drawing's figure at its last frame, as a picture that stands on its own."""
    drawing.draw(len(drawing) - 1)
    for artist in drawing.moving():
        artist.set_animated(False)
    drawing.figure.set_dpi(DPI)
    return drawing.figure


def norm_heatmap(view: Grid) -> Figure:
    """The layer × step map of ‖ΔW‖."""
    return sheet([[view]])
