"""A few cells far beyond all others lie beyond the scale of a map, are marked, and are counted in words."""

import numpy as np
import pytest

from tunescope.picture.clipping import clipped
from tunescope.picture.grid import ends_text, heatmap
from tunescope.picture.views import Grid, shared


def grid(values: np.ndarray, title: str = "m") -> Grid:
    rows, columns = values.shape
    return Grid(
        title, tuple(f"L{i}" for i in range(rows)), tuple(f"k{j}" for j in range(columns)), values,
        np.zeros(values.shape, dtype=bool), "‖ΔW‖", (0.0, float(values.max())),
    )  # fmt: skip


@pytest.fixture
def even() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.9, 1.1, (12, 8))


def test_one_cell_far_beyond_all_others_lies_beyond_the_scale(even: np.ndarray) -> None:
    even[3, 2] = 7.0
    (drawn,) = shared([grid(even)])
    assert drawn.limits[1] < 1.11
    assert drawn.beyond.tolist() == [[3, 2]]
    assert "1 cell beyond, to 7" in ends_text(drawn)
    ax = heatmap(drawn)
    assert [line for line in ax.lines if line.get_marker() == "^"]


def test_the_largest_ends_the_scale_where_that_is_asked_for(even: np.ndarray) -> None:
    even[3, 2] = 7.0
    (drawn,) = shared([grid(even)], "largest")
    assert drawn.limits == (0.0, 7.0)
    assert not len(drawn.beyond)


def test_a_hot_band_is_structure_and_not_cut(even: np.ndarray) -> None:
    even[4:6] *= 3
    assert clipped([even]) is None
    (drawn,) = shared([grid(even)])
    assert drawn.limits[1] == even.max()


def test_maps_without_numbers_have_a_scale() -> None:
    assert clipped([]) is None
    assert clipped([np.full((3, 3), np.nan)]) is None
    assert clipped([np.zeros((4, 4))]) is None


def test_what_lies_beyond_ends_at_the_widest_gap() -> None:
    """Steps of one weight that grows lie beyond together, and not some cells of the others with them."""
    others = np.linspace(0.1, 0.4, 2000)
    grown = np.linspace(0.55, 1.0, 12)
    found = clipped([np.concatenate([others, grown])])
    assert found is not None
    assert (found.limit, found.beyond, found.largest) == (0.4, 12, 1.0)
