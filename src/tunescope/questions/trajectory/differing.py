"""What differs between the checkpoints of a run, and its start: refused, or said."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from tunescope.address import Address, component_names
from tunescope.errors import BadInput, Notice
from tunescope.questions.trajectory.vocabulary import (
    all_addresses,
    is_resized,
    last_shape,
    reshaped,
    resized_since,
)
from tunescope.source.checkpoints import Saved
from tunescope.source.training_run import Run
from tunescope.words import counted, named

# Its ranks are given up one by one, and its scale with them.
_SHRINKS = "adalora"
# By whether weights are whole.
_KINDS = {True: "a whole model", False: "an adapter"}
_SEVERAL = {True: "whole models", False: "adapters"}
_VALUES = {True: "the weight W itself", False: "an update ΔW"}


def refuse_mixture(run: Run, opened: Sequence[Saved]) -> None:
    """Refuse checkpoints of which some are adapters and some whole models."""
    kinds = {saved.kind for saved in opened}
    if len(kinds) > 1:
        first = {
            saved.kind: c.path.name
            for saved, c in zip(reversed(opened), reversed(run.checkpoints), strict=True)
        }
        raise BadInput(
            "mixed-checkpoints",
            "the folder holds checkpoints of adapters and of whole models",
            file=run.folder,
            expected="checkpoints of one kind",
            found=", ".join(f"{name} ({kind})" for kind, name in sorted(first.items())),
            fix="keep one kind, or name the checkpoints one by one",
        )


def refuse_other_kind(run: Run, opened: Sequence[Saved], start: Saved | None, place: Path | None) -> None:
    """Refuse a start with weights of which the run has updates, or the other way: W − ΔW is no motion."""
    if start is None:
        return
    for checkpoint, saved in zip(run.checkpoints, opened, strict=True):
        both = [a for a in saved.weights if a in start.weights]
        other = [a for a in both if saved.weights[a].whole != start.weights[a].whole]
        if not other:
            continue
        whole = saved.weights[other[0]].whole
        raise BadInput(
            "start-of-another-kind",
            f"the start is {_KINDS[not whole]}, the checkpoints are {_SEVERAL[whole]}",
            file=place,
            tensor=component_names(other)[0],
            expected=f"{_VALUES[whole]}, as in {checkpoint.path}",
            found=_VALUES[not whole],
            fix="--start the base model that was fine-tuned"
            if whole
            else "--start the adapter as it was initialised, or leave --start out: ΔW = BA counts from zero",
        )


def refuse_unrelated(run: Run, opened: Sequence[Saved], start: Saved | None) -> None:
    """Refuse a start without any of the run's weights, or with one of another shape; tables may be longer."""
    if start is None:
        return
    resized = resized_since(opened, start)
    shared = [a for a in all_addresses(opened) if a in start.weights and a not in resized]
    other = [a for a in shared if start.weights[a].shape != last_shape(a, opened)]
    if shared and not other:
        return
    raise BadInput(
        "start-unrelated",
        "the start that was given is not this run's",
        file=run.folder,
        tensor=None if not other else component_names(other)[0],
        expected=f"{opened[0].kind} weights" if not other else last_shape(other[0], opened),
        found=f"{start.kind} weights of other modules" if not other else start.weights[other[0]].shape,
        fix="give the adapter as it was initialised, or the base of a full fine-tune",
    )


def differences(run: Run, opened: Sequence[Saved], start: Saved | None) -> list[Notice]:
    """What to say of weights that some checkpoints lack, have in another shape, or scale otherwise."""
    begun = [] if start is None else [start]
    found = [n for saved in (*opened, *begun) for n in saved.notices]
    everything = all_addresses(opened)
    fewer = [saved for saved in opened if len(saved.weights) < len(everything)]
    lacking = [a for a in everything if any(a not in saved.weights for saved in fewer)]
    changed = reshaped(opened)
    if lacking:
        text = f"not in every checkpoint, and followed where they are: {_few(lacking)}"
        found.append(Notice("weights-differ", text))
    resized = resized_since(opened, start)
    if others := [a for a in changed if not is_resized(a, opened)]:
        text = f"of another shape in other checkpoints, which are other models then: {_few(others)}"
        found.append(Notice("shapes-differ", text))
    if grown := [a for a in changed if is_resized(a, opened) and a not in resized]:
        text = (
            f"of another length in other checkpoints, followed where it is the last one's: {_few(grown)}; "
            "--align-vocab follows the rows that all have"
        )
        found.append(Notice("vocabulary-resized", text))
    if resized:
        text = (
            f"of another length at the start, and not followed: {_few(list(resized))}; --align-vocab follows "
            "the rows that all have"
        )
        found.append(Notice("vocabulary-resized", text))
    return list(dict.fromkeys([*found, *_rescaled(run, opened)]))


def _rescaled(run: Run, opened: Sequence[Saved]) -> list[Notice]:
    """Neighbouring checkpoints whose settings scale one update otherwise, or give it another rank."""
    found = []
    names = [checkpoint.path.name for checkpoint in run.checkpoints]
    for (one, before), (other, after) in pairwise(zip(names, opened, strict=True)):
        beside = ((w, after.weights.get(a)) for a, w in before.weights.items())
        both = [(a, b) for a, b in beside if b is not None]
        pairs = [
            (a, b) for a, b in both if not a.whole and not b.whole and _SHRINKS not in (a.method, b.method)
        ]
        scaled = [
            (a.scale, b.scale) for a, b in pairs if None not in (a.scale, b.scale) and a.scale != b.scale
        ]
        ranked = [(a.rank, b.rank) for a, b in pairs if None not in (a.rank, b.rank) and a.rank != b.rank]
        changes = [f"scale alpha/r from {a:g} to {b:g}" for a, b in dict.fromkeys(scaled)]
        changes += [f"rank from {a} to {b}" for a, b in dict.fromkeys(ranked)]
        if changes:
            count = counted(len(scaled) or len(ranked), "module")
            text = f"{named(changes)} in {count}: between {one} and {other} the adapter's settings change"
            found.append(Notice("settings-changed", f"{text}, and ‖ΔW‖ with them"))
    return found


def _few(addresses: Sequence[Address]) -> str:
    return f"{named(component_names(addresses))} ({len(addresses)} in all)"
