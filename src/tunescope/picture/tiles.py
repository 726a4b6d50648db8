"""A map's cells on a page: as pixels, and as one rectangle for each run of one colour in a row."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Colours = NDArray[np.uint8]
_LEAST = 1e-8


@dataclass(frozen=True, eq=False)
class Tiles:
    """Colours `(rows, columns, 4)`, and where columns and rows end on the page, whose y rises.

    The edges `x` `(columns + 1,)` and `y` `(rows + 1,)` rise or fall.
    """

    colours: Colours
    x: Float64
    y: Float64

    def within(self, left: float, bottom: float, right: float, top: float) -> "Tiles":
        """The same cells cut off at the sides of a rectangle."""
        return Tiles(self.colours, self.x.clip(left, right), self.y.clip(bottom, top))

    def pixels(self) -> tuple[Colours, int, int]:
        """The cells as pixels `(height, width, 4)` from below, and their first column and row on the page.

        Each pixel has the colour of the cell that its middle lies in.
        """
        # An edge in the middle of a pixel is rounded to the right and down, as matplotlib rounds its images'.
        left, across = _under(self.x + _LEAST)
        bottom, up = _under(self.y - _LEAST)
        codes = self._codes().take(up, axis=0).take(across, axis=1)
        return codes[..., None].view(np.uint8), left, bottom

    def rectangles(self) -> Iterator[tuple[tuple[float, float, float, float], Float64]]:
        """Every colour that is not transparent, and its rectangles as left, bottom, right, top, `(n, 4)`."""
        codes = self._codes()
        first = np.ones(codes.shape, dtype=bool)
        first[:, 1:] = codes[:, 1:] != codes[:, :-1]
        row, begin = np.nonzero(first)
        end = np.where(np.append(row[1:] != row[:-1], True), codes.shape[1], np.append(begin[1:], 0))
        x = np.sort([self.x[begin], self.x[end]], axis=0)
        y = np.sort([self.y[row], self.y[row + 1]], axis=0)
        corners = np.stack([x[0], y[0], x[1], y[1]], axis=1)
        found, counts = np.unique(codes[row, begin], return_counts=True)
        order = np.argsort(codes[row, begin], kind="stable")
        parts = np.split(order, np.cumsum(counts)[:-1])
        for colour, part in zip(found.view(np.uint8).reshape(-1, 4) / 255, parts, strict=True):
            if colour[3]:
                red, green, blue, alpha = colour.tolist()
                yield (red, green, blue, alpha), corners[part]

    def _codes(self) -> NDArray[np.uint32]:
        """Each colour as one number, `(rows, columns)`."""
        return np.ascontiguousarray(self.colours).view(np.uint32)[..., 0]


def _under(edges: Float64) -> tuple[int, NDArray[np.intp]]:
    """The first pixel whose middle lies between the edges, and the cell under it and under each that follows.

    >>> _under(np.array([1.0, 2.5, 4.2]))
    (1, array([0, 0, 1]))
    """
    rises = bool(edges[0] <= edges[-1])
    rising = edges if rises else edges[::-1]
    first, after = (int(np.floor(end + 0.5)) for end in (rising[0], rising[-1]))
    cells = np.searchsorted(rising, np.arange(first, after) + 0.5) - 1
    cells = cells.clip(0, len(edges) - 2)
    return first, cells if rises else len(edges) - 2 - cells
