"""Training runs as they are named: run folders, captures, and weights that are named one by one."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from tunescope.errors import BadInput, Missing
from tunescope.paths import resolved
from tunescope.source.files.suffixes import suffix_of
from tunescope.source.locate import NEVER_OPENED, SHARD
from tunescope.source.open import local_source
from tunescope.source.run_search import DEPTH, Found, as_one, refuse_unlike, run_folders
from tunescope.source.spec import distinct_labels
from tunescope.source.steps import SUFFIXES, Numbered, bare, numbered, series
from tunescope.source.timeline import as_named, refuse_half_written, timeline
from tunescope.source.training_run import STATE, Run, has_capture, number, read_json, whole
from tunescope.source.unnumbered import beside
from tunescope.source.weight_folders import weights_of
from tunescope.words import first

_RUN_PATH = re.compile(r"(?:^|/)([^/]+)/lr-([^/]+)/seed-(\d+)$")
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

    Numbered checkpoints that are named one by one and lie in one folder, or each in one of its own, make one
    run in the order of their numbers; where others are named beside them, all of one label make one run in
    the order given. Raises `Missing` for a path that is not there and `BadInput` for one that holds no run,
    or for a half-written checkpoint that was asked for by name.
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
    if found is not None and (weights_of(path) is not None or not run_folders(path)):
        return _Named(label, path, replace(found, path=path))
    if has_capture(path) or run_folders(path) or weights_of(path) is None:
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
    found = run_folders(path)
    if not found:
        _refuse_no_run(path)
    return [run for one in found for run in _opened(label, path, one)]


def _refuse_no_run(path: Path) -> NoReturn:
    inside = sorted(p.name + "/" * p.is_dir() for p in path.iterdir() if not p.name.startswith("."))
    raise BadInput(
        "no-run",
        "no training run was found in this folder",
        file=path,
        expected="a capture.parquet, or numbered folders or files of weights (checkpoint-10, step_10, "
        f"name-000010.safetensors), at most {DEPTH} levels down",
        found=first(inside, _SHOWN) or "an empty folder",
        fix="give the folder that the training wrote to, or name the weights one by one in order",
    )


def _opened(label: str | None, root: Path, found: Found) -> Iterator[Run]:
    folder, every = found.folder, found.series
    below = folder.relative_to(root).as_posix()
    name = "/".join(part for part in (label, None if below == "." else below) if part)
    name = name or folder.absolute().name
    if not every:
        yield _captured(name, folder)
    for place, (series_name, of) in enumerate(every.items()):
        stem = re.sub(r"[-_=]?#.*$", "", series_name)
        run = timeline(name if len(every) == 1 else f"{name}/{stem}", folder, of)
        run = replace(run, notices=(*run.notices, *found.notices))
        yield run if place else beside(run, folder, {one.path for one in of})


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
        mine = _own_numbers([one for one in named if one.label == label])
        groups = _scattered(_grouped([one.number for one in mine if one.number is not None]))
        known = all(one.number is not None for one in mine)
        for folder in dict.fromkeys(folder for folder, _ in groups) if known else ():
            refuse_unlike(folder, [of for (above, _), of in groups.items() if above == folder])
        # A bare number says something beside another one alone.
        if not known or any(of[0].bare and len(of) == 1 for of in groups.values()) or _anew(groups):
            yield _in_given_order(label, [one.path for one in mine])
            continue
        for (folder, _), of in groups.items():
            ordered = sorted(of, key=lambda n: (n.number, n.path.name))
            _check_whole(ordered, folder)
            yield folder.parent, timeline(label or folder.name, folder, ordered)


# Numbered weights by the folder in which their series lies, and the series.
_Groups = dict[tuple[Path, str], list[Numbered]]


def _grouped(found: Sequence[Numbered]) -> _Groups:
    groups: dict[tuple[Path, str], dict[Path, Numbered]] = {}
    for one in found:
        groups.setdefault((one.path.absolute().parent, one.series), {})[one.path.absolute()] = one
    lists = {key: list(of.values()) for key, of in groups.items()}
    epochs = _epochs(lists)
    above = {epoch.path.parent for epoch in epochs}
    one_run = as_one(epochs) if len(above) == 1 else {}
    return {(above.pop(), name): of for name, of in one_run.items()} or lists


def _own_numbers(named: Sequence[_Named]) -> list[_Named]:
    """The named weights; where their own names differ, bare numbers of the folders above do not count."""
    above = [one for one in named if one.number is not None and one.number.path != one.path]
    if len({one.path.name for one in above}) < 2:
        return [*named]
    return [replace(one, number=None) if one in above and _is_bare(one) else one for one in named]


def _is_bare(one: _Named) -> bool:
    return one.number is not None and one.number.bare


def _scattered(groups: _Groups) -> _Groups:
    """The groups as one, where each is one checkpoint in a folder of its own and all number alike."""
    alone = [of[0] for of in groups.values() if len(of) == 1]
    if len(alone) < max(2, len(groups)) or len({one.series for one in alone}) > 1:
        return groups
    if len({one.number for one in alone}) < len(alone) or any(one.bare for one in alone):
        return groups
    folder = Path(os.path.commonpath([above for above, _ in groups]))
    return {(folder, alone[0].series): alone}


def _epochs(groups: _Groups) -> dict[Numbered, list[Numbered]]:
    """The groups by the folders of epochs that they lie in; empty where not all do."""
    found = {numbered(folder): of for (folder, _), of in groups.items()}
    known = {e: of for e, of in found.items() if e and e.unit == "epoch" and of[0].unit == "step"}
    return known if len(known) == len(groups) > 1 else {}


def _anew(groups: _Groups) -> bool:
    """Whether checkpoints were named that lie in several epochs of one run and count their steps anew."""
    epochs = _epochs(groups)
    return bool(epochs) and len({(epoch.path.parent, epoch.series) for epoch in epochs}) == 1


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
    return (resolved(run.folder), *(resolved(checkpoint.path) for checkpoint in run.checkpoints))
