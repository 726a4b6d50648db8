"""Which modules of an adapter meet a weight of the base, and what would make the others do so."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tunescope.address import Address, distinct_addresses, parse
from tunescope.delta import Delta
from tunescope.measure.refinement import parts
from tunescope.questions.check.base import BaseNames
from tunescope.questions.check.names import BY_PLACE, candidates, module_name
from tunescope.source.opened import Source

# How many leading parts of a name may stand for something else in the base.
_LONGEST_HEAD = 3


@dataclass(frozen=True, slots=True)
class Place:
    """One module: the weight it wants, what is there, and how to make it attach."""

    delta: Delta
    weight: str
    status: str | None = None
    found: tuple[int, ...] | None = None
    remedy: str = ""

    @property
    def expected(self) -> tuple[int, int]:
        """The shape of the layer as it is applied, (d_out, d_in)."""
        return self.delta.d_out, self.delta.d_in


def places(source: Source, base: BaseNames | None) -> list[Place]:
    """Every update of a source with the weight that it would change; statuses only with a base."""
    wanted = [Place(delta, f"{module_name(delta)}.weight") for delta in source.deltas]
    if base is None:
        return wanted
    by_place = _by_place(base) if source.format in BY_PLACE else {}
    found = [_looked_up(place, base, by_place, source) for place in wanted]
    if all(place.status == "attached" for place in found):
        return found
    return _with_remedies(found, base, source)


def _by_place(base: BaseNames) -> dict[Address, str]:
    names = [name for name in base.shapes if not name.endswith(".bias")]
    addresses = distinct_addresses([parse(name) for name in names])
    return dict(zip(addresses, names, strict=True))


def _looked_up(place: Place, base: BaseNames, by_place: Mapping[Address, str], source: Source) -> Place:
    module = module_name(place.delta)
    name = next((n for n in candidates(module) if n in base.shapes), by_place.get(place.delta.address))
    if name is None:
        return _in_parts(place, base, by_place)
    shape = base.shapes[name]
    expert, count = place.delta.address.expert, shape[0] if len(shape) == 3 else None
    if expert is not None and count is not None and expert >= count and _fused(place.delta, shape):
        return replace(
            place, weight=name, status="missing", found=shape, remedy=f"the base has {count} experts"
        )
    status = "attached" if fits(place.delta, shape, source) else "shape_differs"
    return replace(place, weight=name, status=status, found=shape)


def _in_parts(place: Place, base: BaseNames, by_place: Mapping[Address, str]) -> Place:
    """A projection that the base keeps in parts, or a part of one that it fuses."""
    near = {
        address: (base.shapes[name][0], math.prod(base.shapes[name][1:]))
        for address, name in by_place.items()
        if (address.stack, address.layer) == (place.delta.address.stack, place.delta.address.layer)
    }
    address, shape = place.delta.address, place.expected
    found = [part.address for part in parts(address, shape, near)]
    if not found:
        found = [a for a, of in near.items() if parts(a, of, {address: shape})]
    elif sum(near[a][0] for a in found) != shape[0]:
        found = []
    names = [by_place[a] for a in found]
    if not names:
        return replace(place, status="missing")
    stored = base.shapes[names[0]] if len(names) == 1 else shape
    return replace(place, weight=", ".join(names), status="attached", found=stored)


def _fused(delta: Delta, shape: Sequence[int]) -> bool:
    return sorted(shape[1:]) == sorted((delta.d_out, delta.d_in))


def fits(delta: Delta, shape: Sequence[int], source: Source) -> bool:
    """Whether a stored weight has the shape that an update changes, in the way that its layer stores it."""
    if len(shape) == 3 and delta.address.expert is not None and _fused(delta, shape):
        return True
    matrix = (shape[0], math.prod(shape[1:])) if shape else ()
    if matrix == (delta.d_out, delta.d_in):
        return True
    embedding = any("lora_embedding" in name for name in delta.tensors)
    turned = embedding or bool(source.config.get("fan_in_fan_out"))
    return turned and matrix == (delta.d_in, delta.d_out)


def _with_remedies(found: Sequence[Place], base: BaseNames, source: Source) -> list[Place]:
    renamings = renaming(found, base, source)
    if not renamings:
        return [_vocabulary(place) for place in found]
    text = _spoken(*renamings[0]) if len(renamings) == 1 else _choice(renamings)
    return [replace(p, remedy=p.remedy or text) if p.status != "attached" else p for p in found]


def _spoken(head: str, instead: str) -> str:
    if not head:
        return f"put {instead!r} in front of the adapter's names"
    if not instead:
        return f"take {head!r} off the adapter's names"
    return f"write {instead!r} for {head!r} in the adapter's names"


def _choice(renamings: Sequence[tuple[str, str]]) -> str:
    prefixes = " or ".join(repr(instead) if instead else "no prefix" for _, instead in renamings)
    return f"it fits in several places, choose one: {prefixes} in front of the adapter's names"


def renaming(found: Sequence[Place], base: BaseNames, source: Source) -> list[tuple[str, str]]:
    """All exchanges of a leading part of the names, `(off, on)`, under which *every* module fits.

    The shortest part taken off decides; several results mean that the adapter fits several towers.
    """
    modules = [module_name(place.delta) for place in found]
    for length in range(_LONGEST_HEAD + 1):
        heads = {tuple(module.split(".")[:length]) for module in modules}
        if len(heads) != 1:
            continue
        head = "".join(f"{part}." for part in heads.pop())
        tails = [module.removeprefix(head) for module in modules]
        fitting = [
            prefix
            for prefix in _prefixes(tails[0], base)
            if prefix != head
            and all(_fits_under(prefix, t, p.delta, base, source) for t, p in zip(tails, found, strict=True))
        ]
        if fitting:
            return [(head, prefix) for prefix in fitting]
    return []


def _prefixes(tail: str, base: BaseNames) -> list[str]:
    """What stands in front of a module's name in the base."""
    ends = candidates(tail)
    return [
        name.removesuffix(end)
        for name in base.shapes
        for end in ends
        if name == end or name.endswith(f".{end}")
    ]


def _fits_under(prefix: str, tail: str, delta: Delta, base: BaseNames, source: Source) -> bool:
    return any(n in base.shapes and fits(delta, base.shapes[n], source) for n in candidates(prefix + tail))


def _vocabulary(place: Place) -> Place:
    """The remedy for a table whose vocabulary alone is of another size."""
    if place.status != "shape_differs" or place.found is None or place.delta.address.family != "embedding":
        return place
    ours, theirs = sorted(place.expected), sorted(place.found)
    if len(theirs) == 2 and len(set(ours) & set(theirs)) == 1:
        rows = next(size for size in ours if size not in theirs)
        return replace(place, remedy=f"resize the base's vocabulary to {rows} before loading")
    return place
