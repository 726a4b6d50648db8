"""Moving through the page: answers fold above later tabs, a press on a model changes no scale."""

import re
from collections import Counter

import polars as pl
import pytest
from tests.browser.reader import Reader

from tunescope.study.study import Study

LIMITS = "return document.querySelector('#panel-norms .scale').toDataURL()"


def told_is_open(reader: Reader) -> bool:
    return bool(reader.run("return document.querySelector('#told').open"))


def test_all_answers_stand_above_the_first_tab_alone(reader: Reader) -> None:
    assert told_is_open(reader)
    reader.tab("when")
    assert not told_is_open(reader)
    assert "sentence" in reader.one("#told summary").text
    above = reader.run("return document.querySelector('#pane-when').getBoundingClientRect().top + scrollY")
    assert above < 420
    reader.tab("much")
    assert told_is_open(reader)


def test_a_later_tab_begins_with_what_was_found_of_its_question(reader: Reader) -> None:
    reader.tab("matter")
    assert "lowered the loss of cpp" in reader.one("#pane-matter .own .answer").text
    reader.tab("when")
    assert reader.one("#pane-when .own").text


def test_the_strip_opens_and_the_address_remembers_it(reader: Reader) -> None:
    reader.open("tab=when")
    reader.press("#told > summary")
    reader.until("return location.hash.includes('told=1')")
    reader.open(reader.state())
    assert told_is_open(reader)


def test_the_skip_link_leads_to_the_answers_and_keeps_the_state(reader: Reader) -> None:
    reader.open("tab=when&hide=1")
    reader.run("document.querySelector('.skip').click()")
    assert told_is_open(reader)
    assert reader.run("return document.activeElement.id") == "answer"
    assert "hide=1" in reader.state()


def test_hiding_the_model_of_the_largest_value_changes_no_colour(
    reader: Reader, studies: list[Study]
) -> None:
    norms = next(study for study in studies if study.kind == "norms").table.frame
    largest = norms.sort("frobenius_norm_normalized", descending=True)["model_id"][0]
    other = next(model for model in norms["model_id"].unique(maintain_order=True) if model != largest)
    shown = (
        "const c = [...document.querySelectorAll('#panel-norms .sheet canvas')]"
        ".find((c) => c.ariaLabel.startsWith(arguments[0])); return c.toDataURL()"
    )
    before = reader.run(LIMITS), reader.run(shown, other)
    place = reader.run(
        "return [...document.querySelectorAll('[data-model]')]"
        ".findIndex((chip) => chip.textContent === arguments[0])", largest
    )  # fmt: skip
    reader.press(f"button[data-model='{place}']")
    assert reader.run("return document.querySelectorAll('#panel-norms .sheet canvas').length") == 2
    assert (reader.run(LIMITS), reader.run(shown, other)) == before
    reader.run(
        "const s = [...document.querySelectorAll('#panel-norms select')]"
        ".find((s) => [...s.options].some((o) => o.value === 'shown'));"
        "s.value = 'shown'; s.dispatchEvent(new Event('change'))"
    )
    assert reader.run(LIMITS) != before[0]


def test_a_model_is_never_compared_with_itself(reader: Reader, studies: list[Study]) -> None:
    norms = next(study for study in studies if study.kind == "norms").table.frame
    for model in norms["model_id"].unique(maintain_order=True):
        reader.open(f"norms.b={model}")
        said = reader.text("#panel-norms .ranked tbody tr")
        assert f"{model} − " in said
        assert f"{model} − {model}" not in said
        minus = reader.run("return [...document.querySelectorAll('#panel-norms select')].at(-1).textContent")
        assert model not in minus


def test_a_table_shows_its_first_rows_and_sorts_by_a_press(reader: Reader, studies: list[Study]) -> None:
    norms = next(study for study in studies if study.kind == "norms").table.frame
    reader.press("#panel-norms .tools button")
    rows = "return document.querySelectorAll('#panel-norms .behind tbody tr').length"
    assert reader.run(rows) == 20
    head = (
        "[...document.querySelectorAll('#panel-norms .behind th button')]"
        ".find((b) => b.textContent.startsWith('frobenius norm normalized'))"
    )
    column = reader.run(f"{head}.click(); return {head}.parentElement.cellIndex")
    first = f"return document.querySelector('#panel-norms .behind tbody tr').cells[{column}].textContent"
    assert float(reader.run(first)) == pytest.approx(norms["frobenius_norm_normalized"].max(), rel=1e-6)
    reader.run(f"{head}.click()")
    assert float(reader.run(first)) == pytest.approx(norms["frobenius_norm_normalized"].min(), rel=1e-6)
    state = reader.state()
    assert "norms.table=1" in state
    reader.open(state)
    assert float(reader.run(first)) == pytest.approx(norms["frobenius_norm_normalized"].min(), rel=1e-6)


def test_models_that_a_tab_has_nothing_of_are_told_apart(reader: Reader, studies: list[Study]) -> None:
    attribution = next(study for study in studies if study.kind == "attribution").table.frame
    reader.tab("matter")
    present = reader.run(
        "return [...document.querySelectorAll('.chip[data-model]:not(.absent)')].map((c) => c.textContent)"
    )
    assert set(present) == set(attribution["model_id"].unique()) | {"base"}


def test_the_bars_of_all_maps_are_on_one_scale(reader: Reader, studies: list[Study]) -> None:
    norms = next(study for study in studies if study.kind == "norms").table.frame
    size = pl.col("frobenius_norm_normalized")
    means = norms.group_by("model_id", "layer").agg(size.mean())
    largest = means.group_by("model_id").agg(size.max())
    wanted = {m: v / means["frobenius_norm_normalized"].max() for m, v in largest.iter_rows()}
    maps = reader.svg("norms").split("<g ")[1:-1]
    assert len(maps) == len(wanted)
    # Bars of rows share one height, which is less than that of a cell; those of columns have their own.
    bars = [re.findall(r'width="([\d.]+)" height="([\d.]+)" fill="#b0b0a8"', drawn) for drawn in maps]
    height = Counter(h for found in bars for _, h in found).most_common(1)[0][0]
    widths = [max(float(w) for w, h in found if h == height) for found in bars]
    for drawn, width in zip(maps, widths, strict=True):
        model = next(name for name in wanted if f">{name}</text>" in drawn)
        assert width / max(widths) == pytest.approx(wanted[model], abs=0.02), model
