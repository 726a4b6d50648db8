"""Training runs on disk: captures, folders of `checkpoint-*`, and what their names and states say."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from tunescope.errors import BadInput, Missing, Notice
from tunescope.source.files.disk import unreachable
from tunescope.source.files.documents import read_object

_CHECKPOINT = re.compile(r"^checkpoint-(\d+)$")
_RUN_PATH = re.compile(r"(?:^|/)([^/]+)/lr-([^/]+)/seed-(\d+)$")
_WEIGHTS = (
    "adapter_model.safetensors",
    "adapter_model.bin",
    "model.safetensors",
    "model.safetensors.index.json",
)
# How deep below a given folder runs are looked for.
_DEPTH = 5


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One saved state of a run; `state` is what its `trainer_state.json` holds, empty without one."""

    step: int
    folder: Path
    state: Mapping[str, Any] = field(default_factory=dict)

    @property
    def epoch(self) -> float | None:
        """The epoch that the trainer wrote down."""
        return _number(self.state.get("epoch"))

    @property
    def max_steps(self) -> int | None:
        """The length of the schedule that this checkpoint was saved under."""
        found = self.state.get("max_steps")
        return found if isinstance(found, int) and found > 0 else None

    @property
    def losses(self) -> dict[int, float]:
        """Training loss by step, from the trainer's log up to this checkpoint."""
        return self._logged("loss")

    @property
    def learning_rates(self) -> dict[int, float]:
        """Learning rate by step, from the trainer's log up to this checkpoint."""
        return self._logged("learning_rate")

    def _logged(self, name: str) -> dict[int, float]:
        found = {}
        for entry in self.state.get("log_history") or ():
            if isinstance(entry.get("step"), int):
                value = entry.get(name)
                if isinstance(value, int | float):
                    found[entry["step"]] = float(value)
        return found


@dataclass(frozen=True, eq=False)
class Run:
    """A training run: with a `capture` in its folder, or with `checkpoints` in order of step."""

    label: str
    folder: Path
    capture: bool
    checkpoints: tuple[Checkpoint, ...] = ()
    domain: str | None = None
    learning_rate: float | None = None
    seed: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()


def find_runs(specs: Sequence[tuple[str | None, str]]) -> list[Run]:
    """The runs behind `(label, path)` pairs: run folders, folders of runs, folders of checkpoints, captures.

    Checkpoints that are named one by one and lie in one folder make one run. Raises `Missing` for a path
    that is not there and `BadInput` for one that holds no run, or for a half-written checkpoint that was
    asked for by name.
    """
    runs: list[tuple[Path, Run]] = []
    named: dict[tuple[str | None, Path], list[Path]] = {}
    for label, spec in specs:
        path = Path(spec)
        if not path.exists():
            raise Missing("not-found", "there is no such file or folder", file=path, fix="check the path")
        if path.is_dir() and _CHECKPOINT.match(_named(path).name):
            named.setdefault((label, _named(path).parent), []).append(path)
            continue
        runs += [(path, run) for run in _below(label, path)]
    runs += [
        (folder.parent, _named_checkpoints(label, folder, paths)) for (label, folder), paths in named.items()
    ]
    return _distinct(runs)


def _below(label: str | None, path: Path) -> list[Run]:
    if path.is_file():
        if path.name == "capture.parquet":
            return [_captured(label or _named(path).parent.name, path.parent)]
        raise BadInput("no-run", "this file is no capture of a training run", file=path,
                       expected="capture.parquet, a run folder or a folder of checkpoint-*")  # fmt: skip
    folders = list(_run_folders(path, _DEPTH))
    if not folders:
        raise BadInput(
            "no-run",
            "no training run was found in this folder",
            file=path,
            expected="a capture.parquet or checkpoint-* folders with adapter or model weights, at most "
            f"{_DEPTH} levels down",
            fix="give the folder that TrainingCapture or the Trainer wrote to",
        )
    return [_opened(label, path, folder) for folder in folders]


def _run_folders(folder: Path, depth: int) -> Iterator[Path]:
    try:
        children = sorted(child for child in folder.iterdir() if child.is_dir())
    except OSError as error:
        raise unreachable(folder, error) from None
    if has_capture(folder) or any(
        _CHECKPOINT.match(child.name) and _holds_weights(child) for child in children
    ):
        yield folder
    elif depth:
        for child in children:
            if not child.name.startswith("."):
                yield from _run_folders(child, depth - 1)


def has_capture(folder: Path) -> bool:
    """Whether a training run left a capture here, whole or in parts."""
    return (folder / "capture.parquet").is_file() or any(folder.glob("capture.parts/*.parquet"))


def _opened(label: str | None, root: Path, folder: Path) -> Run:
    below = folder.relative_to(root).as_posix()
    name = "/".join(part for part in (label, None if below == "." else below) if part)
    name = name or _named(folder).name
    if has_capture(folder):
        return _captured(name, folder)
    return _timeline(name, folder, [p for p in folder.iterdir() if _CHECKPOINT.match(p.name) and p.is_dir()])


def _captured(label: str, folder: Path) -> Run:
    facts = read_json(folder / "run.json") if (folder / "run.json").is_file() else {}
    path = _RUN_PATH.search(_named(folder).as_posix())
    domain, rate, seed = path.groups() if path else (None, None, None)
    domain = facts.get("domain", domain)
    number = _number(facts.get("seed", seed))
    return Run(
        label,
        folder,
        capture=True,
        domain=None if domain is None else str(domain),
        learning_rate=_number(facts.get("learning_rate", rate)),
        seed=None if number is None else int(number),
        facts=facts,
    )


def _timeline(label: str, folder: Path, paths: Iterable[Path]) -> Run:
    """A folder of checkpoints in order of step; those half written are left out with a notice."""
    found: list[Checkpoint] = []
    notices: list[Notice] = []
    paths = list(paths)
    present = [path for path in paths if _holds_weights(path)]
    for path in sorted(set(paths) - set(present)):
        text = f"{path.name} is half written (no adapter or model weights) and was skipped"
        notices.append(Notice("half-written", text))
    stateless = [path for path in present if not (path / "trainer_state.json").is_file()]
    for path in present:
        if path in stateless and len(stateless) < len(present):
            text = f"{path.name} is half written (no trainer_state.json) and was skipped"
            notices.append(Notice("half-written", text))
        else:
            found.append(_checkpoint(path))
    if stateless and len(stateless) == len(present):
        text = "no checkpoint has a trainer_state.json: steps come from the folder names, epochs are unknown"
        notices.append(Notice("no-trainer-state", text))
    found.sort(key=lambda c: (c.step, c.folder.name))
    _refuse_same_step(folder, found)
    for checkpoint in found:
        notices += _disagreement(checkpoint)
    return Run(label, folder, False, tuple(found), notices=tuple(notices))


def _refuse_same_step(folder: Path, found: Sequence[Checkpoint]) -> None:
    for before, after in pairwise(found):
        if before.step == after.step:
            raise BadInput(
                "same-step",
                "two checkpoints are of one step",
                file=folder,
                expected="one checkpoint for each step",
                found=f"{before.folder.name} and {after.folder.name}",
                fix="keep one of them, or name the checkpoints one by one",
            )


def _named_checkpoints(label: str | None, folder: Path, paths: Sequence[Path]) -> Run:
    for path in paths:
        if not (path / "trainer_state.json").is_file() or not _holds_weights(path):
            missing = "adapter or model weights" if not _holds_weights(path) else "trainer_state.json"
            raise BadInput(
                "half-written",
                "this checkpoint is half written",
                file=path,
                expected=missing,
                found=", ".join(sorted(p.name for p in path.iterdir())[:8]) or "an empty folder",
                fix="name a finished checkpoint, or give the folder above to skip this one",
            )
    return _timeline(label or folder.name, folder, dict.fromkeys(paths))


def _named(path: Path) -> Path:
    """The absolute path as it was named: a link keeps its own name, which may say the step."""
    return path.absolute()


def _holds_weights(folder: Path) -> bool:
    return any((folder / name).exists() for name in _WEIGHTS)


def _checkpoint(path: Path) -> Checkpoint:
    found = _CHECKPOINT.match(_named(path).name)
    assert found is not None
    state = path / "trainer_state.json"
    return Checkpoint(int(found.group(1)), path, _trainer_state(state) if state.is_file() else {})


def _trainer_state(path: Path) -> dict[str, Any]:
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


def _disagreement(checkpoint: Checkpoint) -> list[Notice]:
    stated = checkpoint.state.get("global_step")
    if stated in (None, checkpoint.step):
        return []
    text = f"{checkpoint.folder.name} says global_step {stated} in its trainer_state.json; its name is used"
    return [Notice("step-mismatch", text)]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, a byte-order mark allowed."""
    return read_object(path, "bad-json", path.name)


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if number - number == 0 else None


def _distinct(runs: Sequence[tuple[Path, Run]]) -> list[Run]:
    """Every folder once; labels that clash get the folder they were found under in front, or a number."""
    first = {run.folder.resolve(): (root, run) for root, run in reversed(runs)}
    ordered = list({folder: first[folder] for folder in (run.folder.resolve() for _, run in runs)}.values())
    labels = Counter(run.label for _, run in ordered)
    named = [
        replace(run, label=f"{_named(root).name}/{run.label}") if labels[run.label] > 1 else run
        for root, run in ordered
    ]
    seen: Counter[str] = Counter()
    out = []
    for run in named:
        seen[run.label] += 1
        out.append(run if seen[run.label] == 1 else replace(run, label=f"{run.label}#{seen[run.label]}"))
    return out
