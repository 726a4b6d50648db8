"""A training run on disk: its capture, or its checkpoints with what the trainer wrote beside them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunescope.errors import BadInput, Notice
from tunescope.source.files.documents import read_object

STATE = "trainer_state.json"
_LARGEST = 2**63 - 1
# The order of a run's steps where nothing but its capture says it.
CAPTURED = "steps as the capture recorded them"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One saved state of a run: its step, the file or folder that `path` names, and where its `weights` lie.

    `state` is what its `trainer_state.json` holds, empty without one; `said_epoch` what else says the epoch.
    """

    step: int
    path: Path
    weights: Path
    state: Mapping[str, Any] = field(default_factory=dict)
    said_epoch: float | None = None

    @property
    def epoch(self) -> float | None:
        """The epoch that the trainer wrote down."""
        epoch = number(self.state.get("epoch"))
        return self.said_epoch if epoch is None else epoch

    @property
    def max_steps(self) -> int | None:
        """The length of the schedule that this checkpoint was saved under."""
        found = whole(self.state.get("max_steps"))
        return found if found is not None and found > 0 else None

    @property
    def losses(self) -> dict[int, float]:
        """Training loss by step, from the trainer's log up to this checkpoint."""
        return self._logged("loss")

    @property
    def learning_rates(self) -> dict[int, float]:
        """Learning rate by step, from the trainer's log up to this checkpoint."""
        return self._logged("learning_rate")

    def _logged(self, name: str) -> dict[int, float]:
        entries = [
            (whole(entry.get("step")), entry.get(name)) for entry in self.state.get("log_history") or ()
        ]
        # A boolean is a number to Python, and no loss.
        values = [(step, None if isinstance(value, bool) else number(value)) for step, value in entries]
        return {step: value for step, value in values if step is not None and value is not None}


@dataclass(frozen=True, eq=False)
class Run:
    """A training run: with a `capture` in its folder, or with `checkpoints` in order of step.

    `order` says in words which order was taken, and from what.
    """

    label: str
    folder: Path
    capture: bool
    checkpoints: tuple[Checkpoint, ...] = ()
    domain: str | None = None
    learning_rate: float | None = None
    seed: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    order: str = CAPTURED


def has_capture(folder: Path) -> bool:
    """Whether a training run left a capture here, whole or in parts."""
    return (folder / "capture.parquet").is_file() or any(folder.glob("capture.parts/*.parquet"))


def read_state(checkpoint: Path) -> dict[str, Any]:
    """What the trainer wrote beside a checkpoint's weights; empty where it wrote nothing.

    Raises `BadInput` where that is damaged.
    """
    path = checkpoint / STATE
    if not path.is_file():
        return {}
    state = read_json(path)
    history = state.get("log_history") or []
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise BadInput(
            "bad-json",
            "the trainer's log cannot be used",
            file=path,
            expected="log_history: a list of objects",
            found=type(history).__name__ if not isinstance(history, list) else "a list of something else",
            fix="copy the file again, or remove that checkpoint",
        )
    return state


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, a byte-order mark allowed."""
    return read_object(path, "bad-json", path.name)


def number(value: object) -> float | None:
    """A finite number, or the number that a text spells; `None` for anything else.

    >>> number("2e-4"), number("nan"), number(10**400)
    (0.0002, None, None)
    """
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found - found == 0 else None


def whole(value: object) -> int | None:
    """A whole number that 64 bits hold; `None` for anything else."""
    fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST
    return value if fits and isinstance(value, int) else None
