"""Merge coefficients read back from weights that were merged in every way of going wrong."""

import numpy as np
import pytest

from tunescope.linalg.merging import Way
from tunescope.linalg.replay import Coefficients, Merge, solve
from tunescope.linalg.rounding import rounded

GRIDS = ["bfloat16", "float16", "float32"]
RATIOS = [3e-2, 3e-3, 1e-3, 1e-4, 3e-5]


def weight(grid: str, n: int = 256 * 384) -> np.ndarray:
    return rounded((np.random.default_rng(1).standard_normal(n) * 0.02).astype(np.float32), grid)


def update(
    ratio: float, W: np.ndarray, seed: int | tuple[int, int] = 0, shape: tuple[int, int] = (256, 384)
) -> np.ndarray:
    """A ΔW of rank 4 with ‖ΔW‖ = ratio·‖W‖."""
    draw = np.random.default_rng([7, *np.atleast_1d(seed)])
    D = (draw.standard_normal((shape[0], 4)) @ draw.standard_normal((4, shape[1]))).ravel()
    return (D * (ratio * np.linalg.norm(W) / np.linalg.norm(D))).astype(np.float32)


def solved(W: np.ndarray, after: np.ndarray, *updates: np.ndarray, grid: str) -> Coefficients:
    return solve(Merge(W, after, np.array(updates), Way(grid)))


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("times", [0.5, 1.0, 2.0])
def test_a_merge_is_read_back_however_much_of_it_rounding_ate(grid: str, ratio: float, times: float) -> None:
    W = weight(grid)
    D = update(ratio, W)
    found = solved(W, rounded(W + np.float32(times) * D, grid), D, grid=grid)
    assert found.values[0] == pytest.approx(times, abs=0.002)
    assert abs(found.values[0] - times) <= 3 * found.errors[0]
    assert found.errors[0] < 0.01
    assert found.equal_fraction is not None
    assert found.equal_fraction > 0.999


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("grid", ["bfloat16", "float16"])
def test_a_merger_that_rounded_the_update_first_is_read_back_too(grid: str, ratio: float) -> None:
    W = weight(grid)
    D = update(ratio, W)
    found = solved(W, rounded(W + rounded(D, "bfloat16"), grid), D, grid=grid)
    assert abs(found.values[0] - 1) <= max(3 * found.errors[0], 0.004)


def test_the_plain_projection_of_a_right_merge_falls_short() -> None:
    W = weight("bfloat16")
    kept = [
        solved(W, rounded(W + D, "bfloat16"), D, grid="bfloat16").kept[0]
        for D in (update(ratio, W) for ratio in (3e-3, 1e-3, 1e-4))
    ]
    assert kept == pytest.approx([0.93, 0.54, 0.06], abs=0.03)


def test_nothing_merged_has_coefficient_zero_and_no_changed_values() -> None:
    W = weight("bfloat16")
    found = solved(W, W, update(1e-3, W), grid="bfloat16")
    assert found.values[0] == pytest.approx(0, abs=3 * found.errors[0])
    assert (found.equal_fraction, found.below_grid) == (None, False)


def test_an_update_that_rounds_away_everywhere_lies_below_the_grid() -> None:
    W = np.full(4096, 1.0, np.float32)
    D = np.linspace(-1e-4, 1e-4, 4096, dtype=np.float32)
    found = solved(W, W, D, grid="bfloat16")
    assert found.below_grid
    assert abs(found.values[0] - 1) <= 3 * found.errors[0]


@pytest.mark.parametrize("ratio", [3e-2, 3e-3, 1e-3, 1e-4])
@pytest.mark.parametrize("grid", GRIDS)
def test_four_updates_merged_together_are_unmixed(grid: str, ratio: float) -> None:
    W, planted = weight(grid), np.array([0.7, 0.3, 0.0, -0.2])
    updates = np.array([update(ratio, W, seed) for seed in range(4)])
    after = rounded((W + planted @ updates).astype(np.float32), grid)
    found = solved(W, after, *updates, grid=grid)
    assert (np.abs(found.values - planted) <= 3 * found.errors).all()
    assert (np.abs(found.values - planted) < 0.02).all()


def test_another_change_is_not_explained() -> None:
    W = weight("bfloat16")
    after = rounded(W + update(1e-2, W, 5), "bfloat16")
    found = solved(W, after, update(1e-2, W), grid="bfloat16")
    assert abs(found.values[0]) < 0.2
    assert found.unexplained is not None
    assert found.unexplained > 0.8
    assert found.equal_fraction is not None
    assert found.equal_fraction < 0.7


@pytest.mark.parametrize("times", [64.0, -1.0, 0.01])
def test_large_small_and_negative_coefficients(times: float) -> None:
    W = weight("bfloat16")
    D = update(3e-3, W)
    found = solved(W, rounded(W + np.float32(times) * D, "bfloat16"), D, grid="bfloat16")
    assert found.values[0] == pytest.approx(times, abs=0.002 * max(1, times))


@pytest.mark.parametrize("planted", [(0.7, 0.3), (1.0, 0.0), (1.0, 1.0, 1.0), (0.7, 0.3, 0.0, -0.2)])
@pytest.mark.parametrize("ratio", [3e-2, 1e-3, 1e-4, 3e-5])
@pytest.mark.parametrize("grid", ["bfloat16", "float16"])
def test_errors_of_several_coefficients_cover_them_in_small_modules_too(
    grid: str, ratio: float, planted: tuple[float, ...]
) -> None:
    far = []
    for seed in range(4):
        draw = np.random.default_rng([seed, 3])
        W = rounded((draw.standard_normal(128 * 128) * 0.03).astype(np.float32), grid)
        updates = np.array([update(ratio, W, (seed, i), shape=(128, 128)) for i in range(len(planted))])
        total = W
        for times, D in zip(planted, updates, strict=True):
            total = total + np.float32(times) * D
        found = solved(W, rounded(total, grid), *updates, grid=grid)
        assert found.unexplained is not None
        assert found.unexplained <= 0.02
        assert (found.errors < 0.05).all()
        far += list(np.abs(found.values - planted) / found.errors)
    assert max(far) <= 3


def test_errors_hold_what_two_nearly_parallel_updates_leave_open() -> None:
    grid, W = "bfloat16", weight("bfloat16")
    a, other = update(1e-3, W), update(1e-3, W, 1)
    b = a + np.float32(0.05) * other
    found = solved(W, rounded(W + a, grid), a, b, grid=grid)
    assert (np.abs(found.values - [1, 0]) <= 3 * found.errors).all()
    alone = solved(W, rounded(W + a, grid), a, other, grid=grid)
    assert (found.errors >= alone.errors).all()
