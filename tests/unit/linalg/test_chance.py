"""What random subspaces have in common, against subspaces that are drawn."""

import numpy as np
import pytest
from scipy import stats

from tunescope.linalg.chance import count_tail, counts, level, phi_tail


def principal(i: int, j: int, d: int, draws: int, seed: int = 0) -> np.ndarray:
    """cos² of the principal angles of random subspaces, `(draws, min(i, j))`."""
    random = np.random.default_rng(seed)
    first = np.linalg.qr(random.standard_normal((draws, d, i)))[0]
    return np.linalg.svd(first[:, :j], compute_uv=False) ** 2


@pytest.mark.parametrize("d", [8, 64, 768])
@pytest.mark.parametrize("j", [1, 4])
def test_the_tail_of_one_direction_is_the_exact_beta_law(d: int, j: int) -> None:
    phi = np.linspace(0.01, 0.9, 7)
    exact = stats.beta.sf(phi, j / 2, (d - j) / 2)
    np.testing.assert_allclose(phi_tail(phi, np.float64(1), np.float64(j), d), exact, rtol=1e-9)
    np.testing.assert_allclose(phi_tail(phi, np.float64(j), np.float64(1), d), exact, rtol=1e-9)


@pytest.mark.parametrize(("i", "j", "d"), [(2, 2, 64), (4, 8, 96), (8, 8, 40), (16, 16, 40), (3, 3, 8)])
def test_other_tails_are_those_of_drawn_subspaces(i: int, j: int, d: int) -> None:
    phi = principal(i, j, d, 6000).sum(axis=1) / min(i, j)
    for p in (0.1, 0.01):
        told = float(phi_tail(np.quantile(phi, 1 - p), np.float64(i), np.float64(j), d))
        assert told == pytest.approx(p, rel=5 * np.sqrt((1 - p) / (p * 6000)) + 0.1)


def test_a_z_of_three_of_single_directions_is_no_rare_event() -> None:
    d = 768
    three = 1 / d + 3 * np.sqrt(2 * (d - 1) / (d * d * (d + 2)))
    assert float(phi_tail(three, np.float64(1), np.float64(1), d)) == pytest.approx(0.022, abs=5e-4)
    assert float(phi_tail(np.float64(0.3), np.float64(4), np.float64(4), 4)) == 1.0


@pytest.mark.parametrize(("k", "d"), [(64, 128), (16, 48), (24, 64)])
def test_counts_by_chance_are_those_of_drawn_subspaces(k: int, d: int) -> None:
    drawn = (principal(k, k, d, 60, seed=3) >= level(k, k, d)).sum(axis=1)
    mean, deviation, draws = counts(k, k, d)
    assert mean == pytest.approx(drawn.mean(), abs=4 * max(deviation, 0.1) / np.sqrt(60) + 0.05)
    assert draws >= 24
    if k == 64:
        assert (mean, deviation) == (pytest.approx(4.3, abs=0.3), pytest.approx(0.6, abs=0.2))


def test_no_count_is_rarer_by_chance_than_its_bound_says() -> None:
    drawn = (principal(16, 16, 40, 3000, seed=4) >= level(16, 16, 40)).sum(axis=1)
    for found in (1, 2, 3):
        assert (drawn >= found).mean() <= count_tail(found, 16, 16, 40) + 0.005
    assert count_tail(0, 16, 16, 40) == 1.0
    assert count_tail(4, 16, 16, 64) < 1e-6
