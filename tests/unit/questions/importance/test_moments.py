"""Streaming means: exact against NumPy, mergeable, restorable."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunescope.questions.importance.moments import Halves, Moments


def _moments(values, weights):
    moments = Moments()
    for value, weight in zip(values, weights, strict=True):
        moments.add(np.asarray(value), weight)
    return moments


def test_equal_weights_give_the_textbook_error():
    """s/√n, also where the mean is huge beside the spread."""
    values = 1e8 + np.random.default_rng(0).normal(size=(50, 3))
    moments = _moments(values, [1.0] * 50)
    np.testing.assert_allclose(moments.mean, values.mean(axis=0), rtol=1e-15)
    np.testing.assert_allclose(moments.stderr(), values.std(axis=0, ddof=1) / np.sqrt(50), rtol=1e-6)


def test_weighted_error_is_the_ratio_estimators():
    """√(n/(n−1) Σ w²(x − m)²)/Σ w, computed afresh."""
    rng = np.random.default_rng(1)
    values, weights = rng.normal(size=(9, 2)), rng.uniform(1, 5, 9)
    moments = _moments(values, weights)
    mean = np.average(values, axis=0, weights=weights)
    error = np.sqrt(9 / 8 * ((weights[:, None] * (values - mean)) ** 2).sum(0)) / weights.sum()
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-13)
    np.testing.assert_allclose(moments.stderr(), error, rtol=1e-10)


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0.1, 100)), min_size=2, max_size=30),
    st.integers(0, 30),
)
def test_merging_is_adding(samples, cut):
    """Two parts merged are the whole, wherever the cut lies."""
    whole = _moments([[x] for x, _ in samples], [w for _, w in samples])
    left = _moments([[x] for x, _ in samples[:cut]], [w for _, w in samples[:cut]])
    left.merge(_moments([[x] for x, _ in samples[cut:]], [w for _, w in samples[cut:]]))
    largest = max(abs(x) for x, _ in samples)
    assert left.n == whole.n
    assert left.mean == pytest.approx(whole.mean, abs=1e-9 * largest)
    assert left.stderr() == pytest.approx(whole.stderr(), rel=1e-5, abs=1e-6 * largest)


def test_one_sample_has_no_error():
    """An error is not made up where there is none to be had."""
    assert np.isnan(_moments([[1.0]], [1.0]).stderr()).all()


def test_restored_state_goes_on_with_the_same_bits():
    """Saved and restored half way, the numbers end up identical."""
    values = np.random.default_rng(2).normal(size=(10, 4))
    straight = _moments(values, range(1, 11))
    resumed = Moments.of_arrays(_moments(values[:6], range(1, 7)).arrays())
    for value, weight in zip(values[6:], range(7, 11), strict=True):
        resumed.add(value, weight)
    assert (straight.mean == resumed.mean).all()
    assert (straight.stderr() == resumed.stderr()).all()


def test_halves_take_even_and_odd_samples():
    """The halves are disjoint, and their union is everything."""
    halves = Halves()
    for number in range(5):
        halves.add(number, np.array([float(number)]))
    assert halves.even.mean == pytest.approx(2)
    assert halves.odd.mean == pytest.approx(2)
    assert (halves.even.n, halves.odd.n, halves.whole().n) == (3, 2, 5)
