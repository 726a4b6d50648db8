"""What `finetune` and the sweeps of `demo` do beside training, by the clock of the thread that does it.

`python -m benchmarks.finetune_shares [--demo]`. Two processes that train the same differ by more than a
twentieth on most machines, so here one process tells its own parts apart: CPU seconds inside each part that
plain training with the Trainer of transformers and PEFT lacks, over those of everything else in the process
(with `--demo`: of everything else while a sweep goes on). Processes that a part starts count as its own.
"""

import argparse
import importlib
import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.process import ROOT

RESULT = Path(__file__).parent / "results" / "finetune_shares.json"
HOOKS = ("init_end", "train_begin", "step_begin", "optimizer_step", "step_end", "log", "save", "epoch_end")
# What a part is called, and the functions whose time is its.
PARTS: dict[str, tuple[tuple[str, str], ...]] = {
    "captures": (
        *(("tunescope.training.capture:TrainingCapture", f"on_{hook}") for hook in (*HOOKS, "train_end")),
        ("tunescope.training.recording:Recording", "append"),
    ),
    "checkpoints on the disk and marked": (("tunescope.training.checkpoints:MarkCheckpoints", "on_save"),),
    "records, tables and progress": (
        ("tunescope.training.fine_tuning", "write_json"),
        ("tunescope.training.fine_tuning", "write_held_out"),
        ("tunescope.training.sweep", "write_json"),
        ("tunescope.training.sweep", "write_transfer"),
        ("tunescope.training.run:Run", "finish"),
        ("tunescope.training.sweep:Sweep", "check"),
        ("tunescope.training.sweep:Sweep", "_tell"),
        ("tunescope.training.progress:Meter", "on_step_end"),
        ("tunescope.training.progress:Meter", "on_log"),
    ),
    "memory freed between runs": (("tunescope.training.sweep", "_free_memory"),),
    "held-out losses": (
        ("tunescope.training.base_losses", "held_out_loss"),
        ("tunescope.training.run", "held_out_loss"),
    ),
}


class Clock:
    """CPU seconds of each part; of a part within another, the outer one's alone."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inside = threading.local()

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its thread's time counted."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            if getattr(self._inside, "part", None):
                return function(*args, **kwargs)
            self._inside.part, began = part, _now()
            try:
                return function(*args, **kwargs)
            finally:
                self._inside.part = None
                self.seconds[part] += _now() - began

        return timed


def _now() -> float:
    return time.thread_time() + _of_processes()


def _of_processes() -> float:
    """CPU seconds of the processes that this one has started and that have ended."""
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(demo: bool, out: Path, steps: int) -> dict[str, Any]:
    """Train with the clocks on; returns the seconds of each part and of everything else."""
    clock = Clock()
    shutil.rmtree(out, ignore_errors=True)
    with ExitStack() as clocks:
        for part, functions in PARTS.items():
            for place, name in functions:
                module, _, of = place.partition(":")
                owner = importlib.import_module(module)
                owner = getattr(owner, of) if of else owner
                timed = clock.around(part, getattr(owner, name))
                clocks.enter_context(mock.patch.object(owner, name, timed))
        took = _demo(out) if demo else _finetune(out, steps)
    beside = took - sum(clock.seconds.values())
    shares = {part: clock.seconds[part] / beside for part in PARTS}
    without = {part: share for part, share in shares.items() if part != "held-out losses"}
    return {
        "training_seconds": beside,
        "seconds": dict(clock.seconds),
        "shares": shares,
        "overhead": sum(without.values()),
        "with_losses": sum(shares.values()),
    }


def _used() -> float:
    return time.process_time() + _of_processes()


def _finetune(out: Path, steps: int) -> float:
    from benchmarks.finetune_cpu import ours

    out.mkdir(parents=True)
    ours(out, steps)
    # From the start of the process, as plain training is.
    return _used()


def _demo(out: Path) -> float:
    from tunescope import training
    from tunescope.demo.run import run_demo

    sweeps: list[float] = []
    finetune = training.finetune

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = _used()
        try:
            return finetune(*args, **kwargs)
        finally:
            sweeps.append(_used() - began)

    with mock.patch.object(training, "finetune", timed):
        run_demo(out)
    return sum(sweeps)


def main() -> None:
    """Measure one of the two and keep it beside the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--steps", type=int, default=100)
    asked = parser.parse_known_args()[0]
    name = "demo" if asked.demo else "finetune"
    found = measured(asked.demo, (ROOT / "shares" / name).absolute(), asked.steps)
    known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    RESULT.write_text(json.dumps(known | {name: found | {"steps": asked.steps}}, indent=2) + "\n")
    print("\n".join(section(known | {name: found | {"steps": asked.steps}})))


def section(results: dict[str, Any]) -> list[str]:
    """The results as Markdown."""
    names = [name for name in ("finetune", "demo") if name in results]
    lines = [
        "`python -m benchmarks.finetune_shares [--demo]`: CPU seconds inside each part that plain training "
        "lacks ÷ those of everything else, in one process; of `demo` while its twelve runs train.",
        "",
        "| beside training | " + " | ".join(f"`{name}`" for name in names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for part in PARTS:
        shares = (f"{100 * results[name]['shares'][part]:.2f} %" for name in names)
        lines.append(f"| {part} | " + " | ".join(shares) + " |")
    for title, key in (("**all but the losses**", "overhead"), ("all", "with_losses")):
        shares = (f"{100 * results[name][key]:.2f} %" for name in names)
        lines.append(f"| {title} | " + " | ".join(shares) + " |")
    return lines


if __name__ == "__main__":
    main()
