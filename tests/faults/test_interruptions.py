"""Signals that a library swallows: native code that calls Python back may drop what a handler raises."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tunescope import interruption
from tunescope.questions.norms.table import measure_norms

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Python's own handlers, which a shell's background has it ignore; put back, and what came forgotten."""
    before = {number: signal.getsignal(number) for number, _ in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    hook = sys.unraisablehook
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    sys.unraisablehook = hook
    interruption._ASKED.clear()


def _swallowed(number: int) -> None:
    """A signal that comes while native code calls back."""
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("after", ["nothing", TypeError, "panic"])
def test_a_signal_that_a_library_swallowed_still_ends_the_command_and_nothing_is_published(
    run: Callable[..., Any], adapter: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    number: int, code: int, after: Any,
) -> None:  # fmt: skip
    """Polars, stopped in a cast, went on to a TypeError: exit 70 and `a bug of ours`."""

    class PanicError(BaseException):
        """As the native libraries of Rust raise."""

    def measure(*given: Any, **named: Any) -> Any:
        _swallowed(number)
        if after == "panic":
            raise PanicError
        if after != "nothing":
            raise after("what is left is no type")
        return measure_norms(*given, **named)

    monkeypatch.setattr("tunescope.questions.norms.study.measure_norms", measure)
    ran = run("norms", adapter(), "-o", tmp_path / "study", "--figures", "none")
    assert ran.code == code
    assert "bug" not in ran.err
    assert ran.err.count("interrupted") == (number == signal.SIGINT)
    assert [path.name for path in tmp_path.iterdir() if "study" in path.name] == []


def test_a_study_is_not_published_over_another_once_the_end_was_asked_for(
    run: Callable[..., Any], adapter: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tunescope.writing

    source, out, brought = adapter(), tmp_path / "study", tunescope.writing._bring_to_disk
    assert run("norms", source, "-o", out, "--figures", "none").code == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def late(folder: Path) -> None:
        brought(folder)
        _swallowed(signal.SIGINT)

    monkeypatch.setattr(tunescope.writing, "_bring_to_disk", late)
    assert run("norms", source, "-o", out, "--overwrite").code == 130
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_what_was_dropped_on_the_way_to_the_end_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Python writes a traceback of what it cannot raise."""

    class Dropped:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    interruption.heed()
    Dropped()
    assert interruption.asked() == 130
    assert capsys.readouterr().err == ""


def test_a_signal_that_the_parent_has_it_ignore_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interruption.heed()
    os.kill(os.getpid(), signal.SIGINT)
    assert interruption.asked() is None


def test_a_file_that_ends_early_where_no_reader_expects_it_is_a_bug_and_no_interruption(
    run: Callable[..., Any], adapter: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """click takes an EOFError for the answer to a prompt."""

    def broken(*_: Any) -> None:
        raise EOFError("planted")

    monkeypatch.setattr("tunescope.source.files.container.parse_header", broken)
    ran = run("norms", adapter())
    assert ran.code == 70
    assert "a bug of ours: EOFError: planted" in ran.err
