import sys

import pytest

from tunescope.study import progress as module
from tunescope.study.progress import shown


def test_without_a_terminal_lines_come_with_pauses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([0.0, 0.0, 6.0, 6.0, 7.0, 12.0, 12.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    with shown() as tell:
        for done in range(1, 5):
            tell("drawing", done, 1200)
    assert capsys.readouterr().err.splitlines() == ["drawing: 2 of 1,200", "drawing: 4 of 1,200"]


def test_a_quiet_command_and_every_process_but_the_first_show_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    with shown(quiet=True) as tell:
        tell("drawing", 1, 2)
    monkeypatch.setenv("RANK", "1")
    with shown() as tell:
        tell("drawing", 1, 2)
    assert not capsys.readouterr().err


def test_a_terminal_gets_a_bar_that_goes_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(module, "_PATIENCE", 0.0)
    with shown() as tell:
        tell("drawing", 3, 4)
        tell("scoring", 1, 2)
    assert "drawing" in capsys.readouterr().err
