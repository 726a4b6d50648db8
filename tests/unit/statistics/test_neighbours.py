"""Tests of parts where neighbours are alike."""

import math

import numpy as np
import pytest

from tunescope.statistics.groups import parts_differ, smooth_levels, smooth_p
from tunescope.statistics.laws import f_tail
from tunescope.statistics.neighbours import left_of, likely, plain_level, smooth_tail

RHO = np.arange(19) / 20


def profiles(seed: int, count: int, n: int, rho: float) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((count, n))
    for i in range(1, n):
        values[:, i] = rho * values[:, i - 1] + math.sqrt(1 - rho**2) * values[:, i]
    return values


def mean_rho(values: np.ndarray) -> float:
    return float(likely([left_of(row) for row in values]) @ RHO)


def test_many_profiles_tell_how_alike_neighbours_are() -> None:
    assert mean_rho(profiles(0, 40, 24, 0.0)) < 0.1
    assert 0.3 < mean_rho(profiles(1, 40, 24, 0.6)) < 0.7


def test_one_short_profile_leaves_it_open() -> None:
    shares = likely([left_of(profiles(3, 1, 12, 0.0)[0])])
    assert shares.sum() == pytest.approx(1)
    assert (shares > 0).all()


def test_profiles_of_one_run_count_once() -> None:
    one = profiles(4, 1, 24, 0.5)
    nearly = np.repeat(one, 12, axis=0) + 1e-3 * profiles(5, 12, 24, 0.0)
    assert mean_rho(nearly) == pytest.approx(mean_rho(one), abs=0.03)


def test_steps_between_parts_and_a_line_are_no_likeness_of_neighbours() -> None:
    noise = profiles(6, 1, 24, 0.0)[0]
    stepped = noise + np.repeat([0.0, 5.0, 1.0], 8) + 0.3 * np.arange(24)
    assert left_of(stepped) == pytest.approx(left_of(noise))


def test_the_tail_is_never_below_that_of_independent_values() -> None:
    shares = likely([left_of(profiles(7, 1, 12, 0.3)[0])])
    for statistic in (2.0, 5.0, 20.0):
        assert smooth_tail(statistic, 12, shares) >= f_tail(statistic, 2, 9)


def test_the_plain_level_is_that_of_the_f_test_which_finds_the_same() -> None:
    shares = likely([left_of(profiles(8, 1, 24, 0.4)[0])])
    level = plain_level(0.04, 24, shares)
    assert level < 0.04
    parts = parts_differ(profiles(8, 1, 24, 0.4)[0] + np.repeat([0.0, 2.0, 0.0], 8))
    assert (smooth_p([parts])[0] <= 0.04) == (parts.p <= smooth_levels([parts], 0.04)[0])


def test_smooth_profiles_without_a_trend_are_seldom_told() -> None:
    told = plain = 0
    for seed in range(150):
        parts = [parts_differ(row) for row in profiles(100 + seed, 4, 24, 0.6)]
        told += min(smooth_p(parts)) <= 0.01
        plain += min(each.p for each in parts) <= 0.01
    assert plain >= 60
    assert told <= 22
