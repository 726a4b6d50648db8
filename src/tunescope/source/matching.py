"""Which weight of one model is which of another, where wrappers gave the names another beginning.

A name is a prefix and a tail: the tail says where the weight sits within its tower (`layers.3.mlp.up_proj`
with its number, or the last parts outside blocks), the prefix is what a wrapper may add, take off or rename.
Prefixes are matched as a whole, by how many weights of equal shape they would bring together.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tunescope.address import Address, as_loaded

Shape = tuple[int, ...]
_BLOCK = re.compile(r"(?:^|\.)([A-Za-z_]\w*\.\d+\..+)$")
_IN_LIST = re.compile(r"^(?P<list>\w+)\.(?P<number>\d+)\.(?P<rest>.+)$")
# Older names of parameters, and what transformers calls them as it loads them [its `legacy` mapping].
_OLDER = (
    (re.compile(r"(?<=LayerNorm\.)gamma$"), "weight"),
    (re.compile(r"(?<=LayerNorm\.)beta$"), "bias"),
    (re.compile(r"(?<=\.)weight_g$"), "parametrizations.weight.original0"),
    (re.compile(r"(?<=\.)weight_v$"), "parametrizations.weight.original1"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a weight stands: the prefix that may be renamed, the tail that may not, and its shape."""

    prefix: str
    tail: Hashable
    shape: Shape


def place(name: str, shape: Sequence[int]) -> Place:
    """The place of a parameter by its dotted name, wrapper names already off.

    >>> place("language_model.model.layers.3.mlp.up_proj.weight", (8, 4)).tail
    'layers.3.mlp.up_proj.weight'
    >>> place("model.norm.weight", (4,)).prefix
    'model'
    """
    for older, instead in _OLDER:
        name = older.sub(instead, name)
    found = _BLOCK.search(name)
    tail = found[1] if found else ".".join(name.split(".")[-2:])
    return Place(name.removesuffix(tail).rstrip("."), tail, tuple(shape))


def address_place(address: Address, shape: Sequence[int]) -> Place:
    """The place of a weight by its address; the two sizes of a matrix in either order are one shape.

    Projections of experts stand where a loaded model has them.
    """
    address = as_loaded(address)
    if address.layer is not None:
        return Place(address.stack, (address.layer, address.module_type, address.expert), _unturned(shape))
    before, _, last = address.module_type.rpartition(".")
    return Place(f"{address.stack}|{before}", last, _unturned(shape))


def _unturned(shape: Sequence[int]) -> Shape:
    return tuple(sorted(shape))


Wanted = TypeVar("Wanted", bound=Hashable)
Held = TypeVar("Held", bound=Hashable)


def matched(wanted: Mapping[Wanted, Place], held: Mapping[Held, Place]) -> dict[Wanted, Held]:
    """The held weight of every wanted one that has one: by its very key, else by its prefix's partner.

    A prefix's partner is the one with which it shares the most tails of equal shape; of several that share
    equally many the one whose name has the most words of its own, such as `vision_model`; where these are
    equal too there is none, and its weights stay unmatched rather than guessed. Blocks that both lists have
    throughout meet whatever their list is called, `layers` here and `layer` there.
    """
    found: dict[Wanted, Held] = {key: key for key in wanted if key in held}  # type: ignore[misc]
    found |= _by_prefix(_rest(wanted, found), _rest(held, found.values()))
    ours, theirs = _blocks(_rest(wanted, found)), _blocks(_rest(held, found.values()))
    lists, others = _by_list(ours), _by_list(theirs)
    same = [(a, b) for a, tails in lists.items() for b, there in others.items() if tails == there]
    for one, other in same:
        alone = sum(one == a or other == b for a, b in same) == 1
        if alone and len(_layers(lists[one])) > 1:
            found |= _by_prefix(_of_list(ours, one), _of_list(theirs, other))
    return {key: found[key] for key in wanted if key in found}


Key = TypeVar("Key", bound=Hashable)


def _rest(places: Mapping[Key, Place], known: Collection[Hashable]) -> dict[Key, Place]:
    gone = set(known)
    return {key: where for key, where in places.items() if key not in gone}


def _blocks(places: Mapping[Key, Place]) -> dict[Key, Place]:
    """The weights in blocks, with the name of their list as part of the prefix."""
    found = {}
    for key, where in places.items():
        parted = _IN_LIST.match(where.tail) if isinstance(where.tail, str) else None
        if parted:
            prefix = f"{where.prefix}.{parted['list']}".lstrip(".")
            found[key] = Place(prefix, (parted["number"], parted["rest"]), where.shape)
    return found


def _by_list(places: Mapping[Key, Place]) -> dict[str, set[tuple[Hashable, Shape]]]:
    """What each list of blocks holds, by its prefix."""
    found: defaultdict[str, set[tuple[Hashable, Shape]]] = defaultdict(set)
    for where in places.values():
        found[where.prefix].add((where.tail, where.shape))
    return dict(found)


def _layers(held: Collection[tuple[Any, Shape]]) -> set[str]:
    return {tail[0] for tail, _ in held}


def _of_list(places: Mapping[Key, Place], prefix: str) -> dict[Key, Place]:
    return {key: where for key, where in places.items() if where.prefix == prefix}


def _by_prefix(left: Mapping[Wanted, Place], held: Mapping[Held, Place]) -> dict[Wanted, Held]:
    """The weights of prefixes that are partners, by their tails."""
    found: dict[Wanted, Held] = {}
    taken: set[Held] = set()
    by_tail: defaultdict[Hashable, list[tuple[Held, Place]]] = defaultdict(list)
    for other, where in held.items():
        by_tail[where.tail].append((other, where))
    partners = _partners(left, by_tail)
    for key, where in left.items():
        theirs = [other for other, there in by_tail[where.tail] if there.prefix == partners.get(where.prefix)]
        if len(theirs) == 1 and theirs[0] not in taken:
            found[key] = theirs[0]
            taken.add(theirs[0])
    return found


def _partners(
    left: Mapping[Wanted, Place], by_tail: Mapping[Hashable, Sequence[tuple[Held, Place]]]
) -> dict[str, str]:
    votes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for where in left.values():
        votes[where.prefix].update(
            there.prefix for _, there in by_tail.get(where.tail, ()) if there.shape == where.shape
        )
    partners = {}
    for prefix, counts in votes.items():
        most = max(counts.values(), default=0)
        best = [other for other, count in counts.items() if count == most]
        alike = {other: len(_words(prefix) & _words(other)) for other in best}
        nearest = [other for other in best if alike[other] == max(alike.values())]
        if most and len(nearest) == 1:
            partners[prefix] = nearest[0]
    return partners


def _words(prefix: str) -> frozenset[str]:
    """What a prefix says beside the names that every model has."""
    return frozenset(re.split(r"[.|]", prefix)) - {"model", ""}
