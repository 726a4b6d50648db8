"""Tests against nulls: SciPy where it has the same, else their size on the null they name."""

import math

import numpy as np
import pytest
from scipy import stats

from tunescope.statistics.groups import parts_differ, visible_difference, visible_lead
from tunescope.statistics.location import groups_differ, mean_differs, sign_flips, visible_shift
from tunescope.statistics.replicates import rows_differ
from tunescope.statistics.series import agreement, rise
from tunescope.statistics.tails import leading_outliers, phi_tail, t5_scale
from tunescope.statistics.two_way import common_block, two_way

RNG = np.random.default_rng(0)


def test_parts_are_compared_by_the_f_test() -> None:
    x = RNG.normal(size=14) + np.repeat([0, 0, 5], [5, 5, 4])
    found = parts_differ(x)
    expected = stats.f_oneway(x[:5], x[5:10], x[10:])
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.p_exchanged <= 0.05


def test_parts_of_one_value_do_not_differ() -> None:
    assert parts_differ(np.full(9, 0.3)).p == 1


def test_what_would_be_visible_is_found_nine_times_in_ten() -> None:
    lead = visible_difference(24, 0.1, 0.03)
    hits = [
        parts_differ(0.1 * RNG.normal(size=24) + np.repeat([0, lead, 0], 8), gate=0).p <= 0.03
        for _ in range(400)
    ]
    assert 0.85 < np.mean(hits) < 0.95
    assert math.isinf(visible_difference(4, 0.1, 0.03))


def test_shifts_are_students() -> None:
    x, y = RNG.normal(size=8) + 0.5, RNG.normal(size=5)
    assert mean_differs(x).p == pytest.approx(stats.ttest_1samp(x, 0).pvalue)
    assert groups_differ(x, y).p == pytest.approx(stats.ttest_ind(x, y).pvalue)
    assert groups_differ(x[:1], y[:1]).p == mean_differs(x[:1]).p == 1
    assert math.isinf(visible_shift(0.1, 0, 0.05))


@pytest.mark.parametrize("n", [6, 30])
def test_flipped_signs_keep_their_level(n: int) -> None:
    p = [sign_flips(RNG.standard_t(3, n)) for _ in range(200)]
    assert np.mean(np.array(p) <= 0.05) <= 0.09
    assert sign_flips(np.ones(n)) <= 2 ** (1 - min(n, 10))


def test_a_two_way_table_is_fitted_where_cells_are_missing() -> None:
    layer, kind = RNG.normal(size=(9, 1)), RNG.normal(size=5)
    table = layer + kind
    table[2, 3] = table[5, 0] = np.nan
    fit = two_way(table)
    assert fit.expected == pytest.approx(layer + kind, abs=1e-6)


def test_a_gap_is_closed_by_leaving_out_a_kind_or_a_layer() -> None:
    seen = np.ones((12, 4), bool)
    seen[:6, 3] = False
    assert [x.tolist() for x in common_block(seen)] == [list(range(12)), [0, 1, 2]]
    seen = np.ones((12, 4), bool)
    seen[4, :3] = False
    assert [x.tolist() for x in common_block(seen)] == [[i for i in range(12) if i != 4], [0, 1, 2, 3]]
    assert [x.tolist() for x in common_block(np.zeros((3, 2), bool))] == [[], []]


def test_the_tail_of_one_direction_is_that_of_random_ones() -> None:
    x = RNG.normal(size=(20_000, 6))
    phi = x[:, 0] ** 2 / (x**2).sum(axis=1)
    for level in (0.2, 0.6):
        assert phi_tail(level, 6) == pytest.approx(np.mean(phi >= level), abs=0.012)


def test_the_largest_of_t5_values_are_rarely_outliers() -> None:
    hits = []
    for _ in range(400):
        x = RNG.standard_t(5, 150)
        hits.append(leading_outliers(x / t5_scale(x), 5, 0.05)[0] > 0)
    assert np.mean(hits) <= 0.08
    planted = np.append(RNG.standard_t(5, 150), 60.0)
    assert leading_outliers(planted, 5, 0.05)[0] == 1


def test_rows_with_columns_as_replicates_keep_their_level() -> None:
    p = np.array([rows_differ(RNG.normal(size=(10, 4)) + RNG.normal(size=4)).p for _ in range(300)])
    assert np.mean(p <= 0.05) <= 0.08
    early = RNG.normal(size=(10, 4))
    early[3] -= 8
    found = rows_differ(early)
    assert found.p < 0.001
    assert found.p_exchanged < 0.05
    assert int(found.deviations.argmin()) == 3


def test_random_walks_do_not_agree() -> None:
    walks = [agreement(*np.cumsum(RNG.normal(size=(2, 24)), axis=1)) for _ in range(200)]
    assert np.mean([one.low > 0 or one.high < 0 for one in walks]) <= 0.05
    assert np.mean([one.p <= 0.05 for one in walks]) <= 0.09


def test_rough_sequences_that_agree_are_worth_all_their_places() -> None:
    x = RNG.normal(size=40)
    found = agreement(x, x + 0.2 * RNG.normal(size=40))
    assert found.correlation == pytest.approx(stats.spearmanr(x, x + 0).statistic, abs=0.1)
    assert found.freedom > 25
    assert found.p < 1e-4
    assert found.low > 0.8


@pytest.mark.parametrize("memory", [0.0, 0.5])
def test_flat_noise_rises_no_more_often_than_said(memory: float) -> None:
    hits = []
    for _ in range(300):
        noise = RNG.normal(size=60)
        for t in range(1, 60):
            noise[t] = memory * noise[t - 1] + math.sqrt(1 - memory**2) * noise[t]
        found = rise(2 + 0.4 * noise)
        hits.append(found is not None and found.p <= 0.05)
    assert np.mean(hits) <= 0.1
    assert rise(np.ones(9)) is None


@pytest.mark.parametrize(("n", "spread"), [(24, 0.05), (24, 0.2), (12, 0.1)])
def test_a_visible_lead_passes_both_the_test_and_the_size_nine_times_in_ten(n: int, spread: float) -> None:
    lead, found = math.log(visible_lead(n, spread, 0.03, 1.25)), 0
    for _ in range(300):
        values = spread * RNG.standard_normal(n)
        values[2 * n // 3 :] += lead
        parts = parts_differ(values)
        found += parts.p <= 0.03 and max(parts.means) - min(parts.means) >= math.log(1.25)
    assert found >= 250
    assert math.isinf(visible_lead(4, spread, 0.03, 1.25))
