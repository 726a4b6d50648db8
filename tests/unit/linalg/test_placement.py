"""Chance of updates that lie on few coordinates: placements of their own coordinates."""

import numpy as np
import pytest

from tunescope.linalg.chance import phi_tail, trace_variance
from tunescope.linalg.placement import Placed


def subspace(random: np.random.Generator, d: int, k: int, uneven: float = 0.0) -> np.ndarray:
    rows = np.exp(uneven * random.standard_normal((d, 1)))
    return np.linalg.qr(rows * random.standard_normal((d, k)))[0]


def placed_at_random(random: np.random.Generator, V: np.ndarray) -> np.ndarray:
    return random.choice([-1.0, 1.0], size=(len(V), 1)) * V[random.permutation(len(V))]


@pytest.mark.parametrize("uneven", [0.0, 1.5])
def test_the_variance_is_that_of_drawn_placements(uneven: float) -> None:
    random = np.random.default_rng(0)
    U, V = subspace(random, 32, 3, uneven), subspace(random, 32, 5, uneven)
    drawn = [float(((U.T @ placed_at_random(random, V)) ** 2).sum()) for _ in range(4000)]
    expected = float(Placed(U, V).variance(np.array(3.0), np.array(5.0)))
    assert np.mean(drawn) == pytest.approx(3 * 5 / 32, rel=0.05)
    if uneven:
        assert np.var(drawn) == pytest.approx(expected, rel=0.15)
    assert expected >= float(trace_variance(np.array(3.0), np.array(5.0), 32))


def test_spread_subspaces_are_even_and_ones_on_few_coordinates_are_not() -> None:
    random = np.random.default_rng(1)
    assert Placed(subspace(random, 512, 8), subspace(random, 512, 8)).even
    assert not Placed(subspace(random, 512, 8, 1.5), subspace(random, 512, 8, 1.5)).even


def test_axes_that_meet_by_chance_are_rare_for_rotations_alone() -> None:
    """One of four axes in common among 32: two draws in five have as much."""
    U, V = np.eye(32)[:, :4], np.eye(32)[:, 3:7]
    one = np.array(4.0)
    assert float(phi_tail(np.array(0.25), one, one, 32)) < 0.06
    assert 0.3 < Placed(U, V).p_whole(0.25) < 0.55
    mean, deviation, draws = Placed(U, V).counts(0.9)
    assert mean == pytest.approx(0.5, abs=0.1)
    assert deviation > 0.5
    assert draws == 1000


def test_p_of_independent_uneven_updates_is_no_smaller_than_chance() -> None:
    random, found = np.random.default_rng(2), []
    for _ in range(150):
        U, V = subspace(random, 24, 2, 1.2), subspace(random, 24, 2, 1.2)
        found.append(Placed(U, V).p_whole(float(((U.T @ V) ** 2).sum()) / 2))
    assert np.mean(np.array(found) <= 0.05) <= 0.1


def test_directions_in_common_stay_rare_where_coordinates_are_uneven() -> None:
    random = np.random.default_rng(3)
    U = subspace(random, 128, 4, 1.0)
    assert Placed(U, U).p_whole(1.0) < 1e-6
    assert Placed(U, U).p_leading(np.ones(4)) < 1e-6
