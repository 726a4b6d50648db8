"""Checkpoints in the order of their steps: from names, from what lies beside them, or as they were named."""

import filecmp
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from tunescope.errors import BadInput, Notice
from tunescope.source.files.container import read_safetensors
from tunescope.source.steps import Numbered, gaps
from tunescope.source.training_run import STATE, Checkpoint, Run, number, read_state, whole
from tunescope.source.weight_folders import weights_of

# Steps and epochs that kohya's scripts write into a file's own metadata.
_OWN_STEP, _OWN_EPOCH = "ss_steps", "ss_epoch"
# Missing steps that are named in a notice.
_NAMED = 4


def timeline(label: str, folder: Path, series: Sequence[Numbered]) -> Run:
    """A run of numbered files or folders in order; what is half written is left out with a notice."""
    whole_ones, notices = _whole([one.path for one in series], series[0].unit)
    checkpoints = [_checkpoint(one, whole_ones[one.path]) for one in series if one.path in whole_ones]
    checkpoints, order = _ordered(checkpoints, [one for one in series if one.path in whole_ones])
    checkpoints, more = _with_last(checkpoints, series[0])
    _refuse_same_step(folder, checkpoints)
    for checkpoint in checkpoints:
        more += _disagreement(checkpoint, series[0].unit == "step" and not series[0].bare)
    return Run(
        label,
        folder,
        False,
        tuple(checkpoints),
        notices=(*notices, *more, *_lacking(checkpoints)),
        order=order,
    )


def as_named(label: str, folder: Path, paths: Sequence[Path]) -> Run:
    """A run of files and folders in the order in which they were named, one step each."""
    checkpoints = [
        Checkpoint(step, path, _required(path), read_state(path) if path.is_dir() else {})
        for step, path in enumerate(paths, 1)
    ]
    order = f"in the order in which the {len(paths)} were named; steps count them"
    return Run(label, folder, False, tuple(checkpoints), order=order)


def _required(path: Path) -> Path:
    return weights_of(path) or refuse_half_written(path, "adapter or model weights")


def refuse_half_written(path: Path, lacking: str) -> NoReturn:
    """Raise `BadInput` for a checkpoint that was asked for by name and lacks something."""
    raise BadInput(
        "half-written",
        "this checkpoint is half written",
        file=path,
        expected=lacking,
        found=", ".join(sorted(p.name for p in path.iterdir())[:8]) or "an empty folder",
        fix="name a finished checkpoint, or give the folder above to skip this one",
    )


def _whole(paths: Sequence[Path], unit: str) -> tuple[dict[Path, Path], list[Notice]]:
    """The weights of every checkpoint that is whole, and a notice for every other and for missing states."""
    weights = {path: weights_of(path) for path in paths}
    notices = [
        Notice("half-written", f"{path.name} is half written (no adapter or model weights) and was skipped")
        for path in sorted(path for path in paths if weights[path] is None)
    ]
    found = {path: at for path, at in weights.items() if at is not None}
    folders = [path for path in found if path.is_dir()]
    stateless = [path for path in folders if not (path / STATE).is_file()]
    if stateless and len(stateless) < len(folders):
        for path in stateless:
            text = f"{path.name} is half written (no {STATE}) and was skipped"
            notices.append(Notice("half-written", text))
            del found[path]
    elif stateless:
        unknown = "" if unit == "epoch" else ", epochs are unknown"
        text = f"no checkpoint has a {STATE}: {unit}s come from the folder names{unknown}"
        notices.append(Notice("no-trainer-state", text))
    return found, notices


def _checkpoint(one: Numbered, weights: Path) -> Checkpoint:
    if one.path.is_dir():
        epoch = float(one.number) if one.unit == "epoch" else None
        return Checkpoint(one.number, one.path, weights, read_state(one.path), epoch)
    said = _own(one.path)
    epoch = number(said.get(_OWN_EPOCH))
    if epoch is None and one.unit == "epoch":
        epoch = float(one.number)
    return Checkpoint(one.number, one.path, weights, {}, epoch)


def _own(path: Path) -> dict[str, str]:
    return dict(read_safetensors(path).metadata) if path.suffix.lower() == ".safetensors" else {}


def _own_step(path: Path) -> int | None:
    said = _own(path).get(_OWN_STEP, "") if path.is_file() else ""
    return int(said) if re.fullmatch(r"\d{1,18}", said) else None


def _ordered(checkpoints: list[Checkpoint], series: Sequence[Numbered]) -> tuple[list[Checkpoint], str]:
    """The checkpoints with their steps, in order, and in words where the order comes from."""
    steps: list[int | None] = [checkpoint.step for checkpoint in checkpoints]
    named, order = _said(series)
    if series and (series[0].unit == "epoch" or series[0].bare):
        stated = [whole(checkpoint.state.get("global_step")) for checkpoint in checkpoints]
        own = [_own_step(checkpoint.path) for checkpoint in checkpoints]
        for found, place in (
            (stated, f"global_step in {STATE}"),
            (own, f"{_OWN_STEP} in the files' metadata"),
        ):
            if None not in found:
                steps, order = found, f"steps from {place}; {named}"
    numbered = [
        Checkpoint(step if step is not None else c.step, c.path, c.weights, c.state, c.said_epoch)
        for step, c in zip(steps, checkpoints, strict=True)
    ]
    return sorted(numbered, key=lambda c: (c.step, c.path.name)), order


def _said(series: Sequence[Numbered]) -> tuple[str, str]:
    """What the names say, and which order that is."""
    if not series:
        return "", "steps as the names number them"
    names, unit = [one.path.name for one in series], series[0].unit
    if series[0].bare:
        shown = ", ".join(names) if len(names) <= _NAMED else f"{names[0]} to {names[-1]}"
        named = f"the names are bare numbers, {shown}"
        return named, f"{named}, which were taken for steps"
    order = f"{unit}s as the names {series[0].series} number them"
    also = "; steps count epochs" if unit == "epoch" else ""
    return f"the names {series[0].series} number {unit}s", order + also


def _with_last(checkpoints: list[Checkpoint], of: Numbered) -> tuple[list[Checkpoint], list[Notice]]:
    """The file without a number that a tool writes at the end, where its step is known."""
    if not checkpoints or of.path.is_dir() or "/" in of.series:
        return checkpoints, []
    last = checkpoints[-1]
    bare = re.sub(r"(^#_|[-_]?(step|epoch)?[-_]?#)", "", of.series, count=1)
    path = of.path.with_name(bare)
    if path == of.path or not path.is_file() or filecmp.cmp(path, last.path, shallow=False):
        return checkpoints, []
    step, epoch = _own_step(path), number(_own(path).get(_OWN_EPOCH))
    if step is not None and step > last.step and _own_step(last.path) == last.step:
        return [*checkpoints, Checkpoint(step, path, path, {}, epoch)], []
    text = f"{path.name} states no step and was left out; name the files one by one to have it last"
    return checkpoints, [Notice("last-left-out", text)]


def _refuse_same_step(folder: Path, found: Sequence[Checkpoint]) -> None:
    for before, after in pairwise(found):
        if before.step == after.step:
            raise BadInput(
                "same-step",
                "two checkpoints are of one step",
                file=folder,
                expected="one checkpoint for each step",
                found=f"{before.path.name} and {after.path.name}",
                fix="keep one of them, or rename one to the step that it holds",
            )


def _disagreement(checkpoint: Checkpoint, by_step: bool) -> list[Notice]:
    stated = checkpoint.state.get("global_step")
    if not by_step or stated in (None, checkpoint.step):
        return []
    text = f"{checkpoint.path.name} says global_step {stated} in its {STATE}; its name is used"
    return [Notice("step-mismatch", text)]


def _lacking(checkpoints: Sequence[Checkpoint]) -> list[Notice]:
    """Notices for steps of an even series that are not there, at its beginning and further on."""
    steps = [checkpoint.step for checkpoint in checkpoints]
    if not steps or steps[0] < 0:
        return []
    every = whole(checkpoints[-1].state.get("save_steps"))
    regular = every is not None and every > 0 and all(step % every == 0 for step in steps[:-1])
    lacking = gaps(steps, every if regular and len(steps) > 1 else None)
    before, between = [s for s in lacking if s < steps[0]], [s for s in lacking if s > steps[0]]
    notices = []
    if before:
        text = (
            f"the first checkpoint is of step {steps[0]:,}: {_few(before)} before it {_are(before)} not there"
        )
        notices.append(Notice("steps-missing", text))
    if between:
        text = f"the series has a gap: {_few(between)} {_are(between)} not there"
        notices.append(Notice("steps-missing", text))
    return notices


def _few(steps: Sequence[int]) -> str:
    shown = ", ".join(f"{step:,}" for step in steps[:_NAMED])
    rest = len(steps) - _NAMED
    return f"step{'s' * (len(steps) > 1)} {shown}" + (f" and {rest:,} more" if rest > 0 else "")


def _are(steps: Sequence[int]) -> str:
    return "is" if len(steps) == 1 else "are"
