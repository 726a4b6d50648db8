"""What a sweep is doing, as events for whoever shows them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

Phase = Literal["skipped", "loading", "evaluating", "training", "done"]


@dataclass(frozen=True)
class Event:
    """One thing that happened: in run `index` of `runs`, called `run`."""

    phase: Phase
    run: str
    index: int
    runs: int
    step: int = 0
    steps: int = 0
    loss: float | None = None


Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """A listener that shows nothing."""
    del event


class Meter(TrainerCallback):  # type: ignore[misc]
    """Reports every step to a listener, and keeps the time that each step took."""

    def __init__(self, report: Callable[[int, int, float | None], None]) -> None:
        self._report = report
        self._loss: float | None = None
        self._began: float | None = None
        self.seconds: list[float] = []

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the step's clock."""
        self._began = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Report; where the step is about to be logged, its clock runs until the device has caught up."""
        self._report(state.global_step, state.max_steps, self._loss)
        if not control.should_log:
            self._stop()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop the clock, since reading the loss waited for the device, and remember the loss."""
        self._stop()
        self._loss = state.log_history[-1].get("loss", self._loss) if state.log_history else None

    def _stop(self) -> None:
        if self._began is not None:
            self.seconds.append(time.perf_counter() - self._began)
        self._began = None
