"""Trainer checkpoints that are known to be whole, so that a killed run resumes from one of them."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunescope.errors import BadInput
from tunescope.source.training_run import read_json
from tunescope.training.modes import follow_umask
from tunescope.writing import write_text

MARKER = "complete"


class MarkCheckpoints(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint once the trainer has written all of its files, and `captured` everything before it.

    A run that goes on from a marked checkpoint lacks no capture. While the capture is behind, a lone process
    saves no checkpoint: it could not be gone on from, and would push an older one out.
    """

    def __init__(self, captured: Callable[[], bool] = lambda: True) -> None:
        self._captured = captured

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Put off a checkpoint that could not be marked."""
        if args.world_size == 1 and not self._captured():
            control.should_save = False

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the marker; it says which step the checkpoint holds."""
        if state.is_world_process_zero and self._captured():
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            follow_umask(folder)
            _sync(folder)
            write_text(folder / MARKER, f"{state.global_step}\n")


def _sync(folder: Path) -> None:
    """Have the files on the disk before the marker is, whatever happens to the machine."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def latest_checkpoint(run: Path) -> Path | None:
    """The last whole checkpoint of a run."""
    whole = [path for path in _checkpoints(run) if (path / MARKER).exists()]
    return max(whole, key=_step, default=None)


def remove_torn_checkpoints(run: Path) -> None:
    """Remove the checkpoints that a kill left half-written."""
    for path in _checkpoints(run):
        if not (path / MARKER).exists():
            shutil.rmtree(path)


def is_last(checkpoint: Path) -> bool:
    """Whether training had reached its end in this checkpoint."""
    state = trainer_state(checkpoint)
    return bool(state["global_step"] >= state["max_steps"])


def trainer_state(checkpoint: Path) -> dict[str, Any]:
    """What the trainer wrote down in a whole checkpoint.

    Raises `BadInput` where that is damaged.
    """
    path = checkpoint / "trainer_state.json"
    state = read_json(path)
    for name, kind in (("global_step", int), ("max_steps", int), ("log_history", list)):
        if not isinstance(state.get(name), kind):
            raise BadInput(
                "trainer-state-damaged",
                "the state of this checkpoint is not what a trainer writes",
                file=path,
                expected=f"{name}: a {'list' if kind is list else 'whole number'}",
                found=state.get(name),
                fix=f"remove {checkpoint} to go on from the checkpoint before it",
            )
    return state


def _checkpoints(run: Path) -> list[Path]:
    return [path for path in run.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]


def _step(path: Path) -> int:
    return int(path.name.rsplit("-", 1)[-1])
