"""Low-rank norms and spectra equal dense float64 ones, whatever the gauge, scale or order."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunescope.linalg import gram, spectrum

DTYPES = (np.float16, np.float32, np.float64, ml_dtypes.bfloat16)


def factors(
    seed: int, d_out: int, d_in: int, rank: int, dtype: type = np.float32
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    B, A = rng.normal(size=(d_out, rank)).astype(dtype), rng.normal(size=(rank, d_in)).astype(dtype)
    return B, A, B.astype(np.float64) @ A.astype(np.float64)


shapes = st.tuples(st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 60), st.integers(1, 12))


@settings(deadline=None, max_examples=60)
@given(shapes, st.sampled_from(DTYPES))
def test_factored_norms_equal_dense(shape: tuple[int, int, int, int], dtype: type) -> None:
    B, A, dense = factors(*shape, dtype)
    norm, norm_A, norm_B = gram.product_frobenius(B, A)
    assert norm == pytest.approx(np.linalg.norm(dense), rel=1e-6)
    assert norm_A == pytest.approx(np.linalg.norm(A.astype(np.float64)), rel=1e-6)
    assert norm_B == pytest.approx(np.linalg.norm(B.astype(np.float64)), rel=1e-6)


@settings(deadline=None, max_examples=60)
@given(shapes, st.sampled_from(DTYPES))
def test_spectrum_equals_dense_svd(shape: tuple[int, int, int, int], dtype: type) -> None:
    B, A, dense = factors(*shape, dtype)
    values, norms = spectrum.product_spectrum(B, A)
    reference = np.linalg.svd(dense, compute_uv=False)[: len(values)]
    np.testing.assert_allclose(values, reference, rtol=1e-6, atol=1e-7 * reference[0])
    assert norms[0] == pytest.approx(np.linalg.norm(dense), rel=1e-9)


@settings(deadline=None, max_examples=40)
@given(shapes, st.integers(-60, 60))
def test_gauge_does_not_matter(shape: tuple[int, int, int, int], exponent: int) -> None:
    """(A, B) → (cA, B/c) leaves ΔW unchanged, even where float32 squares over- or underflow."""
    B, A, dense = factors(*shape)
    moved = np.ldexp(B, -exponent), np.ldexp(A, exponent)
    assert gram.product_frobenius(*moved)[0] == pytest.approx(np.linalg.norm(dense), rel=1e-6)
    np.testing.assert_allclose(
        spectrum.product_spectrum(*moved)[0], spectrum.product_spectrum(B, A)[0], rtol=1e-6, atol=1e-9
    )


@settings(deadline=None, max_examples=40)
@given(shapes)
def test_orthogonal_rotations_leave_norms_unchanged(shape: tuple[int, int, int, int]) -> None:
    seed, d_out, d_in, rank = shape
    B, A, _ = factors(seed, d_out, d_in, rank, np.float64)
    rng = np.random.default_rng(seed + 1)
    left, middle = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in (d_out, rank))
    rotated = gram.product_frobenius(left @ B @ middle, middle.T @ A)
    assert rotated == pytest.approx(gram.product_frobenius(B, A), rel=1e-6)


@pytest.mark.parametrize("block", [1, 7, 64, 10_000])
def test_chunking_does_not_matter(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    B, A, dense = factors(3, 500, 300, 6)
    monkeypatch.setattr(gram, "BLOCK", block)
    assert gram.product_frobenius(B, A)[0] == pytest.approx(np.linalg.norm(dense), rel=1e-6)


def test_cancelling_products_go_through_qr() -> None:
    """‖ΔW‖ a millionth of ‖B‖‖A‖: the Gram sum cancels and must not be believed."""
    B, A, _ = factors(5, 80, 90, 4, np.float64)
    left, right = np.hstack([B, B * (1 + 1e-6)]), np.vstack([A, -A])
    assert gram.product_frobenius(left, right)[0] == pytest.approx(np.linalg.norm(left @ right), rel=1e-4)
    assert gram.product_frobenius(left, right)[0] == pytest.approx(1e-6 * np.linalg.norm(B @ A), rel=1e-4)


def test_no_infinity_from_finite_input() -> None:
    B, A = np.full((3, 2), 1e300), np.full((2, 5), 1e-290)
    assert gram.product_frobenius(B, A)[0] == pytest.approx(2e10 * np.sqrt(15), rel=1e-12)
    big = np.full((4, 4), 6e4, dtype=np.float16)
    assert gram.product_frobenius(big, big)[0] == pytest.approx(4 * 4 * float(big[0, 0]) ** 2, rel=1e-6)
    huge = np.full((4, 4), 1e30, dtype=np.float32)
    assert gram.frobenius(huge) == pytest.approx(4e30, rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_input_gives_nan_and_never_a_number(bad: float) -> None:
    B, A, _ = factors(1, 6, 7, 2)
    B[0, 0] = bad
    assert not np.isfinite(gram.product_frobenius(B, A)[0])
    assert np.isnan(spectrum.product_spectrum(B, A)[0]).all()


def test_zero_factors_have_norm_zero_and_no_ranks() -> None:
    values, norms = spectrum.product_spectrum(np.zeros((5, 2)), np.ones((2, 4)))
    assert norms[0] == 0
    assert np.isnan([spectrum.stable_rank(values), spectrum.effective_rank(values)]).all()


def test_ranks_of_known_spectra() -> None:
    values = np.array([2.0, 1.0, 1.0])
    assert spectrum.stable_rank(values) == pytest.approx(6 / 4)
    assert spectrum.participation_ratio(values) == pytest.approx(36 / 18)
    assert spectrum.effective_rank(values) == pytest.approx(np.exp(0.5 * np.log(2) + 0.5 * np.log(4)))
    assert spectrum.energy_rank(values, 0.9) == 3
    assert spectrum.energy_rank(values, 0.6) == 1


@settings(deadline=None, max_examples=40)
@given(shapes)
def test_inner_products_equal_dense(shape: tuple[int, int, int, int]) -> None:
    seed, d_out, d_in, rank = shape
    B, A, dense = factors(seed, d_out, d_in, rank)
    B2, A2, dense2 = factors(seed + 1, d_out, d_in, rank + 1)
    expected = float((dense * dense2).sum())
    assert gram.inner(B, A, B2, A2) == pytest.approx(expected, abs=1e-9 * (1 + np.linalg.norm(dense) ** 2))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.sampled_from([1.0, 0.5, 0.3, 0.1, 1e-2, 1e-3, 1e-5]))
def test_cancelling_directions_keep_their_digits(seed: int, left: float) -> None:
    """Two halves of the rank undo each other but for a share `left` of one of them."""
    rng = np.random.default_rng(seed)
    B, rest = rng.normal(size=(2, 300, 6)).astype(np.float32)
    A = rng.normal(size=(6, 400)).astype(np.float32)
    B, A = np.hstack([B, np.float32(left) * rest - B]), np.vstack([A, A])
    values = np.linalg.svd(B.astype(float) @ A.astype(float), compute_uv=False)[:12]
    assert gram.product_frobenius(B, A)[0] == pytest.approx(np.linalg.norm(values), rel=1e-6)
    found, norms = spectrum.product_spectrum(B, A)
    assert norms[0] == pytest.approx(np.linalg.norm(values), rel=1e-6)
    assert found == pytest.approx(values, rel=1e-6, abs=1e-8 * values[0])


def test_a_product_beyond_the_largest_float_is_infinite() -> None:
    B, A, _ = factors(0, 5, 7, 2, np.float64)
    assert gram.product_frobenius(B * 1e180, A * 1e180)[0] == np.inf
    assert np.isnan(spectrum.product_spectrum(B * 1e180, A * 1e180)[0]).all()
