"""A trainer callback that records how far every trainable matrix has moved since the start."""

import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, wraps
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunescope.errors import UsageError
from tunescope.training.exhaustion import reason
from tunescope.training.guards import guard_training
from tunescope.training.motion import Motion
from tunescope.training.recording import Recording
from tunescope.training.replay import Reading, Replay, numbers
from tunescope.training.rows import Pending, labels, metadata
from tunescope.training.start import load_start, save_start
from tunescope.training.trackers import Trackers, calling_handler, layer_values
from tunescope.training.trainable import Trainable, trainable

logger = logging.getLogger("tunescope")

Hook = TypeVar("Hook", bound=Callable[..., None])


def _never_raises(hook: Hook) -> Hook:
    """A failing hook says so once and ends the capture; training goes on."""

    @wraps(hook)
    def guarded(self: "TrainingCapture", *args: Any, **kwargs: Any) -> None:
        if self.failure is not None:
            return
        try:
            hook(self, *args, **kwargs)
        # What panics below polars is no `Exception`.
        except (Exception, pl.exceptions.PanicException) as problem:
            self.failure = problem
            logger.warning("tunescope: capture has stopped, training goes on: %s", problem)
            self._say_stopped(problem)

    return guarded  # type: ignore[return-value]


class TrainingCapture(TrainerCallback):  # type: ignore[misc]
    """Records Δ = now - start of every trainable matrix during training, into `capture.parquet`.

    For each LoRA factor A and B, or full weight, bias or norm: mean, variance, abs_mean and abs_variance
    (population variances, float64), and for each module ‖ΔW‖_F with ΔW = s(BA - B₀A₀).

    `output` is the folder of the file (the trainer's output folder by default). Captures fall on every
    `every_steps`-th optimizer step, on each of `per_epoch` equal parts of an epoch (10 if neither is given),
    and on the last step. The weights of step zero are kept beside the file, so that a resumed run goes on
    with them. Works in `Trainer` and trl's `SFTTrainer`; the first of several processes writes. What a full
    disk does not take waits in memory and is written later. An error inside it stops the capture, never the
    training: see `failure`. A folder that holds another training's capture is left as it is, which is such an
    error, unless `overwrite` says that it may be replaced.

    Each layer's ‖ΔW‖ and mean |Δ| also go to the trackers that the trainer reports to, as
    `tunescope/delta_norm/layer_07` and `tunescope/delta_abs_mean/layer_07`, unless `report` is false.

    `captures` and `seconds` count what was measured and the time it took; `whole` tells whether all of
    it lies on the disk.

    Raises `UsageError` for a spacing below one.

    >>> capture = TrainingCapture("runs/first", every_steps=50)
    >>> capture.captures, capture.failure
    (0, None)
    """

    def __init__(
        self,
        output: str | Path | None = None,
        *,
        every_steps: int | None = None,
        per_epoch: int | None = None,
        overwrite: bool = False,
        report: bool = True,
    ) -> None:
        for name, value in (("every_steps", every_steps), ("per_epoch", per_epoch)):
            if value is not None and value < 1:
                raise UsageError(
                    "bad-spacing", f"{name} must be at least 1", expected="1 or more", found=value
                )
        self._output = None if output is None else Path(output)
        self._every_steps, self._overwrite = every_steps, overwrite
        self._per_epoch = 10 if every_steps is None and per_epoch is None else per_epoch
        self.captures, self.seconds = 0, 0.0
        self.failure: BaseException | None = None
        self._report, self._trackers = report, Trackers(None)
        self._recording: Recording | None = None
        self._motion: Motion | None = None
        self._replay: Replay | None = None
        self._pending: Pending | None = None
        self._measured: NDArray[np.float64] | Reading | None = None
        self._writing: tuple[Future[None], Reading | None] | None = None
        self._epoch_before = 0.0
        self._learning_rate: float | None = None

    @property
    def whole(self) -> bool:
        """Whether the disk has taken every capture that it was given."""
        return self.failure is None and (self._recording is None or not self._recording.behind)

    @_never_raises
    def on_init_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Guard the model before anything is evaluated."""
        guard_training(args, kwargs.get("model"))

    @_never_raises
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Keep the weights of step zero, or take them up again in a resumed run."""
        model = kwargs["model"]
        guard_training(args, model)
        self._recording, self._pending, self.captures = None, None, 0
        self._epoch_before = float(state.epoch or 0.0)
        if state.is_world_process_zero:
            self._trackers = Trackers(calling_handler() if self._report else None)
            self._begin(Path(self._output or args.output_dir), trainable(model), state)

    @_never_raises
    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remember where in the epoch the step began."""
        self._epoch_before = float(state.epoch or 0.0)

    @_never_raises
    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Read the learning rate that the step used, before the schedule moves on.

        The capture before it has been written by then, beside the step's forward and backward pass.
        """
        self._settle()
        self._learning_rate = float(kwargs["optimizer"].param_groups[0]["lr"])

    @_never_raises
    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Record where a capture is due. The row waits for the step's loss if that is about to be logged."""
        if self._due(state):
            self._record(state, wait=control.should_log)
            self._tell(args, state, control)

    @_never_raises
    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the row that waited for its loss: before the trainer saves a checkpoint of the step."""
        self._write(state)

    @_never_raises
    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """A checkpoint is whole only with the captures before it."""
        self._write(state)
        self._settle()

    @_never_raises
    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Record the last weights of a run that ends here, before a best model may replace them."""
        self._write(state)
        if control.should_training_stop:
            self._record(state)

    @_never_raises
    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Record the end if it was not, and merge what was recorded."""
        self._write(state)
        if not args.load_best_model_at_end:
            self._record(state)
        if self._recording is not None:
            self._settle()
            self._recording.finish()
            self._recording = self._motion = self._replay = None

    def _begin(self, folder: Path, parts: Trainable, state: TrainerState) -> None:
        step = state.global_step
        folder.mkdir(parents=True, exist_ok=True)
        recording = Recording(folder, metadata(parts) | {"planned_steps": state.max_steps})
        # Before anything of what is there is touched: it may be another training's.
        start = parts.parameters if step == 0 else load_start(folder, parts.parameters)
        recording.begin(step, self._overwrite)
        if step == 0:
            save_start(folder, parts.parameters)
        self._motion = Motion(parts, start)
        self._replay = Replay.of(self._motion)
        self._labels = labels(parts)
        for why in sorted(set(parts.skipped.values())):
            names = [name for name, cause in parts.skipped.items() if cause == why]
            logger.warning("tunescope: %d parameters not captured (%s): %s", len(names), why, names[:5])
        self._recording = recording
        self._recorded = step if step in recording else -1

    def _due(self, state: TrainerState) -> bool:
        if state.global_step >= state.max_steps > 0:
            return True
        if self._every_steps and state.global_step % self._every_steps == 0:
            return True
        parts = self._per_epoch or 0
        # Rounded, for an epoch is a sum of fractions: 0.7999… of ten parts is the eighth.
        return int(round(float(state.epoch or 0) * parts, 6)) > int(round(self._epoch_before * parts, 6))

    def _record(self, state: TrainerState, wait: bool = False) -> None:
        if self._recording is None or self._motion is None or state.global_step == self._recorded:
            return
        values = self._measured = self._measure(self._motion)
        self._recorded, self.captures = state.global_step, self.captures + 1
        self._pending = Pending(state.global_step, float(state.epoch or 0.0), self._learning_rate, values)
        if not wait:
            self._write(state)

    def _tell(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        if self._measured is not None and self._trackers:
            began = time.perf_counter()
            self._trackers.report(layer_values(self._labels, numbers(self._measured)), args, state, control)
            self.seconds += time.perf_counter() - began
        self._measured = None

    def _measure(self, motion: Motion) -> NDArray[np.float64] | Reading:
        replay = self._replay
        # What was measured before must be read before a replay writes over it.
        self._settle()
        if replay is None and torch.cuda.is_available():
            # Waiting for the step itself to end is no cost of the capture.
            torch.cuda.synchronize()
        began = time.perf_counter()
        if replay is not None and replay.holds():
            values: NDArray[np.float64] | Reading = replay.launch()
        else:
            self._replay = None
            values = motion.measure()
        self.seconds += time.perf_counter() - began
        return values

    def _write(self, state: TrainerState) -> None:
        if self._pending is None or self._recording is None:
            return
        self._settle()
        began = time.perf_counter()
        pending, self._pending = self._pending, None
        loss = next((entry["loss"] for entry in reversed(state.log_history) if "loss" in entry), None)
        recording, names = self._recording, self._labels
        future = _writer().submit(lambda: recording.append(pending.step, pending.frame(names, loss)))
        self._writing = future, pending.values if isinstance(pending.values, Reading) else None
        self.seconds += time.perf_counter() - began

    def _settle(self) -> None:
        """Wait for the file that is being written, and raise what went wrong with it."""
        began = time.perf_counter()
        writing, self._writing = self._writing, None
        if writing is not None:
            future, reading = writing
            future.result()
            self.seconds += reading.seconds if reading is not None else 0.0
        self.seconds += time.perf_counter() - began

    def _say_stopped(self, problem: BaseException) -> None:
        if self._recording is not None:
            # Behind what is still being written. Unfinished parts alone say that it stopped; whatever goes
            # wrong with the reason must not reach the training.
            with contextlib.suppress(Exception):
                _writer().submit(self._recording.stop, reason(problem)).result()


@cache
def _writer() -> ThreadPoolExecutor:
    """One thread for all captures of the process: files appear in the order of steps."""
    return ThreadPoolExecutor(1, "tunescope-capture")
