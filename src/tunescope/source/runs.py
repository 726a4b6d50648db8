"""Finds training runs on disk: captures, series of checkpoints, and weights that are named one by one."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from tunescope.errors import BadInput, Missing
from tunescope.source.files.disk import unreachable
from tunescope.source.files.suffixes import suffix_of
from tunescope.source.locate import NEVER_OPENED, SHARD
from tunescope.source.open import local_source
from tunescope.source.spec import distinct_labels
from tunescope.source.steps import SUFFIXES, Numbered, bare, numbered, series
from tunescope.source.timeline import as_named, refuse_half_written, timeline
from tunescope.source.training_run import STATE, Run, has_capture, number, read_json, whole
from tunescope.source.unnumbered import beside
from tunescope.source.weight_folders import weights_of
from tunescope.words import first

_RUN_PATH = re.compile(r"(?:^|/)([^/]+)/lr-([^/]+)/seed-(\d+)$")
# How deep below a given folder runs are looked for.
_DEPTH = 5
# Names that a refusal lists.
_SHOWN = 6


@dataclass(frozen=True)
class _Named:
    """Weights that were named one by one: with what their name numbers, if it does."""

    label: str | None
    path: Path
    number: Numbered | None


def find_runs(specs: Sequence[tuple[str | None, str]]) -> list[Run]:
    """The runs behind `(label, path)` pairs: run folders, folders of runs, captures, checkpoints, weights.

    Numbered checkpoints that are named one by one and lie in one folder make one run in the order of their
    numbers; where others are named beside them, all of one label make one run in the order given. Raises
    `Missing` for a path that is not there and `BadInput` for one that holds no run, or for a half-written
    checkpoint that was asked for by name.
    """
    runs: list[tuple[Path, Run]] = []
    named: list[_Named] = []
    for label, spec in specs:
        path = local_source(spec)
        if not path.exists():
            raise Missing("not-found", "there is no such file or folder", file=path, fix="check the path")
        if (one := _one(label, path)) is not None:
            named.append(one)
        else:
            runs += [(path, run) for run in _below(label, path)]
    return _distinct([*runs, *_together(named)])


def _one(label: str | None, path: Path) -> _Named | None:
    """The weights that a path names, if it names weights and no run."""
    if path.is_file():
        weights = suffix_of(path) in SUFFIXES
        return _Named(label, path, _number_of(path)) if weights else None
    found = numbered(path.absolute())
    if found is not None and (weights_of(path) is not None or not list(_run_folders(path, _DEPTH, set()))):
        return _Named(label, path, replace(found, path=path))
    if has_capture(path) or list(_run_folders(path, _DEPTH, set())) or weights_of(path) is None:
        return None
    return _Named(label, path, _number_of(path))


def _number_of(path: Path) -> Numbered | None:
    """What a name numbers, or that of the checkpoint's folder that the weights lie in."""
    for read in (numbered, bare):
        if (found := read(path.absolute())) is not None:
            return replace(found, path=path)
        above = read(path.absolute().parent)
        if above is not None and _alone(path):
            return replace(above, path=path.parent)
    return None


def _alone(path: Path) -> bool:
    """Whether what was named is all the weights of its folder."""
    folder = path.absolute().parent
    try:
        found = weights_of(folder)
    except BadInput:
        return False
    files = [entry for entry in folder.iterdir() if suffix_of(entry) in SUFFIXES]
    kept = [entry for entry in files if not NEVER_OPENED.match(entry.name)]
    return found == (folder if path.is_file() else path.absolute()) and len(kept) == path.is_file()


def _below(label: str | None, path: Path) -> list[Run]:
    if path.is_file() and path.name != "capture.parquet":
        raise BadInput(
            "no-run",
            "this file is no capture of a training run, nor weights",
            file=path,
            expected=f"capture.parquet, a file of weights ({', '.join(SUFFIXES)}) or a folder",
            fix="name the folder that the training wrote to",
        )
    if path.is_file():
        return [_captured(label or path.absolute().parent.name, path.parent)]
    found = list(_run_folders(path, _DEPTH, set()))
    if not found:
        _refuse_no_run(path)
    return [run for folder, of in found for run in _opened(label, path, folder, of)]


def _refuse_no_run(path: Path) -> NoReturn:
    inside = sorted(p.name + "/" * p.is_dir() for p in path.iterdir() if not p.name.startswith("."))
    raise BadInput(
        "no-run",
        "no training run was found in this folder",
        file=path,
        expected="a capture.parquet, or numbered folders or files of weights (checkpoint-10, step_10, "
        f"name-000010.safetensors), at most {_DEPTH} levels down",
        found=first(inside, _SHOWN) or "an empty folder",
        fix="give the folder that the training wrote to, or name the weights one by one in order",
    )


Series = dict[str, list[Numbered]]


def _run_folders(folder: Path, depth: int, seen: set[str]) -> Iterator[tuple[Path, Series]]:
    """Folders of runs with their series of checkpoints; each is looked at once, whatever links lead to it."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    try:
        children = sorted(folder.iterdir())
    except OSError as error:
        raise unreachable(folder, error) from None
    if has_capture(folder):
        yield folder, {}
        return
    found = {name: of for name, of in series(children).items() if any(weights_of(n.path) for n in of)}
    _refuse_unlike(folder, [*found.values()])
    if found := found or _bare_series(children):
        yield folder, found
    elif depth:
        for child in children:
            if not child.name.startswith(".") and child.is_dir():
                yield from _run_folders(child, depth - 1, seen)


def _bare_series(children: Sequence[Path]) -> Series:
    """Two or more names of weights that are bare numbers, where none is a run of its own."""
    found = [one for one in map(bare, children) if one is not None]
    if any(one.path.is_dir() and _is_run(one.path) for one in found):
        return {}
    groups = {one.series: [other for other in found if other.series == one.series] for one in found}
    ordered = {name: sorted(of, key=lambda n: (n.number, n.path.name)) for name, of in groups.items()}
    return {name: of for name, of in ordered.items() if sum(weights_of(n.path) is not None for n in of) > 1}


def _is_run(folder: Path) -> bool:
    return has_capture(folder) or any(
        weights_of(n.path) for of in series(folder.iterdir()).values() for n in of
    )


def _refuse_unlike(folder: Path, found: Sequence[Sequence[Numbered]]) -> None:
    """Refuse names that number steps each in its own way: whether they are one run cannot be told."""
    if len(found) < 2 or (any(len(of) > 1 for of in found) and len({of[0].bare for of in found}) == 1):
        return
    raise BadInput(
        "mixed-steps",
        "every name numbers its steps in a way of its own, so that they may be one run or several",
        file=folder,
        expected="names that differ in their number alone, such as checkpoint-100 and checkpoint-200",
        found=first([of[0].path.name for of in found], _SHOWN),
        fix="rename them alike, or give each run a label of its own: tunescope trajectory a=... b=...",
    )


def _opened(label: str | None, root: Path, folder: Path, found: Series) -> Iterator[Run]:
    below = folder.relative_to(root).as_posix()
    name = "/".join(part for part in (label, None if below == "." else below) if part)
    name = name or folder.absolute().name
    if not found:
        yield _captured(name, folder)
    for series_name, of in found.items():
        stem = re.sub(r"[-_=]?#.*$", "", series_name)
        run = timeline(name if len(found) == 1 else f"{name}/{stem}", folder, of)
        yield beside(run, folder, {one.path for one in of}) if of is next(iter(found.values())) else run


def _captured(label: str, folder: Path) -> Run:
    facts = read_json(folder / "run.json") if (folder / "run.json").is_file() else {}
    path = _RUN_PATH.search(folder.absolute().as_posix())
    domain, rate, seed = path.groups() if path else (None, None, None)
    domain = facts.get("domain", domain)
    said = number(facts.get("seed", seed))
    return Run(
        label,
        folder,
        capture=True,
        domain=None if domain is None else str(domain),
        learning_rate=number(facts.get("learning_rate", rate)),
        seed=None if said is None else whole(int(said)),
        facts=facts,
    )


def _together(named: Sequence[_Named]) -> Iterator[tuple[Path, Run]]:
    """Weights named one by one as runs: by their numbers where all of a label have some, else as named."""
    for label in dict.fromkeys(one.label for one in named):
        mine = [one for one in named if one.label == label]
        groups: dict[tuple[Path, str], dict[Path, Numbered]] = {}
        for found in [one.number for one in mine if one.number is not None]:
            key = (found.path.absolute().parent, found.series)
            groups.setdefault(key, {})[found.path.absolute()] = found
        known = all(one.number is not None for one in mine)
        for folder in dict.fromkeys(folder for folder, _ in groups) if known else ():
            _refuse_unlike(folder, [[*of.values()] for (above, _), of in groups.items() if above == folder])
        # A bare number says something beside another one alone.
        if not known or any(one.bare and len(of) == 1 for of in groups.values() for one in of.values()):
            yield _in_given_order(label, [one.path for one in mine])
            continue
        for (folder, _), of in groups.items():
            ordered = sorted(of.values(), key=lambda n: (n.number, n.path.name))
            _check_whole(ordered, folder)
            yield folder.parent, timeline(label or folder.name, folder, ordered)


def _in_given_order(label: str | None, paths: Sequence[Path]) -> tuple[Path, Run]:
    if len(paths) == 1:
        _refuse_unnumbered(paths[0])
        raise BadInput(
            "no-run",
            "these are weights of one moment, not a training run",
            file=paths[0],
            expected="several files or folders of weights in the order of training, or the folder of a run",
            found=paths[0].name,
            fix="name what came before and after it too; tunescope norms shows a single adapter",
        )
    folder = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    return folder, as_named(label or folder.name or "named", folder, paths)


def _refuse_unnumbered(path: Path) -> None:
    """Refuse a folder of several files of weights whose names number no step."""
    files = sorted(p.name for p in path.iterdir() if suffix_of(p) in SUFFIXES) if path.is_dir() else []
    kept = [name for name in files if not NEVER_OPENED.match(name) and not SHARD.match(name)]
    if len(kept) > 1:
        raise BadInput(
            "no-run",
            "the folder holds several files of weights, and their names number no steps",
            file=path,
            expected="names with a step, such as name-000010.safetensors or step_10.safetensors",
            found=first(kept, _SHOWN),
            fix="name the files one by one, in the order of training",
        )


def _check_whole(named: Sequence[Numbered], folder: Path) -> None:
    """Refuse a half-written checkpoint that was asked for by name."""
    beside = series(folder.iterdir()).get(named[0].series, [])
    stated = any((one.path / STATE).is_file() for one in beside)
    for one in named:
        if one.path.is_dir() and weights_of(one.path) is None:
            refuse_half_written(one.path, "adapter or model weights")
        if one.path.is_dir() and stated and not (one.path / STATE).is_file():
            refuse_half_written(one.path, STATE)


def _distinct(runs: Sequence[tuple[Path, Run]]) -> list[Run]:
    """Every run once; labels that clash get what differs of their folders' paths in front, else a number."""
    first = {_identity(run): (root, run) for root, run in reversed(runs)}
    ordered = list({key: first[key] for key in (_identity(run) for _, run in runs)}.values())
    groups: dict[str, list[Run]] = {}
    for _, run in ordered:
        groups.setdefault(run.label, []).append(run)
    fronts = {label: iter(_fronts(of)) for label, of in groups.items() if len(of) > 1}
    seen: Counter[str] = Counter()
    out = []
    for _, run in ordered:
        front = next(fronts[run.label]) if run.label in fronts else ""
        label = f"{front}/{run.label}" if front else run.label
        seen[label] += 1
        out.append(replace(run, label=label if seen[label] == 1 else f"{label}#{seen[label]}"))
    return out


def _fronts(runs: Sequence[Run]) -> list[str]:
    """What tells the folders of runs of one label apart, empty where nothing does."""
    folders = [run.folder.absolute().parts for run in runs]
    return distinct_labels(folders) if len(set(folders)) > 1 else [""] * len(runs)


def _identity(run: Run) -> tuple[Path, ...]:
    return (run.folder.resolve(), *(checkpoint.path.resolve() for checkpoint in run.checkpoints))
