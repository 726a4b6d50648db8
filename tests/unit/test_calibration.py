"""The harness that calibrates findings: what it counts, and when it calls a budget broken."""

import numpy as np
import pytest
from calibration.harness import ANY, Null, Planted, Row, simulate, wilson
from calibration.report import page


def often(rate: float, kind: str = "hot_cell"):  # type: ignore[no-untyped-def]
    return lambda random: {kind} if random.random() < rate else set()


def null(rate: float) -> Null:
    return Null("norms", ("hot_cell", "collapsed"), "any law", f"rate {rate}", often(rate))


@pytest.mark.parametrize(("rate", "kept"), [(0.0, True), (0.04, True), (0.2, False)])
def test_a_kind_that_is_raised_too_often_on_its_null_leaves_its_budget(rate: float, kept: bool) -> None:
    rows = {row.kind: row for row in simulate(null(rate), 400)}
    assert set(rows) == {"hot_cell", "collapsed", ANY}
    assert rows["hot_cell"].kept is kept
    assert rows["collapsed"].hits == 0


@pytest.mark.parametrize(("rate", "kept"), [(0.6, False), (0.97, True)])
def test_a_kind_that_misses_what_was_planted_leaves_its_budget(rate: float, kept: bool) -> None:
    (row,) = simulate(Planted("norms", "hot_cell", "5×", "any law", "s", often(rate)), 400)
    assert row.kept is kept


def test_the_same_scenario_draws_the_same_studies_and_another_salt_others() -> None:
    hits = [simulate(null(0.5), 100, salt)[0].hits for salt in ("a", "a", "b", "c")]
    assert hits[0] == hits[1]
    assert len(set(hits)) > 1


def test_wilsons_interval_covers_the_share_that_was_drawn() -> None:
    random = np.random.default_rng(0)
    bounds = [wilson(int(random.binomial(200, 0.05)), 200) for _ in range(500)]
    assert 0.92 < np.mean([low <= 0.05 <= high for low, high in bounds]) < 0.98


def test_the_page_marks_what_leaves_its_budget() -> None:
    text = page([Row(null(1), "hot_cell", 500, 2000, 1.0), Row(null(1), "collapsed", 10, 2000, 1.0)])
    assert [line.count("**over**") for line in text.splitlines() if line.startswith("| `")] == [1, 0]
