"""One run of a sweep: train, capture, evaluate, and leave a folder that says so once it is whole."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments, set_seed

from tunescope.errors import BadInput, Exhausted, Missing, TunescopeError
from tunescope.training import model as models
from tunescope.training.capture import TrainingCapture
from tunescope.training.checkpoints import (
    MarkCheckpoints,
    is_last,
    latest_checkpoint,
    remove_torn_checkpoints,
    trainer_state,
)
from tunescope.training.collation import Examples, padding_for
from tunescope.training.domains import Domain
from tunescope.training.evaluation import HeldOutLoss, held_out_loss
from tunescope.training.exhaustion import exit_code, reason
from tunescope.training.modes import follow_umask
from tunescope.training.progress import Meter
from tunescope.training.recipe import Recipe, rate_name
from tunescope.training.record import STOPPED, read_record
from tunescope.training.recording import PARTS, START, Recording, holds_capture, read_capture, recorded
from tunescope.words import counted
from tunescope.writing import write_json, write_text

MARKER = "complete"
RECORD = "run.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Run:
    """One run: a domain at a rate from a seed, in its folder below the sweep's."""

    domain: str
    learning_rate: float
    seed: int
    root: Path

    @property
    def name(self) -> str:
        """The folder's path below the sweep, such as `cpp/lr-2e-4/seed-0`."""
        return f"{self.domain}/lr-{rate_name(self.learning_rate)}/seed-{self.seed}"

    @property
    def folder(self) -> Path:
        """Where everything of the run lies."""
        return self.root / self.domain / f"lr-{rate_name(self.learning_rate)}" / f"seed-{self.seed}"

    @property
    def record(self) -> dict[str, Any]:
        """What `run.json` says: empty before the run was begun. Raises `BadInput` where that is damaged."""
        path = self.folder / RECORD
        return read_record(path) if path.exists() else {}

    @property
    def complete(self) -> bool:
        """Whether the run ended and its record is the one it ended with."""
        marker, record = self.folder / MARKER, self.folder / RECORD
        return marker.exists() and record.exists() and marker.read_bytes().strip() == _digest(record).encode()

    @property
    def trained(self) -> bool:
        """Whether the run has its result, be its capture whole or not."""
        return self.complete or self.record.get("status") == STOPPED

    @property
    def begun(self) -> bool:
        """Whether something of it is there that another run must not replace."""
        return self.complete or latest_checkpoint(self.folder) is not None or holds_capture(self.folder)

    def finish(self, record: Mapping[str, Any]) -> None:
        """Write the record and, last of all, where the capture is whole, the marker."""
        path = write_json(self.folder / RECORD, record)
        if record["capture"]["status"] == "complete":
            write_text(self.folder / MARKER, _digest(path) + "\n")


def refuse_stopped(runs: Sequence[Run]) -> None:
    """Raise an error of the kind that stopped the captures of trained runs; `Exhausted` for a full disk."""
    records = {run.name: run.record["capture"] for run in runs if run.record.get("status") == STOPPED}
    if not records:
        return
    codes = {record["exit_code"] for record in records.values()}
    kind = next((k for k in (BadInput, Missing, Exhausted) if codes == {k.exit_code}), TunescopeError)
    raise kind(
        "capture-stopped",
        f"{len(records)} of {counted(len(runs), 'run')} "
        f"{'is' if len(records) == 1 else 'are'} trained, but their motion is not recorded whole",
        file=runs[0].root,
        expected="captures up to the last step",
        found="; ".join(f"{name}: {record['reason']}" for name, record in records.items()),
        fix="mend that and repeat the command: it goes on where everything before was recorded",
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Session:
    """The trained model of one run, fresh or resumed, and what training it took."""

    def __init__(
        self, run: Run, recipe: Recipe, domain: Domain, tokenizer: Any, report_to: list[str]
    ) -> None:
        self.run, self.recipe, self.domain, self._report_to = run, recipe, domain, report_to
        self._tokenizer = tokenizer
        self._padding = padding_for(tokenizer, torch.cuda.is_available())
        self.checkpoint = latest_checkpoint(run.folder)
        self.done = self.checkpoint is not None and is_last(self.checkpoint)
        set_seed(run.seed)
        self.model = self._load()
        self._state: Mapping[str, Any] = (
            trainer_state(self.checkpoint) if self.checkpoint is not None and self.done else {}
        )

    def _load(self) -> Any:
        if not self.done:
            return models.prepare(models.load_base(self.recipe), self.recipe)
        # The trainer would train one step more, were it to resume at the end.
        if self.recipe.full:
            return models.load_base(self.recipe, str(self.checkpoint))
        return models.prepare(models.load_base(self.recipe), self.recipe, str(self.checkpoint))

    @property
    def untouched(self) -> Any | None:
        """The model while nothing has been trained of it; None in a run that goes on."""
        return self.model if self.checkpoint is None else None

    def train(self, meter: Meter, main_process: bool) -> dict[str, Any]:
        """Train to the end and save the result; returns what came of it and what it took."""
        folder = self.run.folder
        # What is captured there is this very run's, for other settings were refused.
        capture = TrainingCapture(folder, per_epoch=self.recipe.captures_per_epoch, overwrite=True)
        if not self.done:
            if main_process:
                remove_torn_checkpoints(folder)
            trainer = self._trainer([capture, MarkCheckpoints(lambda: capture.whole), meter])
            trainer.train(resume_from_checkpoint=None if self.checkpoint is None else str(self.checkpoint))
            self.model = trainer.accelerator.unwrap_model(trainer.model)
            self._state = asdict(trainer.state)
        if main_process:
            self._save(capture)
        return _outcome(self._state) | {
            "capture": _captured(folder, capture),
            "effort": _effort(self.model, capture, meter),
        }

    def losses(self, domains: Mapping[str, Domain]) -> dict[str, HeldOutLoss]:
        """The held-out loss of the present model on every domain."""
        size = self.recipe.batch_size
        return {
            name: held_out_loss(self.model, domain.held_out, self._padding, size)
            for name, domain in domains.items()
        }

    def _trainer(self, callbacks: list[Any]) -> Trainer:
        on_gpu = torch.cuda.is_available()
        trainer = Trainer(
            model=self.model,
            args=arguments(self.run, self.recipe, len(self.domain.train), self._report_to, on_gpu),
            train_dataset=Examples(self.domain.train),
            data_collator=self._padding,
            callbacks=callbacks,
        )
        trainer.remove_callback(_printer())
        return trainer

    def _save(self, capture: TrainingCapture) -> None:
        if capture.failure is None:
            finish_recording(self.run.folder)
        target = self.run.folder / ("model" if self.recipe.full else "adapter")
        self.model.save_pretrained(target)
        if self.recipe.full and capture.failure is None:
            # The base model is the same weights, and they are as large as it is.
            (self.run.folder / START).unlink(missing_ok=True)
        self._tokenizer.save_pretrained(target)
        follow_umask(target)


def finish_recording(folder: Path) -> None:
    """Merge the captures of a run that was killed between its last step and the merging."""
    if (folder / PARTS).is_dir():
        Recording(folder, read_capture(folder).meta).finish()


def _printer() -> Any:
    from transformers.trainer_callback import PrinterCallback

    return PrinterCallback


def arguments(run: Run, recipe: Recipe, rows: int, report_to: list[str], on_gpu: bool) -> TrainingArguments:
    """The trainer's arguments; whatever changes numbers is said here and not left to defaults."""
    world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    per_epoch = max(1, math.ceil(math.ceil(rows / (recipe.batch_size * world)) / recipe.accumulate))
    steps = min(recipe.max_steps or 10**9, math.ceil(recipe.epochs * per_epoch))
    return TrainingArguments(
        output_dir=str(run.folder),
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulate,
        num_train_epochs=recipe.epochs,
        max_steps=recipe.max_steps or -1,
        learning_rate=run.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=math.floor(recipe.warmup * steps) if recipe.schedule != "constant" else 0,
        weight_decay=recipe.weight_decay,
        optim=recipe.optimizer,
        seed=run.seed,
        data_seed=run.seed,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        logging_steps=1,
        save_strategy="steps",
        save_steps=max(1, round(per_epoch / recipe.checkpoints_per_epoch)),
        save_total_limit=recipe.keep_checkpoints,
        report_to=report_to or "none",
        run_name=run.name,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=on_gpu,
        ddp_find_unused_parameters=False,
    )


def _outcome(state: Mapping[str, Any]) -> dict[str, Any]:
    logged = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
    return {
        "steps": state["global_step"],
        "epochs": state.get("epoch"),
        "final_training_loss": logged[-1] if logged else None,
    }


def _captured(folder: Path, capture: TrainingCapture) -> dict[str, Any]:
    """Whether the motion was recorded to its end, and if not, how far and why."""
    if capture.failure is None:
        return {"status": "complete"}
    steps = recorded(folder)["step"]
    return {
        "status": "stopped",
        "captures": steps.n_unique(),
        "last_step": steps.max(),
        "reason": reason(capture.failure),
        "exit_code": exit_code(capture.failure),
    }


def _effort(model: Any, capture: TrainingCapture, meter: Meter) -> dict[str, Any]:
    """What this session's part of the run took: times are of this session only, after a resume."""
    times = sorted(meter.seconds)
    total = sum(times)
    return {
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "steps_timed": len(times),
        "seconds": total,
        "step_seconds_median": times[len(times) // 2] if times else None,
        "captures": capture.captures,
        "capture_seconds": capture.seconds,
        "capture_share": capture.seconds / total if total else None,
        "peak_device_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
    }
