"""What a sweep shows while it runs: bars on a terminal, lines elsewhere, nothing from a second process."""

import io

import pytest

from tunescope.cli.progress import described, shown_progress
from tunescope.training.progress import Event

EVENTS = [
    Event("loading", "a", 0, 2),
    Event("training", "a", 0, 2, 1, 4, 2.5),
    Event("training", "a", 0, 2, 2, 4, 2.25),
    Event("done", "a", 0, 2),
    Event("skipped", "b", 1, 2),
]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def shown(monkeypatch):
    """All that the events leave on a stream that is the standard error."""

    def show(stream, **environment):
        for name in ("NO_COLOR", "RANK", "FORCE_COLOR", "TTY_COMPATIBLE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"TERM": "xterm", "COLUMNS": "100", **environment}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.stderr", stream)
        with shown_progress() as listen:
            for event in EVENTS:
                listen(event)
        return stream.getvalue()

    return show


def test_a_pipe_gets_one_plain_line_a_phase(shown):
    assert shown(io.StringIO()).splitlines() == [
        "[1/2] a: loading",
        "[1/2] a: training, step 1 of 4, loss 2.5000",
        "[1/2] a: done",
        "[2/2] b: skipped",
    ]


def test_a_terminal_gets_bars_that_leave_nothing_behind(shown):
    text = shown(Terminal())
    assert "2/2" in text
    assert "\x1b[3" in text
    assert text.endswith("\x1b[2K")


def test_colours_can_be_turned_off(shown):
    assert "\x1b[3" not in shown(Terminal(), NO_COLOR="1")


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(shown):
    assert shown(Terminal(), TERM="dumb").startswith("[1/2] a: loading\n")


def test_a_second_process_shows_nothing(shown):
    assert shown(Terminal(), RANK="1") == ""


def test_an_event_in_words():
    assert described(Event("training", "a", 0, 1, 1200, 3000)) == "a: training, step 1,200 of 3,000"
