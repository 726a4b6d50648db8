"""Names beside points of a scatter plot, where they cover neither each other nor a point."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from tunescope.render.style import INK, QUIET, figure_of

# Where a name may stand, in points from its mark: near places first.
_DISTANCES = (8.0, 16.0, 28.0, 42.0, 60.0, 80.0)
_DIRECTIONS = ((1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))


def place_labels(
    ax: Axes, x: NDArray[np.float64], y: NDArray[np.float64], named: Sequence[int], names: Sequence[str]
) -> list[Annotation]:
    """Write `names[i]` beside point i for every i in `named`; call it when limits and layout are final.

    A name for which there is no free place within 80 points is left out, since a covered name misleads.
    """
    figure = figure_of(ax)
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    figure.draw_without_rendering()
    points = ax.transData.transform(np.column_stack([x, y]))
    frame = ax.get_window_extent()
    taken: list[Bbox] = []
    placed = []
    for i in named:
        label, box = _placed(ax, (float(x[i]), float(y[i])), names[i], points, frame, taken)
        if label is not None and box is not None:
            placed.append(label)
            taken.append(box)
    return placed


def _placed(
    ax: Axes, at: tuple[float, float], name: str, points: NDArray[np.float64], frame: Bbox, taken: list[Bbox]
) -> tuple[Annotation | None, Bbox | None]:
    label = ax.annotate(
        name, at, (0, 0), textcoords="offset points", fontsize=7.5, color=INK, annotation_clip=False,
        arrowprops={"arrowstyle": "-", "color": QUIET, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 3},
        bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.6},
    )  # fmt: skip
    for distance in _DISTANCES:
        for dx, dy in _DIRECTIONS:
            label.set_position((dx * distance, dy * distance))
            label.set(ha=("right", "center", "left")[dx + 1], va=("top", "center", "bottom")[dy + 1])
            box = _extent(ax, label)
            if _inside(box, frame) and not _covers(box, points) and not any(box.overlaps(b) for b in taken):
                return label, box
    label.remove()
    return None, None


def _extent(ax: Axes, label: Annotation) -> Bbox:
    """The box of the text alone, without the line that leads to its point."""
    label.update_positions(figure_of(ax).canvas.get_renderer())  # type: ignore[attr-defined]
    return super(Annotation, label).get_window_extent()


def _inside(box: Bbox, frame: Bbox) -> bool:
    return bool(box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0 and box.y1 <= frame.y1)


def _covers(box: Bbox, points: NDArray[np.float64], margin: float = 3.0) -> bool:
    inside = (points > (box.x0 - margin, box.y0 - margin)) & (points < (box.x1 + margin, box.y1 + margin))
    return any(bool(row.all()) for row in inside)
