import sys

import pytest

from tunescope.study import counting as module
from tunescope.study.counting import counted


def test_without_a_terminal_lines_come_with_pauses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([0.0, 1.0, 6.0, 6.0, 7.0, 12.0, 12.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    with counted("drawing") as tell:
        for done in (1, 2, 3, 4):
            tell(done, 1000)
    assert capsys.readouterr().err == "drawing: 2 of 1,000\ndrawing: 4 of 1,000\n"


def test_a_terminal_gets_a_bar_that_goes_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with counted("drawing") as tell:
        tell(1, 2)
        tell(2, 2)
    assert capsys.readouterr().out == ""
