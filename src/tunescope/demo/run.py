"""The demonstration: fine-tune what ships with the package, then ask the four questions of the result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunescope.demo import domain_paths, model_path
from tunescope.demo.output import PAGE, prepared
from tunescope.writing import write_text

RATES = (2e-4, 1e-3)
# The domain that is trained twice more: from another seed, and with all weights.
AGAIN = "cpp"
FULL_RATE = 2e-4
# Held-out rows that importance and attribution are taken on.
ROWS = 8
FOLDERS = (
    "runs", "second-seed", "full", "norms", "subspace", "trajectory", "proxy", "importance", "attribution",
)  # fmt: skip


@dataclass(frozen=True)
class Demo:
    """The ten runs of the sweep, where what lies, and the studies by the names of their folders."""

    runs: Any
    places: Mapping[str, Path]
    studies: Mapping[str, Any]


@dataclass(frozen=True)
class Trained:
    """The sweep, a second seed of one of its runs, and full fine-tuning on the same domain."""

    runs: Any
    second: Any
    full: Any

    @property
    def fast(self) -> dict[str, Path]:
        """The folder of every domain's run at the higher rate."""
        return {run.domain: run.folder for run in self.runs if run.learning_rate == max(RATES)}


def settings() -> dict[str, Any]:
    """The recipe of the demonstration: the published one, cut to what a small model learns in seconds."""
    return {
        "model": str(model_path()),
        "quantize": "nf4",
        "rank": 16,
        "alpha": 32.0,
        "targets": "attention",
        "batch_size": 4,
        "accumulate": 1,
        "max_length": 128,
        "max_steps": 16,
        "held_out_rows": 16,
        "checkpoints_per_epoch": 8,
        "captures_per_epoch": 64,
    }


def run_demo(
    output: str | Path,
    *,
    overwrite: bool = False,
    listener: Any = None,
    announce: Callable[[str], None] = lambda _: None,
    changes: Mapping[str, Any] | None = None,
) -> Demo:
    """QLoRA over the five shipped domains at two rates, then a study for each question, all below `output`.

    One domain is trained from a second seed and with all weights as well. `changes` replaces settings of the
    recipe; `announce` is told which study is being made. Raises `UsageError` where `output` holds something
    else.
    """
    # Deferred: --help must not load the numeric libraries.
    from tunescope.study.report import report

    root = prepared(Path(output), "whole", FOLDERS, overwrite)
    trained = _trained(root, settings() | dict(changes or {}), listener)
    studies = {}
    for name, ask in STUDIES.items():
        announce(name)
        studies[name] = ask(root, trained)
        studies[name].save(root / name, report=False)
    places = {
        "page": write_text(root / PAGE, report(list(studies.values()))),
        "results": root / "trajectory" / "results.md",
        "animations": root / "trajectory" / "figures",
        "norms": root / "norms" / "readout.md",
        "losses": root / "runs" / "tables" / "transfer.csv",
    }
    return Demo(trained.runs, places, studies)


def _trained(root: Path, recipe: Mapping[str, Any], listener: Any) -> Trained:
    # Deferred: training needs torch, which reading commands never load.
    from tunescope.training import Recipe, finetune
    from tunescope.training.progress import silent

    listener = listener or silent
    data = {name: str(path) for name, path in domain_paths().items()}
    one, lora = {AGAIN: data[AGAIN]}, Recipe(**recipe)
    whole = Recipe(**{**recipe, "full": True, "quantize": "none"})
    return Trained(
        finetune(lora, data, root / "runs", rates=RATES, listener=listener),
        finetune(lora, one, root / "second-seed", rates=[max(RATES)], seeds=[1], listener=listener),
        finetune(whole, one, root / "full", rates=[FULL_RATE], listener=listener),
    )


def _norms(_: Path, trained: Trained) -> Any:
    """How much: the five adapters of the higher rate, and the full fine-tune beside them."""
    from tunescope.questions.norms.study import norms

    adapters = [f"{domain}={folder / 'adapter'}" for domain, folder in trained.fast.items()]
    full = f"{AGAIN}-full={trained.full[0].folder / 'model'}"
    return norms([*adapters, full], base=str(model_path()), shared_scale=True)


def _subspace(_: Path, trained: Trained) -> Any:
    """In which directions: one domain from two seeds."""
    from tunescope.questions.subspace.study import subspace

    seeds = {"seed-0": trained.fast[AGAIN], "seed-1": trained.second[0].folder}
    return subspace(*(f"{seed}={folder / 'adapter'}" for seed, folder in seeds.items()))


def _trajectory(root: Path, _: Trained) -> Any:
    """When: all ten runs."""
    from tunescope.questions.trajectory.study import trajectory

    return trajectory(root / "runs", fps=4.0)


def _proxy(_: Path, trained: Trained) -> Any:
    """When, again: does LoRA move the layers as full fine-tuning does?"""
    from tunescope.questions.trajectory.study import trajectory

    return trajectory(f"lora={trained.fast[AGAIN]}", f"full={trained.full[0].folder}", fps=4.0)


def _importance(root: Path, _: Trained) -> Any:
    """Does it matter: which parameters the untouched model's predictions depend on."""
    from tunescope.questions.importance.study import importance

    return importance(f"base={model_path()}", _held_out(root), sequences=ROWS)


def _attribution(root: Path, trained: Trained) -> Any:
    """Does it matter: which of the changes bought the gain."""
    from tunescope.questions.attribution.study import attribute

    adapter = f"{AGAIN}={trained.fast[AGAIN] / 'adapter'}"
    return attribute(adapter, str(model_path()), [_held_out(root)], sequences=ROWS)


def _held_out(root: Path) -> str:
    return str(root / "runs" / "held_out" / f"{AGAIN}.jsonl")


STUDIES: dict[str, Callable[[Path, Trained], Any]] = {
    "norms": _norms,
    "subspace": _subspace,
    "trajectory": _trajectory,
    "proxy": _proxy,
    "importance": _importance,
    "attribution": _attribution,
}
