"""The harness that calibrates findings: what it counts, and when it calls a budget broken."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from calibration.facts import FACTS
from calibration.harness import ANY, Null, Planted, Row, Scenario, draws, kinds_of, rows_of, wilson
from calibration.report import lines_of, page, without
from calibration.running import Unfinished, simulate_all
from calibration.scenarios import SCENARIOS

from tunescope.cli import VERBS

PAGE = Path(__file__).parents[2] / "docs" / "calibration.md"
# One test over the thirds of the layers, whichever stands out.
THIRDS = {"early_layers", "middle_layers", "late_layers"}
DECLARED = {
    verb: set(module.COMMAND.kinds)
    for verb, (place, _) in VERBS.items()
    if hasattr(module := importlib.import_module(f"tunescope.{place}"), "COMMAND")
}


def often(rate: float, kind: str = "hot_cell"):  # type: ignore[no-untyped-def]
    return lambda random: {kind} if random.random() < rate else set()


def null(rate: float) -> Null:
    return Null("norms", ("hot_cell", "collapsed"), "any law", f"rate {rate}", often(rate))


def simulate(scenario: Scenario, n: int, salt: str = "") -> list[Row]:
    return rows_of(scenario, draws(scenario, 0, n, salt), n, 1.0)


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


def test_many_processes_draw_what_one_draws() -> None:
    scenarios = [null(0.3), null(0.6)]
    alone = [row.hits for scenario in scenarios for row in simulate(scenario, 120, "s")]
    assert [row.hits for row in simulate_all(scenarios, 120, "s", 3, tell=str)] == alone


def test_a_run_that_stops_goes_on_from_its_record(tmp_path: Path) -> None:
    record, scenarios = tmp_path / "record.jsonl", [null(0.3), null(0.6)]
    whole = [row.hits for row in simulate_all(scenarios, 120, tell=str, record=record)]
    lines = record.read_text().splitlines()
    record.write_text("\n".join([*lines[:3], lines[3][:40]]))
    with pytest.raises(Unfinished, match="4 of 6 blocks"):
        simulate_all(scenarios, 120, tell=str, record=record, within=0)
    assert [row.hits for row in simulate_all(scenarios, 120, tell=str, record=record)] == whole
    # Only what was missing was drawn again.
    blocks = [line for line in record.read_text().splitlines() if line.endswith("}")]
    assert len({(b["scenario"], b["first"]) for b in map(json.loads, blocks)}) == len(blocks) == 6


def test_a_record_of_other_code_is_drawn_again(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    line = {"code": "another", "salt": "", "scenario": null(0).name, "first": 0, "n": 50, "raised": {ANY: 50}}
    record.write_text(json.dumps(line | {"seconds": 1.0}))
    assert {row.hits for row in simulate_all([null(0)], 50, tell=str, record=record)} == {0}


def test_scenarios_can_be_told_by_their_names() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names)


def test_no_scenario_imports_torch() -> None:
    code = "import sys, calibration.scenarios; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def simulated(verb: str, scenario: type[Scenario]) -> set[str]:
    """The kinds of a question that scenarios of one sort are about."""
    mine = [s for s in SCENARIOS if s.question == verb and isinstance(s, scenario)]
    kinds = {kind for s in mine for kind in kinds_of(s)}
    return kinds | THIRDS if kinds & {*THIRDS, "early/middle/late_layers"} else kinds


@pytest.mark.parametrize("verb", DECLARED)
def test_every_kind_is_simulated_where_it_is_not_true_and_where_it_is_or_states_a_fact(verb: str) -> None:
    both = simulated(verb, Null) & simulated(verb, Planted)
    facts = set(FACTS.get(verb, {}))
    assert DECLARED[verb] - both - facts == set()
    assert facts - DECLARED[verb] == set()
    assert facts & both == set()


def test_a_kind_with_neither_would_be_noticed() -> None:
    assert {"hot_cell", "a_new_kind"} - simulated("norms", Null) - set(FACTS["norms"]) == {"a_new_kind"}


def test_the_page_has_a_row_of_every_scenario_and_of_no_other() -> None:
    there = lines_of(PAGE.read_text(encoding="utf-8"))
    assert list(without(there, SCENARIOS)) == []
    assert len(there) == sum(len(kinds_of(scenario)) for scenario in SCENARIOS)
    assert page([], there, SCENARIOS) == PAGE.read_text(encoding="utf-8")


def test_every_row_of_the_page_is_of_two_thousand_studies_within_its_budget() -> None:
    lines = lines_of(PAGE.read_text(encoding="utf-8")).values()
    assert {line.split(" | ")[3] for line in lines} == {"2,000"}
    assert [line for line in lines if "**over**" in line] == []


def test_rows_that_are_drawn_again_take_the_place_of_those_of_the_page() -> None:
    first, second = null(0.1), null(0.2)
    drawn = [row for each in (first, second) for row in simulate(each, 50)]
    whole = page(drawn)
    kept = {key: line for key, line in lines_of(whole).items() if "rate 0.1" in line}
    assert list(without(kept, (first, second))) == [second]
    assert page(simulate(second, 50), kept, (first, second)) == whole
