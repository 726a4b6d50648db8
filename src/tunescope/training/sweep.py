"""A sweep: domains x rates x seeds, each run in its folder, resumed where it stopped."""

import gc
import importlib.metadata
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tunescope.errors import UsageError
from tunescope.paths import check_possible
from tunescope.training.base_losses import BaseLosses
from tunescope.training.collation import padding_for
from tunescope.training.domains import Domain
from tunescope.training.evaluation import HeldOutLoss
from tunescope.training.progress import Event, Listener, Meter, Phase
from tunescope.training.recipe import Recipe
from tunescope.training.record import STOPPED
from tunescope.training.recording import refuse_captured
from tunescope.training.run import SCHEMA_VERSION, Run, Session
from tunescope.training.transfer import write_transfer
from tunescope.writing import write_json

PACKAGES = (
    "tunescope",
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "accelerate",
    "tokenizers",
    "polars",
)


class Sweep:
    """The runs of one sweep over the same model, data and recipe."""

    def __init__(
        self,
        runs: list[Run],
        recipe: Recipe,
        domains: Mapping[str, Domain],
        tokenizer: Any,
        report_to: list[str],
        listener: Listener,
    ) -> None:
        self.runs, self._recipe, self._domains = runs, recipe, domains
        self._tokenizer, self._report_to, self._listener = tokenizer, report_to, listener
        self._base = BaseLosses(runs[0].root, recipe, domains)
        self._padding = padding_for(tokenizer, torch.cuda.is_available())

    def check(self) -> None:
        """Raise `UsageError` where a run that is there was made with other settings."""
        for run in self.runs:
            there, wanted = run.record.get("settings"), self._settings(run)
            if there is None:
                refuse_captured(run.folder)
            if there is None or there == wanted or not run.begun:
                continue
            other = [name for name in wanted if there.get(name) != wanted[name]]
            raise UsageError(
                "other-settings",
                f"run {run.name} was made with other settings: {', '.join(other)}",
                file=run.folder,
                expected={name: there.get(name) for name in other},
                found={name: wanted[name] for name in other},
                fix="repeat them, or choose another output folder",
            )

    def do(self, main_process: bool) -> None:
        """Do every run that is not whole yet, and write what all of them gained and forgot."""
        with _only_what_comes_now_is_collected():
            for index, run in enumerate(self.runs):
                if run.complete:
                    self._tell("skipped", index)
                    continue
                self._do(index, run, main_process)
                _free_memory()
        if main_process:
            write_transfer(self.runs[0].root, self.runs)

    def _do(self, index: int, run: Run, main_process: bool) -> None:
        self._tell("loading", index)
        session = Session(run, self._recipe, self._domains[run.domain], self._tokenizer, self._report_to)
        before = self._base.measure(self._padding, main_process, session.untouched)
        if main_process:
            run.folder.mkdir(parents=True, exist_ok=True)
            write_json(run.folder / "run.json", self._record(run, "begun"))
        meter = Meter(lambda step, steps, loss: self._tell("training", index, step, steps, loss))
        outcome = session.train(meter, main_process)
        self._tell("evaluating", index)
        after = session.losses(self._domains)
        if main_process:
            status = "complete" if outcome["capture"]["status"] == "complete" else STOPPED
            run.finish(self._record(run, status) | outcome | {"losses": _losses(before, after)})
        self._tell("done", index)

    def _tell(
        self, phase: Phase, index: int, step: int = 0, steps: int = 0, loss: float | None = None
    ) -> None:
        self._listener(Event(phase, self.runs[index].name, index, len(self.runs), step, steps, loss))

    def _settings(self, run: Run) -> dict[str, Any]:
        settings = self._recipe.settings() | {"learning_rate": run.learning_rate, "seed": run.seed}
        settings["data_sha256"] = self._domains[run.domain].record["sha256"]
        settings["processes"] = (
            torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        )
        # As it comes back from the file.
        same: dict[str, Any] = json.loads(json.dumps(settings))
        return same

    def _record(self, run: Run, status: str) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "status": status,
            "model": self._recipe.model,
            "domain": run.domain,
            "learning_rate": run.learning_rate,
            "seed": run.seed,
            "settings": self._settings(run),
            "data": {name: domain.record for name, domain in self._domains.items()},
            "versions": versions(),
        }


def _losses(before: Mapping[str, HeldOutLoss], after: Mapping[str, HeldOutLoss]) -> dict[str, Any]:
    return {
        name: {"before": before[name].loss, "after": at.loss, "tokens": at.tokens}
        for name, at in after.items()
    }


def versions() -> dict[str, str | None]:
    """The versions of the packages that numbers depend on; None where one is not installed."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


@contextmanager
def _only_what_comes_now_is_collected() -> Iterator[None]:
    """Let collections pass over what lies there before the first model: looking for a run's takes a tenth."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def checked_root(root: Path) -> Path:
    """The output folder, which is new, empty, or a sweep's.

    Raises `UsageError` for anything else.
    """
    check_possible(root)
    if root.exists() and not root.is_dir():
        raise UsageError("output-exists", f"{root} is a file", file=root, fix="choose another output folder")
    foreign = root.is_dir() and any(not path.name.startswith(".") for path in root.iterdir())
    if foreign and not (root / "sweep.json").exists():
        raise UsageError(
            "output-exists",
            f"{root} holds something that is no sweep",
            file=root,
            fix="choose a new or empty output folder",
        )
    return root
