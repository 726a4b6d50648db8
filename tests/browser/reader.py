"""What a person does with the page: open it, press keys, read what is shown and said."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

_PATIENCE = 30.0
_KEEP = """
window.kept = null;
URL.createObjectURL = (blob) => { blob.text().then((text) => { window.kept = text; }); return "#"; };
"""
_MORE = """
const buttons = [...document.querySelectorAll(`#${arguments[0]} .rest button`)];
const more = buttons.find((button) => button.textContent.startsWith("show"));
more?.click();
return Boolean(more);
"""


class Reader:
    """One page in one browser."""

    def __init__(self, driver: "Chrome", path: Path) -> None:
        self.driver = driver
        self.path = path

    def open(self, state: str = "") -> None:
        """Open the page from the disk, with a state in its address, and wait until it is ready."""
        self.driver.get("about:blank")
        self.driver.get(self.path.as_uri() + (f"#{state}" if state else ""))
        self.until("return document.documentElement.dataset.whole !== undefined")

    def until(self, script: str) -> Any:
        """Wait until the script gives something true."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, _PATIENCE, poll_frequency=0.05).until(
            lambda d: d.execute_script(script)
        )

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a script."""
        return self.driver.execute_script(script, *arguments)  # type: ignore[no-untyped-call]

    def one(self, selector: str) -> "WebElement":
        """The first element."""
        return self.driver.find_element("css selector", selector)

    def every(self, selector: str) -> "Sequence[WebElement]":
        """All elements."""
        return self.driver.find_elements("css selector", selector)

    def text(self, selector: str) -> str:
        """The text of the first element, shown or not."""
        return str(self.run("return document.querySelector(arguments[0]).textContent", selector))

    def keys(self, *keys: str) -> None:
        """Press keys where the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def focus(self, selector: str) -> None:
        """Put the focus somewhere, scrolled into view."""
        self.run(
            "const e = document.querySelector(arguments[0]); e.scrollIntoView({block: 'center'}); e.focus()",
            selector,
        )

    def press(self, selector: str) -> None:
        """Click the first element."""
        self.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
        self.one(selector).click()

    def tab(self, name: str) -> None:
        """Press a tab and wait until all of its figures are drawn."""
        self.press(f"#tab-{name}")
        self.drawn(name)

    def drawn(self, tab: str) -> None:
        """Wait until all figures of a tab are drawn."""
        bodies = f"[...document.querySelectorAll('#pane-{tab} .panel .body')]"
        self.until(f"return {bodies}.every((body) => body.childElementCount)")

    def said(self) -> str:
        """What the live region says, once it says something."""
        return str(self.until("return document.querySelector('#live').textContent"))

    def state(self) -> str:
        """What stands behind the # of the address."""
        return str(self.run("return location.hash.slice(1)"))

    def errors(self) -> list[str]:
        """What the console has logged as an error."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def rows(self, figure: str) -> list[list[str]]:
        """The table behind a figure, shown whole: its head and its rows."""
        self.press(f"#{figure} .tools button")
        while self.run(_MORE, figure):
            pass
        script = (
            "return [...document.querySelectorAll(`#${arguments[0]} .behind tr`)]"
            ".map((row) => [...row.children].map((cell) => cell.dataset.column ?? cell.textContent))"
        )
        found = self.run(script, figure)
        self.press(f"#{figure} .tools button")
        return [[str(cell) for cell in row] for row in found]

    def saved(self, selector: str) -> str:
        """The text of the file that a button saves."""
        self.run(_KEEP + "document.querySelector(arguments[0]).click();", selector)
        return str(self.until("return window.kept"))

    def svg(self, panel: str) -> str:
        """The SVG that a press gives, without the file."""
        self.run(_KEEP)
        script = "[...document.querySelectorAll(`#panel-${arguments[0]} .tools button`)]"
        self.run(f"{script}.find((button) => button.textContent === 'SVG').click()", panel)
        return str(self.until("return window.kept"))

    def wait_for(self, *paths: Path) -> None:
        """Wait until files are there, whole."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, _PATIENCE, poll_frequency=0.05).until(
            lambda _: all(path.is_file() and path.stat().st_size for path in paths)
        )
