"""The crossing of one coefficient is that of a search that replays every value every time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tunescope.linalg.crossing import crossing
from tunescope.linalg.merging import Way
from tunescope.linalg.rounding import rounded

Array = np.ndarray[Any, np.dtype[Any]]
GRIDS = ["bfloat16", "float16", "float32"]
NEAR = {"bfloat16": 1e-6, "float16": 1e-6, "float32": 1e-9}


def module(grid: str, ratio: float, n: int = 64 * 97) -> tuple[Array, Array]:
    """A weight on a grid and an update with ‖ΔW‖ = ratio·‖W‖, in the precision of its merger."""
    draw = np.random.default_rng(5)
    W = rounded((0.02 * draw.standard_normal(n)).astype(np.float32), grid)
    D = draw.standard_normal(n).astype(np.float32)
    D *= np.float32(ratio * np.linalg.norm(W) / np.linalg.norm(D))
    kind: Any = np.float64 if grid == "float32" else np.float32
    return W.astype(kind), D.astype(kind)


def merged(W: Array, D: Array, c: float, grid: str) -> Array:
    return rounded(W + W.dtype.type(c) * D, grid).astype(W.dtype)


def searched(W: Array, after: Array, D: Array, way: Way) -> tuple[float, float]:
    """The ends of the coefficients for which the whole moment is zero, by bisection in float64."""

    def moment(c: float) -> float:
        rest = way.replayed(W, D[None], [c]).astype(np.float64) - after
        return float(np.dot(rest, D.astype(np.float64)))

    ends = []
    for holds in (lambda c: moment(c) < 0, lambda c: moment(c) <= 0):
        low, high = -200.0, 200.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if holds(middle) else (low, middle)
        ends.append(high)
    return ends[0], ends[1]


@pytest.mark.parametrize("ratio", [3e-2, 1e-3, 3e-5])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("times", [1.0, 2.0, 0.5, 0.0, -1.0, 0.013, 64.0])
def test_it_is_the_middle_of_what_a_search_over_all_values_finds(
    grid: str, ratio: float, times: float
) -> None:
    W, D = module(grid, ratio)
    after = merged(W, D, times, grid)
    found, width = crossing(W, after, D, Way(grid), NEAR[grid])
    below, above = searched(W, after, D, Way(grid))
    near = 2 * NEAR[grid] * max(1.0, abs(times))
    assert found == pytest.approx((below + above) / 2, abs=near + (above - below) / 8)
    assert width == pytest.approx(above - below, abs=2 * near + (above - below) / 4)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("way", ["halves", "rounds_updates", "other"])
def test_it_is_so_for_other_ways_of_merging_and_for_weights_that_none_explains(grid: str, way: str) -> None:
    W, D = module(grid, 1e-3)
    tried = Way(grid, (0, 0)) if way == "halves" else Way(grid, rounds_updates=way == "rounds_updates")
    after = tried.replayed(W, D[None], [0.7])
    if way == "other":
        noise = np.random.default_rng(9).standard_normal(W.size) * np.abs(D).mean()
        after = rounded(after + noise.astype(W.dtype), grid)
    after = after.astype(W.dtype)
    found, _ = crossing(W, after, D, tried, NEAR[grid])
    below, above = searched(W, after, D, tried)
    assert found == pytest.approx((below + above) / 2, abs=4 * NEAR[grid] + (above - below) / 8)


def test_values_that_leave_the_range_of_the_grid_are_no_obstacle() -> None:
    W = np.array([60000.0, -60000.0, 1.0, 2.0] * 64, np.float32)
    D = np.array([500.0, 500.0, 0.25, -0.5] * 64, np.float32)
    found, _ = crossing(W, merged(W, D, 1, "float16"), D, Way("float16"), 1e-6)
    assert merged(W, D, found, "float16").tolist() == merged(W, D, 1, "float16").tolist()


def test_an_update_that_is_everywhere_below_the_grid_leaves_a_wide_interval_open() -> None:
    W, D = np.ones(512, np.float32), np.linspace(-1e-4, 1e-4, 512, dtype=np.float32)
    middle, width = crossing(W, W, D, Way("bfloat16"), 1e-6)
    below, above = searched(W, W, D, Way("bfloat16"))
    assert middle - width / 2 == pytest.approx(below, rel=1e-3)
    assert middle + width / 2 == pytest.approx(above, rel=0.1)


@dataclass(frozen=True)
class Counted(Way):
    """A way that notes how many values it replays."""

    sizes: list[int] = field(default_factory=list, compare=False)

    def replayed(self, W: Array, updates: Array, coefficients: Sequence[float] | Array) -> Array:
        self.sizes.append(W.size)
        return super().replayed(W, updates, coefficients)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("times", [1.0, 2.0, 0.5, 0.0, 0.013])
def test_no_more_than_twelve_times_all_values_are_replayed(grid: str, times: float) -> None:
    W, D = module(grid, 1e-2, 1 << 16)
    way = Counted(grid)
    crossing(W, merged(W, D, times, grid), D, way, NEAR[grid])
    assert sum(way.sizes) <= 12 * W.size
