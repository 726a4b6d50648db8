"""Names beside points of a scatter plot, where they cover neither each other nor a point."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from tunescope.picture.style import INK, QUIET, figure_of

Floats = NDArray[np.float64]
# Where a name may stand, in points from its mark: near places first.
_DISTANCES = (8.0, 16.0, 28.0, 42.0, 60.0, 80.0)
_DIRECTIONS = ((1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))
# What a leader over another point or name costs, in points of distance.
_CROSSING = 40.0


@dataclass(eq=False)
class _Taken:
    """What is on the axes already, in pixels: marks, names, and samples of the lines between them."""

    frame: Bbox
    marks: Floats
    boxes: list[Bbox] = field(default_factory=list)
    leaders: list[Floats] = field(default_factory=list)

    def free(self, box: Bbox) -> bool:
        """Whether a name fits here without covering a mark or another name."""
        inside = box.x0 >= self.frame.x0 and box.x1 <= self.frame.x1
        inside = bool(inside and box.y0 >= self.frame.y0 and box.y1 <= self.frame.y1)
        return inside and not _hits(box, self.marks) and not any(box.overlaps(other) for other in self.boxes)

    def crossings(self, box: Bbox, leader: Floats, own: int) -> int:
        """How many marks, names and leaders the leader runs over, and how many leaders the name covers."""
        marks = sum(_near(leader, mark[None]) for mark in np.delete(self.marks, own, axis=0))
        names = sum(_hits(other, leader, 0.0) for other in self.boxes)
        return marks + names + sum(_near(leader, other) + _hits(box, other, 0.0) for other in self.leaders)


def place_labels(
    ax: Axes, x: Floats, y: Floats, named: Sequence[int], names: Sequence[str]
) -> list[Annotation]:
    """Write `names[i]` beside point i for every i in `named`; call it when limits and layout are final.

    A name for which there is no free place within 80 points is left out, since a covered name misleads.
    """
    figure_of(ax).draw_without_rendering()
    taken = _Taken(ax.get_window_extent(), ax.transData.transform(np.column_stack([x, y])))
    # From the right, since names run to the right of their marks first.
    order = sorted(named, key=lambda i: -float(x[i]))
    placed = [_placed(ax, (float(x[i]), float(y[i])), i, names[i], taken) for i in order]
    return [label for label in placed if label is not None]


def _placed(ax: Axes, at: tuple[float, float], own: int, name: str, taken: _Taken) -> Annotation | None:
    label = ax.annotate(
        name, at, (0, 0), textcoords="offset points", fontsize=7.5, color=INK, annotation_clip=False,
        arrowprops={"arrowstyle": "-", "color": QUIET, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 3},
        bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.6},
    )  # fmt: skip
    best: tuple[float, float, int, int] | None = None
    for distance in _DISTANCES:
        for dx, dy in _DIRECTIONS:
            box = _move(ax, label, distance, dx, dy)
            if taken.free(box):
                cost = distance + _CROSSING * taken.crossings(box, _leader(box, taken.marks[own]), own)
                best = min(best or (np.inf, 0.0, 0, 0), (cost, distance, dx, dy), key=lambda found: found[0])
    if best is None:
        label.remove()
        return None
    box = _move(ax, label, *best[1:])
    taken.boxes.append(box)
    taken.leaders.append(_leader(box, taken.marks[own]))
    return label


def _move(ax: Axes, label: Annotation, distance: float, dx: int, dy: int) -> Bbox:
    """Put the name there; the box of its text alone, without the line that leads to its point."""
    label.set_position((dx * distance, dy * distance))
    label.set(ha=("right", "center", "left")[dx + 1], va=("top", "center", "bottom")[dy + 1])
    label.update_positions(figure_of(ax).canvas.get_renderer())  # type: ignore[attr-defined]
    return super(Annotation, label).get_window_extent()


def _leader(box: Bbox, mark: Floats) -> Floats:
    """Points along the line from the middle of a name to its mark."""
    middle = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
    along: Floats = np.linspace(0, 1, 24)[:, None] * (mark - middle)
    return middle + along


def _near(line: Floats, points: Floats) -> bool:
    return bool(np.abs(line[:, None] - points[None]).max(-1).min() < 4.0)


def _hits(box: Bbox, points: Floats, margin: float = 3.0) -> bool:
    inside = (points > (box.x0 - margin, box.y0 - margin)) & (points < (box.x1 + margin, box.y1 + margin))
    return bool(np.any(inside[:, 0] & inside[:, 1]))
