"""Block iteration, amplification and intruders against full dense SVDs."""

import numpy as np
import pytest

from tunescope.linalg import amplification
from tunescope.linalg.intruders import best_cosines
from tunescope.linalg.leading import Sum, leading
from tunescope.linalg.overlap import orthonormal

SHAPES = [(120, 80), (80, 120), (100, 100)]


def weight(shape: tuple[int, int], decay: float, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    U, values, Vt = np.linalg.svd(random.standard_normal(shape), full_matrices=False)
    return (U * (np.arange(1, len(values) + 1.0) ** -decay if decay else values)) @ Vt


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("decay", [0.0, 0.7])
def test_leading_triplets_are_those_of_the_dense_svd(shape: tuple[int, int], decay: float) -> None:
    W = weight(shape, decay)
    U, values, Vt = np.linalg.svd(W, full_matrices=False)
    found = leading(Sum(W), 6, tolerance=1e-8)
    np.testing.assert_allclose(found.values, values[:6], rtol=1e-10)
    np.testing.assert_allclose(np.abs(np.sum(found.U * U[:, :6], axis=0)), 1.0, atol=1e-8)
    np.testing.assert_allclose(np.abs(np.sum(found.V * Vt[:6].T, axis=0)), 1.0, atol=1e-8)
    assert found.residual <= 1e-8


def test_the_sum_is_never_formed_and_equals_the_formed_one() -> None:
    W, random = weight((60, 50), 0.5), np.random.default_rng(1)
    B, A = random.standard_normal((60, 3)), random.standard_normal((3, 50))
    values = np.linalg.svd(W + B @ A, compute_uv=False)
    np.testing.assert_allclose(leading(Sum(W, B, A), 4, tolerance=1e-9).values, values[:4], rtol=1e-9)


def test_a_direction_orthogonal_to_the_start_is_found_all_the_same() -> None:
    W = np.diag(np.arange(30, 0, -1.0))
    start = np.eye(30)[:, 1:4]
    found = leading(Sum(W), 2, start=start, tolerance=1e-9)
    np.testing.assert_allclose(found.values, [30.0, 29.0], rtol=1e-9)


def test_more_directions_than_there_are_are_cut() -> None:
    assert len(leading(Sum(weight((12, 9), 0.5)), 40).values) == 9


def test_projected_norms_are_those_of_the_dense_product() -> None:
    W, random = weight((50, 40), 0.4), np.random.default_rng(2)
    U, V = (np.linalg.qr(random.standard_normal((d, 5)))[0] for d in (50, 40))
    norms = amplification.projected_norms(amplification.projected(W, U, V), [2, 5, 9])
    assert norms == {k: pytest.approx(np.linalg.norm(U[:, :k].T @ W @ V[:, :k])) for k in (2, 5)}


def test_random_directions_are_orthonormal_and_repeat_with_the_seed() -> None:
    Q = amplification.random_directions(30, 4, seed=3)
    np.testing.assert_allclose(Q.T @ Q, np.eye(4), atol=1e-12)
    assert np.array_equal(Q, amplification.random_directions(30, 4, seed=3))


@pytest.mark.parametrize("shape", [*SHAPES, (300, 90)])
@pytest.mark.parametrize("decay", [0.0, 0.8])
@pytest.mark.parametrize("size", [0.05, 1.3])
def test_intruders_are_those_that_the_full_svds_give(
    shape: tuple[int, int], decay: float, size: float
) -> None:
    W, random = weight(shape, decay), np.random.default_rng(5)
    B, A = random.standard_normal((shape[0], 3)), random.standard_normal((3, shape[1]))
    B *= size * np.linalg.norm(W, 2) / np.linalg.norm(B @ A, 2)
    top = leading(Sum(W), 15, tolerance=1e-8)
    start = np.hstack([top.V[:, :8], orthonormal(A.T)[0]])
    changed = leading(Sum(W, B, A), 8, start=start, tolerance=1e-8)
    found, _ = best_cosines(W, changed.U, top, epsilon=0.5)

    before, after = (np.linalg.svd(M, full_matrices=False)[0] for M in (W, W + B @ A))
    exact = np.abs(before.T @ after[:, :8]).max(axis=0)
    assert ((found < 0.5) == (exact < 0.5)).all()
    assert (found >= exact - 1e-6).all()
    np.testing.assert_allclose(found[found >= 0.5], exact[found >= 0.5], atol=1e-5)
    assert bool((exact < 0.5).any()) is (size > 1)


@pytest.mark.parametrize("shape", [(192, 48), (120, 120)])
def test_directions_outside_a_tall_or_fading_matrix_are_told_apart_too(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(2)
    W = random.standard_normal(shape) * np.exp(-np.arange(shape[1]) / 16)
    W = W.astype(np.float32)
    top = leading(Sum(W), 12)
    directions = np.linalg.qr(random.standard_normal((shape[0], 6)))[0]
    found, sure = best_cosines(W, directions, top, epsilon=0.5)
    exact = np.abs(np.linalg.svd(W.astype(np.float64), full_matrices=False)[0].T @ directions).max(axis=0)
    np.testing.assert_array_equal(found < 0.5, exact < 0.5)
    np.testing.assert_allclose(found[sure], exact[sure], atol=1e-3)
    assert (found >= exact - 1e-3).all()


def test_an_unchanged_weight_has_no_intruders() -> None:
    W = weight((40, 40), 0.6)
    top = leading(Sum(W), 12, tolerance=1e-8)
    np.testing.assert_allclose(best_cosines(W, top.U[:, :5], top, 0.5)[0], 1.0, atol=1e-7)


@pytest.mark.parametrize("shape", [(200, 64), (64, 200), (90, 90)])
def test_a_cosine_that_is_called_exact_is_that_of_the_full_svd_also_for_a_steep_spectrum(
    shape: tuple[int, int],
) -> None:
    random, k = np.random.default_rng(7), min(shape)
    left, right = (np.linalg.qr(random.standard_normal((d, k)))[0] for d in shape)
    W = ((left * 10.0 ** -np.linspace(0, 6, k)) @ right.T).astype(np.float32)
    B, A = random.standard_normal((shape[0], 8)), random.standard_normal((8, shape[1]))
    B *= 3 / np.linalg.norm(B @ A, 2)
    top, changed = leading(Sum(W), 20), leading(Sum(W, B, A), 10)
    found, sure = best_cosines(W, changed.U, top, 0.5, changed.errors)
    before, after = (np.linalg.svd(M, full_matrices=False)[0] for M in (W.astype(float), W + B @ A))
    exact = np.abs(before.T @ after[:, :10]).max(axis=0)
    assert sure.sum() >= 5
    np.testing.assert_allclose(found[sure], exact[sure], atol=1e-3)


def test_a_direction_that_may_be_off_is_never_called_exact() -> None:
    W = weight((60, 40), 0.5)
    top = leading(Sum(W), 12, tolerance=1e-8)
    turned = np.cos(0.3) * top.U[:, :2] + np.sin(0.3) * top.U[:, 2:4]
    assert best_cosines(W, turned, top, 0.5)[1].all()
    assert not best_cosines(W, turned, top, 0.5, np.full(2, 0.1))[1].any()


def test_errors_bound_the_angle_to_the_true_vectors() -> None:
    W = weight((150, 120), 0.7)
    U = np.linalg.svd(W)[0]
    for tolerance in (1e-2, 1e-4, 1e-6):
        found = leading(Sum(W), 6, tolerance=tolerance)
        cosines = np.minimum(np.abs(np.sum(found.U * U[:, :6], axis=0)), 1.0)
        assert (np.arccos(cosines) <= 1.5 * found.errors + 1e-7).all()
