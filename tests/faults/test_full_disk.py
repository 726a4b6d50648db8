"""A disk that fills up under `finetune`: no run is called whole that is not, and the same call mends it."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tunescope.demo import model_path
from tunescope.errors import Exhausted, TunescopeError, disk_is_full
from tunescope.questions.trajectory.reading import motion_of
from tunescope.source.runs import find_runs
from tunescope.training import Recipe, finetune, read_capture
from tunescope.training.exhaustion import named_exhaustion
from tunescope.training.motion import Motion
from tunescope.training.run import Run

ADAPTER = "adapter/adapter_model.safetensors"


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[[str], Run]:
    """Train eight steps of the demo model, with a capture at each and a checkpoint at every second."""
    data = tmp_path / "sums.jsonl"
    rows = [{"prompt": f"{a}+{b}=", "completion": str(a + b)} for a in range(6) for b in range(4)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = Recipe(
        model=str(model_path()),
        quantize="none",
        rank=2,
        max_steps=8,
        accumulate=1,
        checkpoints_per_epoch=5,
        captures_per_epoch=1000,
        held_out_rows=2,
    )

    def go(name: str) -> Run:
        (run,) = finetune(recipe, {"sums": str(data)}, tmp_path / name)
        return run

    return go


def refuse(monkeypatch: pytest.MonkeyPatch, full: Callable[[Path], bool]) -> None:
    """Let no file be renamed to a name for which `full` holds."""
    real = os.replace

    def replace(source: Any, target: Any, **more: Any) -> None:
        if full(Path(target)):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target, **more)

    monkeypatch.setattr(os, "replace", replace)


def equal(run: Run, other: Run) -> bool:
    """Whether two runs have the same captures, losses and adapter, to the byte."""
    same_weights = (run.folder / ADAPTER).read_bytes() == (other.folder / ADAPTER).read_bytes()
    same_motion = read_capture(run.folder).frame.equals(read_capture(other.folder).frame)
    return same_weights and same_motion and run.record["losses"] == other.record["losses"]


def noticed(run: Run) -> list[str]:
    (found,) = find_runs([(None, str(run.folder))])
    return [notice.slug for notice in motion_of(found)[1]]


@pytest.mark.parametrize("first", [1, 4])
def test_a_run_whose_captures_found_no_room_is_trained_but_not_whole(
    sweep: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    straight = sweep("straight")
    assert noticed(straight) == []
    with monkeypatch.context() as patch:
        refuse(patch, lambda to: to.name.startswith("step-") and to.name >= f"step-{first:09d}")
        with pytest.raises(Exhausted, match="capture-stopped"):
            sweep("cut")
    cut = Run("sums", 2e-4, 0, tmp_path / "cut")
    assert not cut.complete
    assert cut.record["status"] == "capture_stopped"
    told = cut.record["capture"]
    assert (told["status"], told["captures"], told["last_step"]) == ("stopped", first - 1, first - 1 or None)
    assert "No space left" in told["reason"]
    assert cut.record["losses"] == straight.record["losses"]
    if first > 1:
        assert noticed(cut) == ["capture-unfinished"]
    table = (tmp_path / "cut" / "tables" / "transfer.csv").read_text()
    assert table == (tmp_path / "straight" / "tables" / "transfer.csv").read_text()
    assert equal(sweep("cut"), straight)
    assert noticed(cut) == []


def test_the_run_goes_on_at_the_last_checkpoint_before_which_all_was_captured(
    sweep: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        refuse(patch, lambda to: to.name.startswith("step-") and to.name >= "step-000000006")
        with pytest.raises(Exhausted, match="capture-stopped"):
            sweep("cut")
    folder = Run("sums", 2e-4, 0, tmp_path / "cut").folder
    marked = sorted(path.parent.name for path in folder.glob("checkpoint-*/complete"))
    assert marked[-1] == "checkpoint-4"
    steps: list[int] = []
    monkeypatch.setattr(
        "tunescope.training.run.Meter.on_step_begin", lambda *a, **_: steps.append(a[2].global_step)
    )
    assert sweep("cut").complete
    assert steps[0] == 4


def test_a_fault_of_ours_in_a_capture_is_called_that(
    sweep: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Motion, "measure", lambda _: 1 / 0)
    with pytest.raises(TunescopeError, match="division by zero") as caught:
        sweep("cut")
    assert caught.value.exit_code == 70


@pytest.mark.parametrize("nth", [1, 8])
def test_a_disk_that_fills_up_in_a_checkpoint_is_exit_5_and_resumes_to_equal_bytes(
    sweep: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """torch's archive writer does not say why it failed."""
    straight = sweep("straight")
    saved: list[int] = []
    save = torch.save

    def out_of_room(*values: Any, **more: Any) -> None:
        saved.append(1)
        if len(saved) == nth:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")
        save(*values, **more)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", out_of_room)
        with pytest.raises(Exhausted, match="disk-full") as caught:
            sweep("cut")
    assert caught.value.exit_code == 5
    assert not Run("sums", 2e-4, 0, tmp_path / "cut").complete
    assert equal(sweep("cut"), straight)


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS, errno.ESTALE])
def test_a_disk_that_fails_under_the_trainer_is_exit_5_and_a_missing_file_of_ours_is_not(
    tmp_path: Path, code: int
) -> None:
    with pytest.raises(Exhausted, match="cannot-write") as caught, named_exhaustion(tmp_path):
        raise OSError(code, os.strerror(code))
    assert (caught.value.exit_code, caught.value.file) == (5, str(tmp_path))
    with pytest.raises(FileNotFoundError), named_exhaustion(tmp_path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


@pytest.mark.parametrize(
    "problem",
    [
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        Exception("No space left on device (os error 28)"),
        RuntimeError("basic_ios::clear: iostream error"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 987136 vs 987088"),
    ],
)
def test_every_librarys_words_for_a_full_disk_are_known(problem: Exception) -> None:
    """As they came from a file system of one megabyte."""
    assert disk_is_full(problem)
    assert not disk_is_full(RuntimeError("shape mismatch"))


def test_a_sweep_whose_very_first_files_found_no_room_is_taken_up_by_the_same_call(
    sweep: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there then is known as a sweep's, not refused as something foreign."""
    for full in ("sweep.json", "sums.jsonl"):
        with monkeypatch.context() as patch:
            refuse(patch, lambda to, name=full: to.name == name)  # type: ignore[misc]
            with pytest.raises(Exhausted, match="cannot-write"):
                sweep("cut")
    assert (tmp_path / "cut").is_dir()
    assert sweep("cut").complete


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_the_umask_says_who_may_read_what_a_training_writes(
    sweep: Callable[[str], Run], tmp_path: Path, umask: int
) -> None:
    """safetensors makes its files for their owner alone."""
    before = os.umask(umask)
    try:
        sweep("run")
    finally:
        os.umask(before)
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {path.suffix for path in written} >= {".safetensors", ".json", ".parquet"}
    modes = {oct(path.stat().st_mode & 0o777) for path in written}
    assert modes == {oct(0o666 & ~umask)}
