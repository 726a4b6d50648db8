"""Checkpoints of one run, and its start, whose weights stand under another wrapper prefix: paired as one."""

import re
from collections.abc import Sequence
from dataclasses import replace

from tunescope.address import Address
from tunescope.errors import Notice
from tunescope.source.checkpoints import Saved, Weight
from tunescope.source.matching import Place, address_place, matched
from tunescope.source.training_run import Run
from tunescope.words import counted, named

# The stack of a model that nothing around it names.
_BARE = "model"


def paired(run: Run, opened: Sequence[Saved]) -> tuple[list[Saved], list[Notice]]:
    """The checkpoints with their weights under the addresses that they first had, whatever wrapper changed.

    A stack is another's under a wrapper where either has no tower's name, and its weights have the same tails
    and shapes; two towers of one model never are.
    """
    known: dict[Address, Place] = {}
    out, notices = [], []
    for saved, checkpoint in zip(opened, run.checkpoints, strict=True):
        if saved.weights.keys() <= known.keys():
            out.append(saved)
            continue
        here = {address: address_place(address, weight.shape) for address, weight in saved.weights.items()}
        found = {a: b for a, b in matched(here, known).items() if a != b and _one_tower(a, b)}
        weights = {found.get(address, address): weight for address, weight in saved.weights.items()}
        if found and len(weights) == len(saved.weights):
            text = f"the weights of {checkpoint.path.name} stand under another prefix ({_prefixes(found)})"
            notices.append(Notice("names-changed", text + ": paired by suffix and shape"))
            saved = replace(saved, weights=weights)
        known = {a: address_place(a, w.shape) for a, w in saved.weights.items()} | known
        out.append(saved)
    return out, notices


def _one_tower(a: Address, b: Address) -> bool:
    return a.stack == b.stack or _BARE in (a.stack, b.stack)


def _prefixes(found: dict[Address, Address]) -> str:
    """Stacks or, within one, names that changed."""
    pairs = dict.fromkeys(
        (ours.stack, theirs.stack) if ours.stack != theirs.stack else (ours.module_type, theirs.module_type)
        for ours, theirs in found.items()
    )
    return named([f"{ours} for {theirs}" for ours, theirs in pairs])


def fitted(run: Run, opened: Sequence[Saved], start: Saved | None) -> tuple[Saved | None, list[Notice]]:
    """The start with its weights under the run's addresses, whatever wrapper prefix either has.

    Without a start, of whole models it is said that their first checkpoint stands in for it.
    """
    if start is None:
        if not opened or opened[0].kind != "full":
            return None, []
        text = f"the weights before training were not given: Δ counts from step {run.checkpoints[0].step:,}"
        return None, [Notice("start-missing", text + "; --start names them")]
    wanted = {a: address_place(a, w.shape) for saved in opened for a, w in saved.weights.items()}
    found = matched(wanted, {a: address_place(a, w.shape) for a, w in start.weights.items()})
    ours = {address: weight for saved in reversed(opened) for address, weight in saved.weights.items()}
    changed = {a: said for a, b in found.items() if (said := _other_prefix(ours[a], start.weights[b]))}
    if not changed:
        return start, []
    weights = {address: start.weights[theirs] for address, theirs in found.items()}
    renamed = any(address != theirs for address, theirs in found.items())
    text = (
        f"{counted(len(changed), 'weight of the start stands', 'weights of the start stand')} "
        f"under another prefix ({named(sorted(set(changed.values())))}): paired by suffix and shape"
    )
    return replace(start, weights=weights) if renamed else start, [Notice("start-renamed", text)]


def _other_prefix(ours: Weight, theirs: Weight) -> str:
    """What stands before a weight's name in the start, and in the run; empty where that is the same.

    By the names in the files, of which those of a wrapper are no part of an address; of an update, which has
    none, by the stacks.
    """
    if ours.values is not None and theirs.values is not None:
        front, other = _fronts(ours.values.name, theirs.values.name)
        if front != other and not re.search(r"\d", front + other):
            return f"{other or 'none'} for {front or 'none'}"
    if ours.address == theirs.address:
        return ""
    return f"{theirs.address.stack} for {ours.address.stack}"


def _fronts(one: str, other: str) -> tuple[str, str]:
    """Two names without the words at their ends that are alike."""
    mine, theirs = one.split("."), other.split(".")
    while mine and theirs and mine[-1] == theirs[-1]:
        del mine[-1], theirs[-1]
    return ".".join(mine), ".".join(theirs)
