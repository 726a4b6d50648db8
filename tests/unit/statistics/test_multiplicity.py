"""Adjusted p-values against SciPy and by definition."""

import numpy as np
import pytest
from scipy import stats

from tunescope.statistics.multiplicity import benjamini_hochberg, holm

P = np.random.default_rng(0).random(30) ** 2


def test_benjamini_hochberg_is_scipys() -> None:
    assert benjamini_hochberg(P) == pytest.approx(stats.false_discovery_control(P))


def test_holm_steps_down_from_the_smallest_and_never_falls() -> None:
    adjusted = holm(P)[np.argsort(P)]
    assert adjusted[0] == pytest.approx(min(30 * P.min(), 1))
    assert (np.diff(adjusted) >= 0).all()
    assert adjusted.max() <= 1


def test_no_p_values_give_none() -> None:
    assert holm([]).tolist() == benjamini_hochberg([]).tolist() == []
