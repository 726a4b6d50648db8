"""What the link of a sentence outlines: its cells in its models, in its own tab, until cleared."""

from tests.browser.reader import Reader

from tunescope.study.finding import Finding
from tunescope.study.study import Study

# Prints of every map of a panel, told by their titles.
_MAPS = (
    "return Object.fromEntries([...document.querySelectorAll(`#panel-${arguments[0]} .sheet canvas`)]"
    ".map((c) => [c.ariaLabel.split(':')[0], c.toDataURL()]))"
)
_LINK = (
    "return [...document.querySelectorAll('#answer a.show')]"
    ".find((a) => a.hash.includes('tab=directions') && a.textContent.includes('cell'))"
)


def maps(reader: Reader, panel: str) -> dict[str, str]:
    return dict(reader.run(_MAPS, panel))


def finding(studies: list[Study]) -> Finding:
    """The strongest finding of some cells of one pair."""
    subspace = next(study for study in studies if study.kind == "subspace")
    return next(f for f in subspace.findings if f.components and len(f.models) == 2)


def follow(reader: Reader) -> None:
    reader.tab("directions")
    reader.run("arguments[0].click()", reader.run(_LINK))
    reader.until("return document.querySelector('.meant')")


def test_a_sentence_about_a_pair_outlines_cells_of_this_pair_alone(
    reader: Reader, studies: list[Study]
) -> None:
    models = set(finding(studies).models)
    reader.tab("directions")
    side = "output" if "output" in finding(studies).evidence["statistic"] else "input"
    reader.open(f"tab=directions&directions.m=excess_{side}")
    before = maps(reader, "directions")
    follow(reader)
    after = maps(reader, "directions")
    changed = {title for title in before if before[title] != after[title]}
    assert {frozenset(title.split(" · ")) for title in changed} == {frozenset(models)}


def test_a_sentence_about_cells_leads_to_their_map_on_its_own_side(
    reader: Reader, studies: list[Study]
) -> None:
    follow(reader)
    assert reader.run("return document.querySelector('.meant').closest('.panel').id") == "panel-directions"
    label = reader.run("return document.querySelector('.meant').ariaLabel")
    assert finding(studies).evidence["statistic"].partition(" side")[0] in label


def test_outlines_stay_in_the_tab_of_their_sentence(reader: Reader) -> None:
    before = maps(reader, "norms")
    follow(reader)
    reader.tab("much")
    assert maps(reader, "norms") == before


def test_outlines_are_cleared_by_a_press_beside_them_and_by_escape(reader: Reader) -> None:
    from selenium.webdriver.common.keys import Keys

    follow(reader)
    reader.press("#panel-directions .clear")
    assert "mark=" not in reader.state()
    assert not reader.every("li.marked, .meant")
    follow(reader)
    assert reader.one("#pane-directions li.marked .clear").is_displayed()
    reader.keys(Keys.ESCAPE)
    assert "mark=" not in reader.state()
    assert not reader.one("#panel-directions .clear").is_displayed()


def test_escape_closes_the_open_weight_and_leaves_the_outlines(reader: Reader) -> None:
    from selenium.webdriver.common.keys import Keys

    follow(reader)
    reader.focus("#panel-directions .sheet canvas")
    reader.keys(Keys.ARROW_RIGHT, Keys.ENTER)
    assert reader.one("#drawer").is_displayed()
    reader.keys(Keys.ESCAPE)
    assert not reader.one("#drawer").is_displayed()
    assert "mark=" in reader.state()
