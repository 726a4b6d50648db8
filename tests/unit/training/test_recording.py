"""The recording of captures: how its parts are read back."""

import subprocess
from pathlib import Path

import polars as pl
import pytest

from tunescope.training.recording import SCHEMA, Recording, read_capture


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    """A recording of twelve steps, one row each, that was not brought to its end."""
    begun = Recording(tmp_path, {})
    begun.begin(0)
    for step in range(1, 13):
        begun.append(step, pl.DataFrame({"step": [step]}).match_to_schema(SCHEMA, missing_columns="insert"))
    return begun


@pytest.mark.usefixtures("recording")
def test_all_parts_of_a_recording_are_proven_readable_by_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    real = subprocess.run

    def counted(*args: object, **kwargs: object) -> object:
        started.append(args)
        return real(*args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", counted)

    # What another process recorded, as far as this one knows.
    Recording(tmp_path, {}).finish()

    assert len(started) == 1
    assert read_capture(tmp_path).frame["step"].to_list() == list(range(1, 13))


def test_what_a_process_has_recorded_itself_needs_no_other_one_to_prove_it(
    recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))

    recording.finish()
    monkeypatch.undo()

    assert read_capture(tmp_path).frame["step"].to_list() == list(range(1, 13))
