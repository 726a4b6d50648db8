"""A browser under a POSIX locale, whose language Intl does not know, shows the page all the same."""

import os
from pathlib import Path

from tests.browser.conftest import started
from tests.browser.reader import Reader


def test_lines_are_drawn_under_a_posix_locale(page: Path, tmp_path: Path) -> None:
    posix = {**os.environ, "LC_ALL": "C", "LANG": "C", "LANGUAGE": ""}
    driver = started(tmp_path, "--lang=en-US-posix", env=posix)
    try:
        reader = Reader(driver, page)
        reader.open("tab=when")
        assert len(reader.every("#panel-course .uplot")) >= 1
        assert reader.errors() == []
    finally:
        driver.quit()


def test_a_language_that_intl_refuses_is_replaced_before_lines_are_drawn(page: Path, tmp_path: Path) -> None:
    driver = started(tmp_path)
    try:
        refused = "Object.defineProperty(navigator, 'language', {value: 'en-US@posix', configurable: true})"
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": refused})
        reader = Reader(driver, page)
        reader.open("tab=when")
        assert len(reader.every("#panel-course .uplot")) >= 1
        assert reader.errors() == []
    finally:
        driver.quit()
