"""What stands on paper: folded words, and what was chosen on the screen; whose each line is."""

from tests.browser.reader import Reader

_PRINT = "dispatchEvent(new Event('beforeprint'))"


def test_paper_opens_every_fold_and_closes_it_again(reader: Reader) -> None:
    closed = "return document.querySelectorAll('main details:not([open])').length"
    before = reader.run(closed)
    assert before > 0
    reader.run(_PRINT)
    assert reader.run(closed) == 0
    reader.run("dispatchEvent(new Event('afterprint'))")
    assert reader.run(closed) == before


def test_paper_says_which_step_measure_method_and_weight_are_shown(reader: Reader) -> None:
    reader.run(_PRINT)
    assert reader.text("#panel-motion .settings").rstrip(".").endswith("step 40 · 3 of 3")
    assert "method " in reader.text("#panel-importance .settings")
    assert reader.text("#panel-phi .settings").startswith("Shown: L")
    reader.run("dispatchEvent(new Event('afterprint'))")
    assert not reader.one("#panel-norms .settings").is_displayed()


def test_the_tip_of_a_chart_names_each_line_beside_its_colour(reader: Reader) -> None:
    from selenium.webdriver.common.keys import Keys

    reader.tab("when")
    reader.focus("#pane-when .chart")
    reader.keys(Keys.HOME)
    apart = (
        "const mark = document.querySelector('#tip .swatch');"
        "const [a, b] = [mark, mark.parentElement].map((e) => e.getBoundingClientRect());"
        "return Math.abs(a.top + a.bottom - b.top - b.bottom) / 2"
    )
    assert reader.until("return document.querySelector('#tip .swatch')")
    assert reader.run(apart) < 5


def test_every_line_is_named_beside_its_colour(reader: Reader) -> None:
    reader.tab("when")
    named = reader.run(
        "return [...document.querySelectorAll('.line-names')].map((list) =>"
        "[...list.children].map((item) => [item.querySelector('.swatch') !== null, item.textContent]))"
    )
    assert named
    assert all(swatch and text for names in named for swatch, text in names)


def test_paper_keeps_the_colours_that_name_lines_and_the_bars_of_lists(reader: Reader) -> None:
    # A browser leaves backgrounds out of what it prints unless told otherwise.
    reader.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    kept = (
        "return [...document.querySelectorAll('.swatch, td .bar')]"
        ".map((e) => getComputedStyle(e).printColorAdjust)"
    )
    adjusted = reader.run(kept)
    reader.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert len(adjusted) > 10
    assert set(adjusted) == {"exact"}
