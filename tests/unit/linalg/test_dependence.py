"""Sums of coefficients that can be told of updates which depend on each other: against the null space."""

import numpy as np
import pytest

from tunescope.linalg.dependence import directions, functionals, independent

N = 400


def updates(mixing: list[list[float]], noise: float = 0.0) -> np.ndarray:
    """Combinations of orthonormal rows, with so much of their own."""
    draw = np.random.default_rng(1)
    M = np.array(mixing)
    rows = np.linalg.qr(draw.standard_normal((N, M.shape[1])))[0].T
    own = draw.standard_normal((len(M), N)) / np.sqrt(N)
    made: np.ndarray = M @ rows + noise * own
    return made


DEPENDENT = [
    [[1, 0], [-1, 0], [0, 1]],
    [[1, 0], [0, 1], [1, 1]],
    [[1, 0], [0, 1], [0.5, 0], [2, -3]],
    [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, -1, 0], [0, 2, 1]],
]


@pytest.mark.parametrize("mixing", DEPENDENT)
def test_the_sums_are_all_that_can_be_told_and_nothing_that_cannot(mixing: list[list[float]]) -> None:
    U = updates(mixing)
    F = functionals(U @ U.T, 1e4)
    null = np.linalg.svd(U)[0][:, np.linalg.matrix_rank(U) :]
    assert F.shape == (np.linalg.matrix_rank(U), len(U)) == (np.linalg.matrix_rank(F), len(U))
    np.testing.assert_allclose(F @ null, 0, atol=1e-9)


@pytest.mark.parametrize("mixing", DEPENDENT)
def test_every_merge_is_the_one_of_its_sums(mixing: list[list[float]]) -> None:
    U, draw = updates(mixing), np.random.default_rng(2)
    F = functionals(U @ U.T, 1e4)
    for expected in (np.ones(len(U)), np.zeros(len(U)), draw.standard_normal(len(U))):
        c = draw.standard_normal(len(U))
        np.testing.assert_allclose((F @ c) @ (directions(F, expected) @ U), c @ U, atol=1e-9)


def test_two_that_are_nearly_one_are_exactly_what_was_expected_of_them() -> None:
    U = updates([[1, 0], [1.1, 0], [0, 1]], noise=1e-3)
    F = functionals(U @ U.T, 1e4)
    assert pytest.approx(np.array([[1, 1.1, 0], [0, 0, 1]]), abs=1e-3) == F
    for expected in (np.ones(3), np.array([0.0, 1.0, 1.0]), np.array([1.0, 0.0, 0.5])):
        made = (F @ expected) @ (directions(F, expected) @ U)
        np.testing.assert_allclose(made, expected @ U, atol=1e-9)


def test_an_update_of_zero_is_independent_and_others_keep_their_own_coefficients() -> None:
    U = updates([[1, 0], [0, 0], [0.6, 0.8]])
    assert independent(U @ U.T, 1e4)
    np.testing.assert_array_equal(functionals(U @ U.T, 1e4), np.eye(3))


def test_of_a_sum_whose_first_adapter_is_not_there_the_others_have_its_direction() -> None:
    U = updates([[1, 0], [0, 1]])
    F = np.array([[0.5, 0.0], [0.0, 1.0]])
    for expected in (np.ones(2), np.zeros(2)):
        np.testing.assert_allclose((F @ [3, 2]) @ (directions(F, expected) @ U), [3, 2] @ U, atol=1e-12)
