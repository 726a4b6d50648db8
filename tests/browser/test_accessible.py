"""The page for everyone: axe finds nothing serious in light and dark, keys reach all, paper holds all."""

import base64
import json
from pathlib import Path

import pytest
from tests.absent import absent
from tests.browser.reader import Reader

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
_RUN = """
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ['violations']}).then((found) => done(found.violations
  .filter((v) => ['serious', 'critical'].includes(v.impact))
  .map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => n.target + ' ' + n.failureSummary).join(' | ')}`)));
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_any_tab(reader: Reader, scheme: str) -> None:
    if not AXE.is_file():
        absent("axe-core is not installed: cd web && npm ci")
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    reader.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    reader.open("cell=cpp%E2%90%9Fmodel%E2%90%9FL9_ATTN_V")
    reader.driver.execute_script(AXE.read_text(encoding="utf-8"))
    for tab in ("much", "directions", "when", "matter"):
        reader.run("document.querySelector(`#tab-${arguments[0]}`).click()", tab)
        reader.drawn(tab)
        found = reader.driver.execute_async_script(_RUN)
        assert found == [], f"{tab}, {scheme}"
    reader.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_tabs_move_by_arrow_keys(reader: Reader) -> None:
    from selenium.webdriver.common.keys import Keys

    reader.focus("#tab-much")
    reader.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert reader.run("return document.activeElement.id") == "tab-when"
    assert reader.one("#pane-when").is_displayed()
    assert not reader.one("#pane-much").is_displayed()


def test_every_canvas_is_described_from_its_data_or_hidden(reader: Reader) -> None:
    for tab in ("much", "directions", "when", "matter"):
        reader.tab(tab)
    labels = reader.run(
        "return [...document.querySelectorAll('.panel canvas')]"
        ".filter((c) => !c.closest('.uplot') && c.ariaHidden !== 'true').map((c) => c.ariaLabel)"
    )
    assert len(labels) > 10
    assert all(label and any(sign.isdigit() for sign in label) for label in labels)


def test_lines_are_read_out_by_arrow_keys(reader: Reader) -> None:
    from selenium.webdriver.common.keys import Keys

    reader.open("tab=when")
    reader.focus("#panel-course .chart")
    reader.keys(Keys.END)
    reader.until("return document.querySelector('#live').textContent.includes('optimizer step 40')")


def test_every_control_is_reached_by_tab_and_is_a_real_one(reader: Reader) -> None:
    bad = reader.run(
        "return [...document.querySelectorAll('[onclick], div[role=button], span[role=button]')].length"
    )
    assert bad == 0
    assert reader.run("return document.querySelectorAll('select, input, button, summary').length") > 20


def test_paper_holds_all_tabs_in_a4(reader: Reader) -> None:
    found = reader.driver.execute_cdp_cmd(
        "Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True}
    )
    pdf = base64.b64decode(found["data"])
    assert pdf.startswith(b"%PDF")
    assert b"/MediaBox [0 0 594" in pdf or b"/MediaBox [0 0 595" in pdf
    reader.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert all(pane.is_displayed() for pane in reader.every(".pane"))
        assert len(reader.every(".pane canvas")) > 10
        assert not reader.one(".tools").is_displayed()
        # On paper every model's border is whole, and nothing can be pressed.
        for note in (".all-chips", "#absent"):
            reader.run("document.querySelector(arguments[0]).hidden = false", note)
            assert not reader.one(note).is_displayed(), note
        chips = "getComputedStyle(document.querySelector('.top .chips'))"
        assert reader.run(f"return [{chips}.maxHeight, {chips}.overflow]") == ["none", "visible"]
    finally:
        reader.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_paper_holds_folded_sentences_and_the_screen_folds_them_again(reader: Reader) -> None:
    reader.open("tab=when")
    folded = (
        "const own = [...document.querySelectorAll('#told, .more, .pane > details')];"
        "return own.map((details) => details.open)"
    )
    before = reader.run(folded)
    assert not before[0]
    reader.run("dispatchEvent(new Event('beforeprint'))")
    assert all(reader.run(folded))
    reader.run("dispatchEvent(new Event('afterprint'))")
    assert reader.run(folded) == before


def test_with_reduced_motion_nothing_moves_by_itself(reader: Reader) -> None:
    media = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    reader.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    reader.open("cell=cpp%E2%90%9Fmodel%E2%90%9FL9_ATTN_V")
    assert reader.run("return getComputedStyle(document.querySelector('#drawer')).animationName") == "none"
    reader.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_nothing_is_wider_than_a_telephone(reader: Reader) -> None:
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    reader.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for tab in ("much", "directions", "when", "matter"):
            reader.open(f"tab={tab}")
            wide = reader.run("return document.documentElement.scrollWidth")
            assert wide <= 390, json.dumps([tab, wide])
    finally:
        reader.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_what_a_finger_presses_is_high_enough(reader: Reader) -> None:
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    reader.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    low = (
        "return [...document.querySelectorAll('button, select, input, summary, a')]"
        ".map((e) => [e.textContent.slice(0, 20), e.getBoundingClientRect().height])"
        ".filter(([, height]) => height > 0 && height < 24)"
    )
    try:
        for tab in ("much", "directions", "when", "matter"):
            reader.open(f"tab={tab}")
            assert reader.run(low) == [], tab
    finally:
        reader.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
