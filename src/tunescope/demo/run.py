"""The demonstration: fine-tune what ships with the package, then ask the four questions of the result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunescope.demo import domain_paths, model_path
from tunescope.demo.output import PAGE, filling
from tunescope.demo.planted import planted_adapter
from tunescope.writing import write_text

RATES = (2e-4, 1e-3)
# The domain that is trained twice more: from another seed, and with all weights.
AGAIN = "cpp"
FULL_RATE = 3e-4
# Held-out rows that importance and attribution are taken on.
ROWS = 8
# The adapter that was not trained, but made with a band of layers that moved further.
PLANTED = "planted"
TRAINED = ("runs", "second-seed", "full")
FOLDERS = (
    *TRAINED, PLANTED,
    "norms", "subspace", "trajectory", "importance", "attribution",
)  # fmt: skip


TITLE = "Fine-tuning a small model on five domains: where it changed, when, and what that did"


def _about() -> str:
    """What the names on the page mean."""
    high, low = (f"{rate:.0e}".replace("e-0", "e-") for rate in (max(RATES), min(RATES)))
    full = f"{FULL_RATE:.0e}".replace("e-0", "e-")
    return (
        "A small transformer was fine-tuned with LoRA on texts of five domains, each at learning rate "
        f"{high}, under the domain's name, and at {low}, which the name then ends with. {AGAIN}-seed-1 is "
        f"{AGAIN} again from another random seed, {AGAIN}-full is all weights trained on {AGAIN} at {full}. "
        f"{PLANTED} was not trained: it is random, made by hand so that a band of layers moved further than "
        "the rest, to show that the page finds it. base is the model before any training."
    )


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
    def adapters(self) -> dict[str, Path]:
        """The runs of the higher rate, by the name that a model has in all studies."""
        return {run.domain: run.folder for run in self.runs if run.learning_rate == max(RATES)}

    @property
    def slow(self) -> dict[str, Path]:
        """The runs of the lower rate."""
        rest = [run for run in self.runs if run.learning_rate != max(RATES)]
        return {f"{run.domain}-{run.learning_rate:.0e}".replace("e-0", "e-"): run.folder for run in rest}


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
    with filling(Path(output), "whole", FOLDERS, overwrite, goes_on=TRAINED) as root:
        return _filled(root, settings() | dict(changes or {}), listener, announce)


def _filled(root: Path, recipe: Mapping[str, Any], listener: Any, announce: Callable[[str], None]) -> Demo:
    # Deferred: --help must not load the numeric libraries.
    from tunescope.study.report import report

    planted_adapter(root / PLANTED)
    trained = _trained(root, recipe, listener)
    studies = {}
    for name, ask in STUDIES.items():
        announce(name)
        studies[name] = ask(root, trained)
        studies[name].save(root / name, report=False)
    places = {
        "page": write_text(root / PAGE, report(list(studies.values()), title=TITLE, about=_about())),
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


def _norms(root: Path, trained: Trained) -> Any:
    """How much: the five adapters of the higher rate, one with a planted band, and the full fine-tune."""
    from tunescope.questions.norms.study import norms

    sources = _named({name: run / "adapter" for name, run in trained.adapters.items()})
    others = {PLANTED: root / PLANTED, f"{AGAIN}-full": trained.full[0].folder / "model"}
    return norms([*sources, *_named(others)], base=str(model_path()), shared_scale=True)


def _subspace(_: Path, trained: Trained) -> Any:
    """In which directions: one domain from two seeds."""
    from tunescope.questions.subspace.study import subspace

    seeds = {AGAIN: trained.adapters[AGAIN], f"{AGAIN}-seed-1": trained.second[0].folder}
    return subspace(_named({name: run / "adapter" for name, run in seeds.items()}))


def _trajectory(_: Path, trained: Trained) -> Any:
    """When: all ten runs, and whether full fine-tuning moves the layers as LoRA does."""
    from tunescope.questions.trajectory.study import trajectory

    full = {f"{AGAIN}-full": trained.full[0].folder}
    return trajectory(_named({**trained.adapters, **trained.slow, **full}), fps=4.0)


def _importance(root: Path, _: Trained) -> Any:
    """Does it matter: which parameters the untouched model's predictions depend on."""
    from tunescope.questions.importance.study import importance

    return importance(f"base={model_path()}", _held_out(root), sequences=ROWS, device="cpu")


def _attribution(root: Path, trained: Trained) -> Any:
    """Does it matter: which of the changes bought the gain."""
    from tunescope.questions.attribution.study import attribute

    (adapter,) = _named({AGAIN: trained.adapters[AGAIN] / "adapter"})
    return attribute(adapter, str(model_path()), [_held_out(root)], sequences=ROWS, device="cpu")


def _named(places: Mapping[str, Path]) -> list[str]:
    return [f"{name}={place}" for name, place in places.items()]


def _held_out(root: Path) -> str:
    return str(root / "runs" / "held_out" / f"{AGAIN}.jsonl")


STUDIES: dict[str, Callable[[Path, Trained], Any]] = {
    "norms": _norms,
    "subspace": _subspace,
    "trajectory": _trajectory,
    "importance": _importance,
    "attribution": _attribution,
}
