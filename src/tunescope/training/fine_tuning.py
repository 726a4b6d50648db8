"""`finetune`: one call for a whole sweep."""

import importlib.util
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from tunescope.errors import Exhausted, UsageError
from tunescope.extras import advice
from tunescope.lm.pretrained import load_config, load_tokenizer
from tunescope.lm.texts import limits_of
from tunescope.training.domains import HELD_OUT, read_domains, write_held_out
from tunescope.training.exhaustion import named_exhaustion
from tunescope.training.guards import few_threads, refuse_degraded_launch
from tunescope.training.progress import Listener, silent
from tunescope.training.recipe import Recipe, check_rate
from tunescope.training.run import SCHEMA_VERSION, Run, refuse_stopped
from tunescope.training.runs import Runs
from tunescope.training.sweep import Sweep, checked_root, versions
from tunescope.writing import clear_remains, locked, write_json

FORBIDDEN = set('/\\:*?"<>|')
# What lies beside the domains in a sweep's folder, and the longest name of a folder.
TAKEN = ("tables", HELD_OUT, "sweep.json", "base_losses.json")
LONGEST = 100


def finetune(
    recipe: Recipe,
    data: Mapping[str, str],
    output: str | Path,
    *,
    rates: Sequence[float] = (2e-4,),
    seeds: Sequence[int] = (0,),
    report_to: Iterable[str] = (),
    listener: Listener = silent,
) -> Runs:
    """Fine-tune one model on every domain at every rate from every seed, recording how its weights move.

    `data` maps a domain's name to a file or hub data set. Each run has a folder
    `output/<domain>/lr-<rate>/seed-<n>` with `run.json`, `capture.parquet`, `adapter/` (`model/` after full
    fine-tuning), the trainer's checkpoints, and a marker once it and its captures are whole. Whole runs are
    not done again; others are taken up at their last checkpoint. `output/tables/transfer.csv` says what each
    run gained and forgot on every domain's held-out rows, which stand in `output/held_out/<domain>.jsonl`.

    Raises `UsageError` for settings that cannot work or that differ from those of the runs that are there,
    `BadInput` and `Missing` for data and models, `Exhausted` while another process sweeps the same folder and
    where the disk or a device ran out.
    """
    refuse_degraded_launch()
    check_libraries(recipe, report_to)
    few_threads()
    root = checked_root(Path(output))
    runs = plan(root, data, rates, seeds)
    with _processes() as main_process, _alone(root, main_process), _quiet_libraries():
        tokenizer = load_tokenizer(recipe.model)
        domains = read_domains(data, tokenizer, recipe, limits_of(load_config(recipe.model)))
        sweep = Sweep(runs, recipe, domains, tokenizer, list(report_to), listener if main_process else silent)
        sweep.check()
        with named_exhaustion(root):
            if main_process:
                # First of all, for by it the folder is known as a sweep's when the command is repeated.
                write_json(root / "sweep.json", _record(recipe, data, rates, seeds))
                write_held_out(root, domains.values())
            sweep.do(main_process)
    refuse_stopped(runs if main_process else [])
    return Runs(root, runs)


def check_libraries(recipe: Recipe, report_to: Iterable[str]) -> None:
    """Raise `UsageError` for a tracker, optimizer or quantisation that no installed library has."""
    from transformers.training_args import OptimizerNames

    for name in report_to:
        _check_tracker(name)
    optimizers = [str(name.value) for name in OptimizerNames]
    if (name := recipe.optimizer) not in optimizers:
        raise UsageError("not-installed", f"there is no --optimizer {name}", expected=optimizers, found=name)
    if recipe.quantize != "none" and importlib.util.find_spec("bitsandbytes") is None:
        fix = f"--quantize none, or {advice('train')}"
        raise UsageError("extra-missing", "quantised training needs bitsandbytes", fix=fix)


def _check_tracker(name: str) -> None:
    from transformers.integrations import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations

    installed = get_available_reporting_integrations()
    if name in installed:
        return
    known = ", ".join(INTEGRATION_TO_CALLBACK)
    raise UsageError(
        "not-installed",
        f"--report-to {name} cannot be used",
        expected=installed or "no tracker is installed",
        found=name,
        fix=f"install the package {name}" if name in INTEGRATION_TO_CALLBACK else f"one of {known}",
    )


def plan(root: Path, data: Mapping[str, str], rates: Sequence[float], seeds: Sequence[int]) -> list[Run]:
    """All runs of a sweep, in the order in which they are done.

    >>> [run.name for run in plan(Path("runs"), {"cpp": "cpp.jsonl"}, [2e-4, 1e-3], [0])]
    ['cpp/lr-2e-4/seed-0', 'cpp/lr-1e-3/seed-0']
    """
    for name in data:
        if not _names_a_folder(name):
            raise UsageError(
                "domain-name",
                f"{name[:LONGEST]!r} cannot name a domain",
                expected=f"at most {LONGEST} characters, none of them in {' '.join(sorted(FORBIDDEN))}",
                fix="use letters, digits, - and _",
            )
    for seed in seeds:
        if not 0 <= seed < 1 << 32:
            raise UsageError("bad-setting", "--seed is out of range", expected="0 to 2^32 - 1", found=seed)
    if not (data and rates and seeds):
        raise UsageError("nothing-to-do", "a sweep needs a domain, a learning rate and a seed")
    pairs = [(check_rate(rate), seed) for rate in dict.fromkeys(rates) for seed in dict.fromkeys(seeds)]
    return [Run(name, rate, seed, root) for name in data for rate, seed in pairs]


def _names_a_folder(name: str) -> bool:
    plain = name.isprintable() and not set(name) & FORBIDDEN and not name.startswith(".")
    return plain and 0 < len(name.encode()) <= LONGEST and name not in TAKEN


def _record(
    recipe: Recipe, data: Mapping[str, str], rates: Sequence[float], seeds: Sequence[int]
) -> dict[str, object]:
    return {
        "schema_version": SCHEMA_VERSION,
        "recipe": recipe.settings(),
        "data": dict(data),
        "learning_rates": list(rates),
        "seeds": list(seeds),
        "versions": versions(),
    }


@contextmanager
def _processes() -> Iterator[bool]:
    """Join the other processes of a launch, if there are any; yields whether this is the one that writes."""
    # Deferred: an extra.
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    yield bool(state.is_main_process)
    state.wait_for_everyone()


@contextmanager
def _alone(root: Path, wanted: bool) -> Iterator[None]:
    """Keep other processes off the sweep's folder, where `wanted`; an empty one is not left behind."""
    if not wanted:
        yield
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        fix = "choose a writable place"
        raise Exhausted(
            "read-only", "the output cannot be written", file=root, found=problem, fix=fix
        ) from problem
    try:
        with locked(root / ".lock", root):
            clear_remains(root)
            yield
    finally:
        if not any(root.iterdir()):
            root.rmdir()


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """The listener shows the progress; the libraries' own bars and notes to each other would drown it."""
    # Deferred: an extra.
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        if shown:
            logging.enable_progress_bar()
