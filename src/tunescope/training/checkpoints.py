"""Trainer checkpoints that are known to be whole, so that a killed run resumes from one of them."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

MARKER = "complete"


class MarkCheckpoints(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint once the trainer has written all of its files."""

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the marker; it says which step the checkpoint holds."""
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (folder / MARKER).write_text(f"{state.global_step}\n")


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
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    return bool(state["global_step"] >= state["max_steps"])


def _checkpoints(run: Path) -> list[Path]:
    return [path for path in run.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]


def _step(path: Path) -> int:
    return int(path.name.rsplit("-", 1)[-1])
