"""Where training runs lie below a folder: captures, and series of checkpoints."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tunescope.errors import BadInput, Notice
from tunescope.source.files.disk import unreachable
from tunescope.source.steps import Numbered, bare, series
from tunescope.source.training_run import has_capture
from tunescope.source.weight_folders import weights_of
from tunescope.words import first

# How deep below a given folder runs are looked for.
DEPTH = 5
# Names that a refusal lists.
_SHOWN = 6

Series = dict[str, list[Numbered]]


class Found(NamedTuple):
    """The folder of runs, its series of checkpoints (none of a capture), and what is to be said of them."""

    folder: Path
    series: Series
    notices: tuple[Notice, ...] = ()


def run_folders(folder: Path) -> list[Found]:
    """Folders of runs at or below a folder; each is looked at once, whatever links lead to it.

    Raises `BadInput` for names that number steps in several ways, and for folders that cannot be read.
    """
    return list(_below(folder, DEPTH, set()))


def _below(folder: Path, depth: int, seen: set[str]) -> Iterator[Found]:
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    try:
        children = sorted(folder.iterdir())
    except OSError as error:
        raise unreachable(folder, error) from None
    if has_capture(folder):
        yield Found(folder, {})
        return
    found = {name: of for name, of in series(children).items() if any(weights_of(n.path) for n in of)}
    refuse_unlike(folder, [*found.values()])
    if found := found or _bare_series(children) or as_one(_within_epochs(children)):
        yield Found(folder, found)
    elif depth:
        anew = _steps_anew(_within_epochs(children))
        for child in children:
            if not child.name.startswith(".") and child.is_dir():
                for one in _below(child, depth - 1, seen):
                    yield one._replace(notices=(*anew, *one.notices))


# Folders of epochs, each with the checkpoints of steps that lie in it.
Epochs = Mapping[Numbered, Sequence[Numbered]]


def as_one(epochs: Epochs) -> Series:
    """Checkpoints of steps in folders of epochs as one series; none where their steps begin anew in each."""
    ordered = [one for epoch in sorted(epochs, key=lambda e: e.number) for one in epochs[epoch]]
    names = {f"{epoch.series}/{one.series}" for epoch, of in epochs.items() for one in of}
    if len(names) != 1 or not all(a.number < b.number for a, b in pairwise(ordered)):
        return {}
    (name,) = names
    return {name: [replace(one, series=name) for one in ordered]}


def _within_epochs(children: Sequence[Path]) -> Epochs:
    epochs = [
        one for of in series(children).values() for one in of if one.unit == "epoch" and one.path.is_dir()
    ]
    inside = {epoch: [*series(epoch.path.iterdir()).values()] for epoch in epochs}
    return {
        epoch: [one for of in found for one in of if one.unit == "step" and weights_of(one.path)]
        for epoch, found in inside.items()
        if found
    }


def _steps_anew(epochs: Epochs) -> tuple[Notice, ...]:
    """That folders of epochs were taken for runs of their own, where each counts its steps anew."""
    names = [epoch.path.name for epoch, of in epochs.items() if of]
    if len(names) < 2:
        return ()
    text = (
        f"the steps in {first(names, _SHOWN)} begin anew, so that each was taken for a run of its own; name "
        "the checkpoints one by one, in order, where they are one"
    )
    return (Notice("steps-begin-anew", text),)


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


def refuse_unlike(folder: Path, found: Sequence[Sequence[Numbered]]) -> None:
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
