"""Tails and quantiles of the laws, against SciPy's."""

import math

import numpy as np
import pytest
from scipy import special, stats

from tunescope.statistics.laws import (
    beta_share,
    f_above,
    f_tail,
    normal_tail,
    t_above,
    t_tail,
    visible_noncentrality,
)
from tunescope.statistics.ranks import ranks

RNG = np.random.default_rng(20)
FREEDOMS = (1, 2, 3, 5, 5.3, 17, 100, 1234)


@pytest.mark.parametrize("freedom", FREEDOMS)
def test_tails_of_students_law_keep_their_digits_far_out_and_near_zero(freedom: float) -> None:
    values = np.concatenate([RNG.standard_cauchy(100) * 3, [0.0, 1e-9, -1e-9, 1e3]])
    found = [t_tail(float(t), freedom) for t in values]
    assert found == pytest.approx(special.stdtr(freedom, -values), rel=2e-9, abs=1e-290)
    assert (t_tail(math.inf, freedom), t_tail(-math.inf, freedom)) == (0, 1)


def test_tails_of_the_f_law_keep_their_digits() -> None:
    for above, below in ((1, 1), (2, 4), (2, 29), (11, 300), (40, 7)):
        values = np.exp(2 * RNG.normal(size=100))
        found = [f_tail(float(f), above, below) for f in values]
        assert found == pytest.approx(special.fdtrc(above, below, values), rel=1e-10)
    assert f_tail(0.0, 2, 4) == 1


def test_the_incomplete_beta_function_is_scipys_and_ends_at_zero_and_one() -> None:
    a, b, x = np.exp(RNG.normal(size=(3, 200)) * 2)
    x = x / (1 + x)
    found = [beta_share(*three) for three in zip(a.tolist(), b.tolist(), x.tolist(), strict=True)]
    assert found == pytest.approx(special.betainc(a, b, x), rel=1e-10)
    assert (beta_share(2, 3, 0.0), beta_share(2, 3, 1.0)) == (0, 1)
    assert math.isnan(beta_share(2, 3, math.nan))


@pytest.mark.parametrize("p", [1e-14, 1e-6, 0.01, 0.4, 0.5, 0.9, 0.999])
def test_quantiles_are_where_the_tails_have_the_value(p: float) -> None:
    for freedom in FREEDOMS:
        assert t_above(p, freedom) == pytest.approx(stats.t.isf(p, freedom), rel=1e-9, abs=1e-12)
    assert special.fdtrc(2, 29, f_above(p, 2, 29)) == pytest.approx(p, rel=1e-9)
    assert normal_tail(stats.norm.isf(p)) == pytest.approx(p)


@pytest.mark.parametrize(("alpha", "above", "below"), [(0.03, 2, 4), (0.01, 2, 29), (1e-5, 2, 97)])
def test_at_the_visible_noncentrality_the_f_test_has_its_power(alpha: float, above: int, below: int) -> None:
    centre = visible_noncentrality(alpha, above, below, 0.9)
    critical = stats.f.isf(alpha, above, below)
    assert stats.ncf.sf(critical, above, below, centre) == pytest.approx(0.9, abs=1e-10)
    assert visible_noncentrality(1e-9, 2, 1, 0.9) == 1e4


def test_ranks_are_scipys_with_ties_and_with_nan() -> None:
    values = RNG.integers(0, 9, 40).astype(float)
    assert ranks(values).tolist() == stats.rankdata(values).tolist()
    assert np.isnan(ranks(np.array([1.0, math.nan]))).all()
