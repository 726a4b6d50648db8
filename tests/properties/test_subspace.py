"""φ lies in [0, 1], is symmetric, and sees neither rotation nor gauge."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tunescope.linalg import overlap

shapes = st.tuples(st.integers(2, 14), st.integers(2, 14), st.integers(1, 5), st.integers(1, 5))
seeds = st.integers(0, 2**32 - 1)


def factors(random: np.random.Generator, d_out: int, d_in: int, r: int) -> tuple[np.ndarray, np.ndarray]:
    return random.standard_normal((d_out, r)), random.standard_normal((r, d_in))


def grids(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
    """φ of ΔW on the input side and on the output side."""
    pairs = zip(overlap.product_bases(*one), overlap.product_bases(*other), strict=True)
    return [overlap.phi_grid(overlap.cosines(a, b, "delta", "delta")) for a, b in pairs]


@settings(max_examples=40, deadline=None)
@given(shapes, seeds)
def test_phi_lies_between_0_and_1_and_is_symmetric_under_exchange(
    shape: tuple[int, int, int, int], seed: int
) -> None:
    d_out, d_in, r, s = shape
    random = np.random.default_rng(seed)
    one, other = factors(random, d_out, d_in, r), factors(random, d_out, d_in, s)
    for there, back in zip(grids(one, other), grids(other, one), strict=True):
        assert (there >= 0).all()
        assert (there <= 1).all()
        np.testing.assert_allclose(there, back.T, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(shapes, seeds)
def test_identical_inputs_give_1_in_every_cell(shape: tuple[int, int, int, int], seed: int) -> None:
    d_out, d_in, r, _ = shape
    one = factors(np.random.default_rng(seed), d_out, d_in, r)
    for grid in grids(one, one):
        np.testing.assert_allclose(grid, 1.0, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(shapes, seeds)
def test_equal_spans_give_1_at_full_rank(shape: tuple[int, int, int, int], seed: int) -> None:
    d_out, d_in, r, _ = shape
    r = min(r, d_out, d_in)
    random = np.random.default_rng(seed)
    B, A = factors(random, d_out, d_in, r)
    mixed = np.linalg.qr(random.standard_normal((r, r)))[0] * np.linspace(1, 2, r)
    for grid in grids((B, A), (B, mixed @ A)):
        np.testing.assert_allclose(grid[-1, -1], 1.0, atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(shapes, seeds, st.floats(0.01, 100))
def test_rotating_the_factors_and_changing_the_gauge_leave_phi_of_the_update_alone(
    shape: tuple[int, int, int, int], seed: int, size: float
) -> None:
    d_out, d_in, r, s = shape
    r, s = min(r, d_out, d_in), min(s, d_out, d_in)
    random = np.random.default_rng(seed)
    (B, A), other = factors(random, d_out, d_in, r), factors(random, d_out, d_in, s)
    gauge = np.linalg.qr(random.standard_normal((r, r)))[0] * np.linspace(1, 3, r) * size
    changed = (B @ gauge, np.linalg.inv(gauge) @ A)
    for before, after in zip(grids((B, A), other), grids(changed, other), strict=True):
        np.testing.assert_allclose(before, after, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(shapes, seeds)
def test_turning_both_updates_by_one_rotation_leaves_phi_alone(
    shape: tuple[int, int, int, int], seed: int
) -> None:
    d_out, d_in, r, s = shape
    r, s = min(r, d_out, d_in), min(s, d_out, d_in)
    random = np.random.default_rng(seed)
    one, other = factors(random, d_out, d_in, r), factors(random, d_out, d_in, s)
    turn = np.linalg.qr(random.standard_normal((d_out, d_out)))[0]
    for before, after in zip(
        grids(one, other), grids((turn @ one[0], one[1]), (turn @ other[0], other[1])), strict=True
    ):
        np.testing.assert_allclose(before, after, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 40), st.integers(1, 40), st.integers(1, 40))
def test_chance_is_a_share_and_excess_is_0_there(d: int, i: int, j: int) -> None:
    i, j = min(i, d), min(j, d)
    mean, deviation = overlap.chance_grid(i, j, d)
    assert ((mean > 0) & (mean <= 1)).all()
    assert (deviation >= 0).all()
    if mean[-1, -1] < 1:
        assert overlap.excess(float(mean[-1, -1]), float(mean[-1, -1])) == 0
        assert overlap.excess(1.0, float(mean[-1, -1])) == 1
