"""The ten questions of `questions.md`, answered from what the page shows and compared with the tables."""

import re
from typing import Any

import polars as pl
import pytest
from tests.browser.reader import Reader

from tunescope.study.study import Study

METRIC = "frobenius_norm_normalized"


@pytest.fixture
def tables(studies: list[Study]) -> dict[str, pl.DataFrame]:
    return {name: table.frame for study in studies for name, table in study.tables.items()}


def number(text: str) -> float:
    return float(text.replace("−", "-").replace(",", ""))


def first_of(reader: Reader, panel: str) -> list[str]:
    cells = f"[...document.querySelectorAll('#panel-{panel} .ranked tbody tr:first-child td')]"
    return [str(text) for text in reader.until(f"return {cells}.map((cell) => cell.textContent)")]


def check(reader: Reader, name: str) -> Any:
    return next(
        c for c in reader.every(".check") if f"{name}:" in str(c.get_property("textContent"))
    ).get_attribute("class")


def test_1_which_weight_changed_most(reader: Reader, tables: dict[str, pl.DataFrame]) -> None:
    largest = tables["norms"].sort(METRIC, descending=True).row(0, named=True)
    found = first_of(reader, "norms")
    assert found[1:3] == [largest["component_name"], largest["model_id"]]
    assert number(found[3]) == pytest.approx(largest[METRIC], rel=1e-3)


def test_2_is_one_model_s_change_a_multiple_of_another_s(
    reader: Reader, tables: dict[str, pl.DataFrame]
) -> None:
    means = dict(tables["norms"].group_by("model_id").agg(pl.col(METRIC).mean()).iter_rows())
    found = re.search(r"chat: mean .* ([\d.]+), ([\d.]+)× that of cpp", reader.text("#pane-much .sentences"))
    assert found is not None
    assert float(found[2]) == pytest.approx(means["chat"] / means["cpp"], abs=0.01)


def test_3_is_any_weight_untrained_or_broken(reader: Reader) -> None:
    assert "good" in check(reader, "frozen")
    assert "good" in check(reader, "finite")


def test_4_which_models_share_directions_and_what_is_chance(
    reader: Reader, tables: dict[str, pl.DataFrame]
) -> None:
    reader.tab("directions")
    pairs = tables["subspace_summary"].group_by("model_a", "model_b").agg(pl.col("excess_input").mean())
    most = pairs.sort("excess_input", descending=True).row(0)
    assert set(most[:2]) == {"cpp", "python"}
    said = reader.text("#pane-directions .sentences")
    found = re.search(r"cpp and python: output φ [\d.]+ \(chance ([\d.]+)\), input φ ([\d.]+)", said)
    assert found is not None
    label = reader.run("return document.querySelector('#panel-shared canvas').ariaLabel")
    assert "largest 1 at" in label or "input" in label


def test_5_how_many_directions_of_one_weight_are_shared(
    reader: Reader, tables: dict[str, pl.DataFrame]
) -> None:
    from selenium.webdriver.common.keys import Keys

    reader.keys("/")
    reader.keys("L9 v", Keys.ENTER)
    row = tables["subspace_summary"].filter(
        (pl.col("component_name") == "L9_ATTN_V")
        & (pl.col("model_a") == "cpp")
        & (pl.col("model_b") == "python")
    )
    drawer = reader.text("#drawer")
    for side in ("output", "input"):
        assert f"directions shared, {side}{row[f'dimensions_shared_{side}'][0]}" in drawer
    assert "by chance" in reader.run(
        "return [...document.querySelectorAll('#drawer canvas')].map((c) => c.ariaLabel).join()"
    )


def test_6_when_did_the_run_reach_half_of_its_last_size(
    reader: Reader, tables: dict[str, pl.DataFrame]
) -> None:
    reader.tab("when")
    label = reader.run("return document.querySelector('#panel-course .chart').ariaLabel")
    steps = tables["motion_by_step"].sort("step")
    sizes = steps["delta_frobenius_norm"].to_list()
    found = re.search(r"from ([\d.,]+) at (\d+) to ([\d.,]+) at (\d+)", label)
    assert found is not None
    assert (int(found[2]), int(found[4])) == (steps["step"][0], steps["step"][-1])
    assert number(found[1]) == pytest.approx(sizes[0], rel=1e-3)
    assert number(found[3]) == pytest.approx(sizes[-1], rel=1e-3)
    half = next(step for step, size in zip(steps["step"], sizes, strict=True) if size >= sizes[-1] / 2)
    said = reader.text("#panel-course figcaption")
    assert f"at least half of its last value at step {half}" in said


def test_7_which_layer_had_moved_most_at_the_first_step(
    reader: Reader, tables: dict[str, pl.DataFrame]
) -> None:
    from selenium.webdriver.common.keys import Keys

    reader.tab("when")
    reader.focus("#panel-motion input[type=range]")
    reader.keys(Keys.HOME)
    label = reader.run("return document.querySelector('#panel-motion .sheet canvas').ariaLabel")
    first = tables["motion"].filter(pl.col("step") == pl.col("step").min())
    largest = first.sort("delta_frobenius_norm", descending=True).row(0, named=True)
    assert f"at {largest['component_name']}" in label


def test_8_what_was_gained_and_by_which_weight(reader: Reader, tables: dict[str, pl.DataFrame]) -> None:
    reader.tab("matter")
    assert "gain 0.8" in reader.run("return document.querySelector('#panel-gain canvas').ariaLabel")
    most = tables["attribution"].sort(pl.col("attribution").abs(), descending=True).row(0, named=True)
    found = first_of(reader, "attribution")
    assert found[1] == most["component_name"]
    value, error = (number(part) for part in found[3].split(" ± "))
    assert value == pytest.approx(most["attribution"], abs=error / 10)


def test_9_is_a_large_change_an_important_one(reader: Reader, tables: dict[str, pl.DataFrame]) -> None:
    reader.tab("matter")
    head, *rows = reader.rows("panel-effect")
    shown = {(row[head.index("data")], row[head.index("component_name")]) for row in rows}
    code = tables["attribution"].filter(pl.col("data") == "code")
    assert shown == {("code", name) for name in code["component_name"]}


def test_10_what_was_read_and_how_it_can_be_repeated(reader: Reader, studies: list[Study]) -> None:
    text = reader.text("#appendix")
    for study in studies:
        for source in study.sources:
            assert str(source["label"]) in text
    assert "tunescope norms cpp=" in text
    assert "tunescope subspace cpp=" in text
    digest = studies[0].sources[0]["digest"]["value"]
    assert digest in text
