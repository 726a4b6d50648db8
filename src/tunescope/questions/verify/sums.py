"""Which coefficients a merge tells: those of adapters, or sums of ones whose updates depend on each other."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg.dependence import directions, functionals, independent

Array = NDArray[Any]
Float64 = NDArray[np.float64]
Members = Mapping[str, float]

# Updates whose cosines over all modules are worse conditioned than this are given as sums.
CONDITION = 1e4
# In one module alone they may be more alike, and a worse condition than this leaves no digits.
_ALIKE = 1e8
# An update of which no more than this share of the norm is left, once others are taken off, is none.
_NOTHING = 1e-6


@dataclass(frozen=True, eq=False)
class Sums:
    """What can be told of all `adapters`: `weights` (m, k) @ coefficients, each by one of the `labels`."""

    adapters: tuple[str, ...]
    weights: Float64
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Told:
    """Updates (m, n) of one module that have coefficients of their own, their labels, and what each sums up.

    `members` maps the label of a sum to the weights that its adapters' coefficients have in it.
    """

    updates: Array
    labels: tuple[str, ...]
    members: Mapping[str, Members]


def sums_of(gram: Float64, adapters: Sequence[str]) -> Sums | None:
    """What can be told of updates with this Gram matrix over all modules, `None` for each by itself."""
    if independent(gram, CONDITION):
        return None
    F = functionals(gram, CONDITION)
    return Sums(tuple(adapters), F, tuple(_named(F, adapters, adapters)))


def told(updates: Array, labels: Sequence[str], sums: Sums | None, expected: Mapping[str, float]) -> Told:
    """What a module tells of its updates (k, n): sums of all modules, and sums of its own where it must."""
    if len(updates) == 1 and sums is None:
        return Told(updates, tuple(labels), {})
    F, names = _within(sums, labels)
    wanted = np.array([expected.get(label, 1.0) for label in labels])
    if sums is not None:
        updates, there = _made(directions(F, wanted), updates)
        F, names = F[there], [name for name, is_there in zip(names, there, strict=True) if is_there]
    gram = _gram(updates)
    if not independent(gram, _ALIKE):
        more = functionals(gram, _ALIKE)
        updates, there = _made(directions(more, F @ wanted), updates)
        F = (more @ F)[there]
        first = F[range(len(F)), np.argmax(F != 0, axis=1)]
        F, updates = F / first[:, None], updates * first[:, None].astype(updates.dtype)
        names = list(_named(F, labels, {*labels, *expected}))
    own = {*labels, *expected}
    members = {name: _members(row, labels) for name, row in zip(names, F, strict=True) if name not in own}
    return Told(updates, tuple(names), members)


def _within(sums: Sums | None, labels: Sequence[str]) -> tuple[Float64, list[str]]:
    """The weights that the adapters of one module have in the sums, without sums that none of them is in."""
    if sums is None:
        return np.eye(len(labels)), list(labels)
    F = sums.weights[:, [sums.adapters.index(label) for label in labels]]
    there = [bool(row.any()) for row in F]
    return F[there], [name for name, is_there in zip(sums.labels, there, strict=True) if is_there]


def _made(T: Float64, updates: Array) -> tuple[Array, list[bool]]:
    """The combinations of updates, and which of them are more than what rounding leaves of nothing."""
    made = T.astype(updates.dtype) @ updates
    sizes = np.sqrt(np.diagonal(_gram(updates)))
    there = np.sqrt(np.diagonal(_gram(made))) > _NOTHING * (np.abs(T) @ sizes)
    return np.ascontiguousarray(made[there]), list(there)


def _gram(updates: Array) -> Float64:
    found: Float64 = np.einsum("an,bn->ab", updates, updates, dtype=np.float64)
    return found


def _members(row: Float64, labels: Sequence[str]) -> Members:
    return {label: float(weight) for label, weight in zip(labels, row, strict=True) if weight}


def _named(F: Float64, labels: Sequence[str], taken: Collection[str]) -> Iterator[str]:
    """Labels of sums: `a+b`, `a-b` with the sign that a later one has; an adapter's own where it is alone."""
    for row in F:
        members = _members(row, labels)
        name = "".join(
            label if not place else f"{'-' if weight < 0 else '+'}{label}"
            for place, (label, weight) in enumerate(members.items())
        )
        while len(members) > 1 and name in taken:
            name = f"({name})"
        yield name
