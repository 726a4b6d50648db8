"""Values that move in two changes: what rounding and scales explain is no finding, what they do not is."""

from collections.abc import Callable

import numpy as np
import pytest

from tunescope.linalg.changed import Common, common_changes
from tunescope.linalg.rounding import rounded

N = 512
Scale = Callable[[np.random.Generator], np.ndarray]


def weight() -> np.ndarray:
    return rounded((0.02 * np.random.default_rng(0).standard_normal((N, N))).astype("f4"), "bfloat16")


def moved(W: np.ndarray, steps: np.ndarray, seed: int) -> np.ndarray:
    signs = np.random.default_rng(seed).choice([-1, 1], size=W.shape)
    return rounded(W + (steps * signs).astype("f4"), "bfloat16")


def excess(found: Common) -> float:
    return (found.both - found.given_weight) / min(found.first, found.second)


@pytest.mark.parametrize("step", [3e-6, 3e-5])
def test_tiny_steps_of_two_seeds_move_the_same_values_by_rounding_alone(step: float) -> None:
    W = weight()
    found = common_changes(moved(W, np.array(step), 1) != W, moved(W, np.array(step), 2) != W, np.abs(W))
    assert found.both / min(found.first, found.second) > 0.98
    assert excess(found) < 0.01


@pytest.mark.parametrize("axis", [(0,), (1,), (0, 1)])
def test_a_scale_of_columns_or_rows_in_common_is_explained(axis: tuple[int, ...]) -> None:
    W, draw = weight(), np.random.default_rng(4)
    steps = np.full((N, N), 3e-6)
    if 0 in axis:
        steps = steps * np.exp(draw.standard_normal((N, 1)))
    if 1 in axis:
        steps = steps * np.exp(0.7 * draw.standard_normal((1, N)))
    found = common_changes(moved(W, steps, 1) != W, moved(W, steps, 2) != W, np.abs(W))
    assert excess(found) < 0.05


def test_a_choice_of_values_in_common_is_not_explained() -> None:
    draw = np.random.default_rng(5)
    chosen, noise = draw.random((N, N)) < 0.05, [draw.random((N, N)) < 0.05 for _ in range(2)]
    found = common_changes(chosen | noise[0], chosen | noise[1], np.abs(weight()))
    assert excess(found) > 0.4


def test_unrelated_masks_have_the_overlap_of_chance() -> None:
    draw = np.random.default_rng(6)
    a, b = (draw.random((N, N)) < 0.1 for _ in range(2))
    found = common_changes(a, b, np.abs(weight()))
    assert abs(excess(found)) < 0.01
    assert found.independent == pytest.approx(found.first * found.second / N**2)


def test_nothing_changed_has_nothing_in_common() -> None:
    none = np.zeros((4, 4), bool)
    assert common_changes(none, ~none, np.ones((4, 4))).both == 0
