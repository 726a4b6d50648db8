"""A real Chromium without a network, and the page of every kind of study in it."""

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.absent import absent
from tests.browser.reader import Reader
from tests.browser.studies import every_study

from tunescope.study.report import report
from tunescope.study.study import Study

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    # No name resolves: whatever the page asked of a network would fail, and be logged.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip


def started(folder: Path, *flags: str, env: dict[str, str] | None = None) -> "Chrome":
    """A fresh browser with its own profile; a skip (a failure where required) where there is none."""
    if importlib.util.find_spec("selenium") is None:
        absent("selenium is not installed: pip install -e '.[dev]'")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        absent("Chromium and chromedriver are not here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(binary)
    for flag in (*_FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", "--window-size=1300,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_experimental_option(
        "prefs", {"download.default_directory": str(folder), "download.prompt_for_download": False}
    )
    return webdriver.Chrome(options=options, service=Service(driver, env=env))


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> list[Study]:
    """One study of every kind that a page shows."""
    return every_study(tmp_path_factory.mktemp("studies"))


@pytest.fixture(scope="session")
def page(studies: list[Study], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of all studies."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(report(studies), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def browser_downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the browser puts files."""
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="session")
def browser(browser_downloads: Path) -> "Iterator[Chrome]":
    """One browser for all tests."""
    driver = started(browser_downloads)
    yield driver
    driver.quit()


@pytest.fixture
def reader(browser: "Chrome", page: Path) -> Iterator[Reader]:
    """The page opened anew; whatever it logs as an error fails the test."""
    opened = Reader(browser, page)
    opened.open()
    yield opened
    assert opened.errors() == []
