"""The demonstration: fine-tune what ships with the package, then look at it with the other commands."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunescope.demo import domain_paths, model_path
from tunescope.demo.output import prepared

RATES = (2e-4, 1e-3)
FOLDERS = ("runs", "norms", "trajectory")


@dataclass(frozen=True)
class Demo:
    """Where the demonstration has put what, and what the two studies say."""

    runs: Any
    places: Mapping[str, Path]
    norms: Mapping[str, Any]
    trajectory: Mapping[str, Any]


def settings() -> dict[str, Any]:
    """The recipe of the demonstration: the published one, with rows that a small model can hold."""
    return {
        "model": str(model_path()),
        "quantize": "nf4",
        "rank": 16,
        "alpha": 32.0,
        "targets": "attention",
        "batch_size": 8,
        "accumulate": 1,
        "max_length": 128,
        "max_steps": 26,
        "held_out_rows": 16,
        "checkpoints_per_epoch": 1,
        "captures_per_epoch": 24,
    }


def run_demo(
    output: str | Path,
    *,
    overwrite: bool = False,
    listener: Any = None,
    changes: Mapping[str, Any] | None = None,
) -> Demo:
    """QLoRA over the five shipped domains at two rates, then norms and trajectories, all below `output`.

    `changes` replaces settings of the recipe. Raises `UsageError` where `output` holds something else.
    """
    # Deferred: training needs torch, which reading commands never load.
    from tunescope.training import Recipe, finetune
    from tunescope.training.progress import silent

    root = prepared(Path(output), "whole", FOLDERS, overwrite)
    recipe = Recipe(**settings() | dict(changes or {}))
    data = {name: str(path) for name, path in domain_paths().items()}
    runs = finetune(recipe, data, root / "runs", rates=RATES, listener=listener or silent)
    norms = _norms(root / "norms", runs)
    trajectory = _trajectory(root / "trajectory", root / "runs")
    places = {
        "results": root / "trajectory" / "results.md",
        "animations": root / "trajectory" / "figures",
        "norms": root / "norms" / "readout.md",
        "losses": root / "runs" / "tables" / "transfer.csv",
    }
    return Demo(runs, places, norms, trajectory)


def _norms(out: Path, runs: Any) -> dict[str, Any]:
    """The norms of the five adapters of the higher rate."""
    from tunescope.questions.norms.study import norms

    chosen = [run for run in runs if run.learning_rate == max(RATES)]
    study = norms([f"{run.domain}={run.folder / 'adapter'}" for run in chosen], shared_scale=True)
    study.save(out)
    return dict(study.readout)


def _trajectory(out: Path, runs: Path) -> dict[str, Any]:
    """The trajectories of all ten runs."""
    from tunescope.questions.trajectory.study import trajectory

    study = trajectory(runs, fps=4.0)
    study.save(out)
    return dict(study.readout)
