"""The page in a real browser: figures, keys, links, search, files; and its numbers are the tables'."""

import csv
import re
from pathlib import Path

import polars as pl
import pytest
from tests.browser.reader import Reader

from tunescope.study.study import Study


def frame(studies: list[Study], kind: str) -> pl.DataFrame:
    return next(study for study in studies if study.kind == kind).table.frame


def shown(text: str) -> float:
    return float(text.replace("−", "-").replace(",", "").rstrip("×"))


def test_the_page_asks_the_network_for_nothing(reader: Reader) -> None:
    assert reader.run("return performance.getEntriesByType('resource').length") == 0


def test_a_script_that_is_not_the_page_s_own_does_not_run(reader: Reader) -> None:
    reader.run(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1';document.body.append(s)"
    )
    assert reader.run("return window.ran") is None
    assert any("Content Security Policy" in message for message in reader.errors())


def test_code_from_text_is_refused(reader: Reader) -> None:
    # The policy holds for what runs in the page, so the page itself is asked to evaluate.
    blocked = reader.run("return document.querySelector('meta[http-equiv]').content")
    assert "unsafe-eval" not in blocked
    assert "unsafe-inline" not in blocked


def test_the_first_of_the_ranked_list_is_the_largest_of_the_table(
    reader: Reader, studies: list[Study]
) -> None:
    largest = frame(studies, "norms").sort("frobenius_norm_normalized", descending=True).row(0, named=True)
    first = [cell.text for cell in reader.every("#panel-norms .ranked tbody tr:first-child td")]
    assert first[1:3] == [largest["component_name"], largest["model_id"]]
    assert shown(first[3]) == pytest.approx(largest["frobenius_norm_normalized"], rel=1e-3)


def test_the_table_behind_a_map_holds_the_table_s_numbers(reader: Reader, studies: list[Study]) -> None:
    head, *rows = reader.rows("panel-norms")
    norms = frame(studies, "norms")
    places = [head.index(name) for name in ("model_id", "component_name", "frobenius_norm")]
    found = {(row[places[0]], row[places[1]]): float(row[places[2]]) for row in rows}
    assert len(found) == norms.height
    for model, component, value in norms.select("model_id", "component_name", "frobenius_norm").iter_rows():
        if (model, component) in found:
            assert found[model, component] == pytest.approx(value, rel=1e-6)


def test_arrow_keys_move_over_cells_and_say_value_rank_and_ratio(
    reader: Reader, studies: list[Study]
) -> None:
    from selenium.webdriver.common.keys import Keys

    reader.focus("#panel-norms canvas[tabindex]")
    reader.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    said = reader.said()
    norms = frame(studies, "norms").filter(pl.col("model_id") == "cpp")
    found = re.match(
        r"(L\d+_\w+) of cpp, .*: ([\d.]+), rank (\d+) of the (\d+) in this map, ([\d.]+) × their median", said
    )
    assert found is not None, said
    row = norms.filter(pl.col("component_name") == found[1]).row(0, named=True)
    values = norms["frobenius_norm_normalized"]
    assert shown(found[2]) == pytest.approx(row["frobenius_norm_normalized"], rel=1e-3)
    assert int(found[3]) == int((values > row["frobenius_norm_normalized"]).sum()) + 1
    assert int(found[4]) == norms.height
    assert shown(found[5]) == pytest.approx(row["frobenius_norm_normalized"] / values.median(), rel=1e-2)


def test_enter_opens_the_weight_and_escape_gives_the_focus_back(reader: Reader) -> None:
    from selenium.webdriver.common.keys import Keys

    reader.focus("#panel-norms canvas[tabindex]")
    reader.keys(Keys.ARROW_RIGHT, Keys.ENTER)
    assert reader.one("#drawer").is_displayed()
    assert "cell=" in reader.state()
    assert reader.run("return document.activeElement.id") == "drawer-title"
    reader.keys(Keys.ESCAPE)
    assert not reader.one("#drawer").is_displayed()
    assert "cell=" not in reader.state()
    assert reader.run("return document.activeElement.tagName") == "CANVAS"


def test_escape_closes_the_weight_wherever_the_focus_is(reader: Reader) -> None:
    from selenium.webdriver.common.keys import Keys

    reader.focus("#panel-norms canvas[tabindex]")
    reader.keys(Keys.ARROW_RIGHT, Keys.ENTER)
    reader.focus("#search")
    reader.keys("L9 v", Keys.ESCAPE)
    assert reader.one("#drawer").is_displayed()
    reader.run("document.activeElement.blur()")
    reader.keys(Keys.ESCAPE)
    assert not reader.one("#drawer").is_displayed()


def test_search_finds_a_weight_by_layer_and_letter_and_opens_it(reader: Reader, studies: list[Study]) -> None:
    from selenium.webdriver.common.keys import Keys

    reader.keys("/")
    reader.keys("L9 v")
    options = [option.text for option in reader.every("#found [role=option]")]
    assert options
    assert all(option.startswith("L9_ATTN_V") for option in options)
    reader.keys(Keys.ENTER)
    assert reader.text("#drawer-title") == "L9_ATTN_V"
    drawn = reader.text("#drawer")
    row = frame(studies, "norms").filter(
        (pl.col("component_name") == "L9_ATTN_V") & (pl.col("model_id") == "cpp")
    )
    assert f"{row['stable_rank'][0]:.4g}" in drawn
    for section in ("How much each weight changed", "Where are directions shared?", "φ(i, j), beside chance"):
        assert section in drawn


def test_the_slider_moves_the_maps_and_the_address(reader: Reader) -> None:
    from selenium.webdriver.common.keys import Keys

    reader.open("tab=when")
    before = reader.run("return document.querySelector('#panel-motion .sheet canvas').toDataURL()")
    reader.focus("#panel-motion input[type=range]")
    reader.keys(Keys.HOME)
    assert reader.one("#panel-motion output").text.startswith("step 10")
    assert reader.run("return document.querySelector('#panel-motion .sheet canvas').toDataURL()") != before
    reader.until("return location.hash.includes('motion.step=10')")


def test_play_runs_to_the_last_step(reader: Reader) -> None:
    reader.open("tab=when")
    reader.press("#panel-motion .play")
    assert reader.one("#panel-motion .play").text == "Pause"
    reader.until("return document.querySelector('#panel-motion .play').textContent === 'Play'")
    assert reader.one("#panel-motion output").text.startswith("step 40")


def test_an_address_shows_what_its_sender_saw(reader: Reader) -> None:
    reader.press("button[data-model='2']")
    reader.run(
        "const s = document.querySelector('#panel-norms select'); s.value = 'stable_rank';"
        "s.dispatchEvent(new Event('change'))"
    )
    state = reader.state()
    reader.open(state)
    assert reader.one("button[data-model='2']").get_attribute("aria-pressed") == "false"
    assert reader.run("return document.querySelector('#panel-norms select').value") == "stable_rank"
    assert len(reader.every("#panel-norms .sheet canvas")) == 2


def test_a_sentence_s_link_outlines_the_cells_it_means(reader: Reader) -> None:
    link = next(a for a in reader.every("a.show") if "2 cells" in str(a.get_property("textContent")))
    reader.run("arguments[0].click()", link)
    assert "mark=" in reader.state()
    assert reader.one("#tab-matter").get_attribute("aria-selected") == "true"
    assert reader.every("li.marked")


def test_two_models_give_a_difference_with_a_marked_centre(reader: Reader, studies: list[Study]) -> None:
    reader.open("norms.b=python&norms.a=cpp")
    norms = frame(studies, "norms").pivot(
        "model_id", index="component_name", values="frobenius_norm_normalized"
    )
    differences = norms.select(d=(pl.col("python") - pl.col("cpp")).abs())["d"]
    caption = reader.run(
        "return [...document.querySelectorAll('#panel-norms .ranked tbody tr')].map((r) => r.textContent)[0]"
    )
    assert "python − cpp" in caption
    cells = [cell.text for cell in reader.every("#panel-norms .ranked tbody tr:first-child td")]
    assert abs(shown(cells[3])) == pytest.approx(differences.max(), rel=1e-3)


def test_the_attribution_s_bars_add_up_and_its_list_is_signed(reader: Reader, studies: list[Study]) -> None:
    reader.open("tab=matter")
    cells = frame(studies, "attribution")
    largest = cells.sort(pl.col("attribution").abs(), descending=True).row(0, named=True)
    first = [cell.text for cell in reader.every("#panel-attribution .ranked tbody tr:first-child td")]
    value, error = (shown(part) for part in first[3].split(" ± "))
    assert error == pytest.approx(largest["stderr"], rel=0.05)
    assert value == pytest.approx(largest["attribution"], abs=error / 10)
    assert "[nats/token]" in reader.text("#panel-attribution .ranked thead")
    assert reader.run("return document.querySelector('#panel-gain canvas').ariaLabel").count("gain 0.8") == 1


def test_a_box_over_marks_outlines_their_weights(reader: Reader) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    reader.open("tab=matter")
    reader.focus("#panel-effect canvas")
    canvas = reader.one("#panel-effect canvas")
    across, down = canvas.size["width"] // 2 - 20, canvas.size["height"] // 2 - 20
    ActionChains(reader.driver).move_to_element_with_offset(
        canvas, -across, -down
    ).click_and_hold().move_by_offset(2 * across, 2 * down - 30).release().perform()
    assert "outlined in all maps" in reader.text("#panel-effect .told")


def test_csv_and_svg_are_files_with_the_figure_s_numbers(
    reader: Reader, studies: list[Study], browser_downloads: Path
) -> None:
    reader.press("#panel-norms .tools button:nth-child(3)")
    reader.press("#panel-norms .tools button:nth-child(2)")
    written = browser_downloads / "panel-norms.csv", browser_downloads / "panel-norms.svg"
    reader.wait_for(*written)
    rows = list(csv.DictReader(written[0].read_text(encoding="utf-8").splitlines()))
    norms = frame(studies, "norms")
    assert len(rows) == norms.height
    assert sum(float(row["frobenius_norm"]) for row in rows) == pytest.approx(
        norms["frobenius_norm"].sum(), rel=1e-6
    )
    svg = written[1].read_text(encoding="utf-8")
    assert ">q_proj</text>" in svg
    assert svg.count("<rect") > norms.height


def test_every_figure_of_every_tab_is_drawn(reader: Reader) -> None:
    for tab in ("much", "directions", "when", "matter"):
        reader.tab(tab)
        figures = reader.every(f"#pane-{tab} .panel")
        assert figures
        for figure in figures:
            assert figure.find_elements("css selector", ".body canvas")
            assert figure.find_element("css selector", "figcaption").text


def test_pressing_a_model_hides_it_everywhere(reader: Reader) -> None:
    assert len(reader.every("#panel-norms .sheet canvas")) == 3
    reader.press("button[data-model='0']")
    assert len(reader.every("#panel-norms .sheet canvas")) == 2
    reader.tab("directions")
    assert len(reader.every("#panel-directions .sheet canvas")) == 1
