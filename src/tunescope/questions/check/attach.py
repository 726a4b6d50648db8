"""Which modules of an adapter meet a weight of the base, and what would make the others do so."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from tunescope.address import Address, distinct_addresses, parse
from tunescope.address.fused import counterpart, parts
from tunescope.questions.check.base import BaseNames
from tunescope.questions.check.experts import first_parts, joined, whole_stacks
from tunescope.questions.check.halves import half_saved
from tunescope.questions.check.kernels import as_kernels
from tunescope.questions.check.loading import spellings
from tunescope.questions.check.names import BY_PLACE, candidates
from tunescope.questions.check.place import Place
from tunescope.questions.check.rank import with_ranks
from tunescope.questions.check.spelling import as_peft_spells, renamed
from tunescope.questions.check.wanted import Shape, Wanted, stored_whole, wanted
from tunescope.questions.check.wrapping import as_peft_wraps, not_in_file
from tunescope.source.formats.names import strip_wrappers
from tunescope.source.opened import Source
from tunescope.source.replication import replicated
from tunescope.source.tied import is_head, says_untied
from tunescope.words import counted

# How many leading parts of a name may stand for something else in the base.
_LONGEST_HEAD = 5


def against(source: Source, base: BaseNames) -> tuple[list[Place], BaseNames]:
    """Every module with the weight that it meets, and the names of the base under which most of them do."""
    base = replace(base, shapes=replicated(base.shapes, source.config))
    best: tuple[list[Place], BaseNames] = [], base
    for one in spellings(base, source):
        found = places(source, one)
        if one is base or _attached(found) > _attached(best[0]):
            best = found, one
        if _attached(found) == len(found):
            break
    return best


def _attached(found: Sequence[Place]) -> int:
    return sum(place.status == "attached" for place in found)


def places(source: Source, base: BaseNames | None) -> list[Place]:
    """Every module of a source with the weight that it would change; statuses only with a base."""
    every = [Place(one, one.module if one.like else f"{one.module}.weight") for one in wanted(source)]
    halves = half_saved(source, base)
    if base is None:
        return [*with_ranks(every, source), *halves]
    by_place = _by_place(base) if source.format in BY_PLACE else {}
    found = [_looked_up(place, base, by_place, source) for place in every]
    found = as_kernels(whole_stacks(joined(found, base, source), base, source), source)
    found = as_peft_spells(_with_remedies(found, base, source), source)
    found = with_ranks(as_peft_wraps(found, source, base), source)
    misfits = _misfits(source, base, {place.weight for place in found})
    return [*found, *halves, *misfits, *not_in_file(source, base)]


def _by_place(base: BaseNames) -> dict[Address, str]:
    names = [name for name in base.shapes if not name.endswith(".bias")]
    addresses = distinct_addresses([parse(name) for name in names])
    return dict(zip(addresses, names, strict=True))


def _looked_up(place: Place, base: BaseNames, by_place: Mapping[Address, str], source: Source) -> Place:
    module, address = place.wanted.module, place.wanted.address
    if place.wanted.like:
        return _prompted(place, base, source)
    name = next((n for n in candidates(module) if n in base.shapes), by_place.get(address))
    name = name or _tied(place.wanted, base)
    if name is None and place.wanted.shape == (None, None) and _has_inside(module, base):
        return replace(place, weight=module, status="attached")
    if name is None:
        return _in_parts(place, base, by_place)
    shape = base.shapes[name]
    expert, count = address.expert, shape[0] if len(shape) == 3 else None
    if expert is not None and count is not None and expert >= count and _fused(place.wanted, shape):
        return replace(
            place,
            weight=name,
            status="missing",
            found=shape,
            remedy=f"the base has {counted(count, 'expert')}",
        )
    status = "attached" if fits(place.wanted, shape, source) else "shape_differs"
    return replace(place, weight=name, status=status, found=shape)


def _tied(one: Wanted, base: BaseNames) -> str | None:
    """The table that a head without a weight in the files is tied to, where exactly one fits it."""
    if not is_head(one.module) or says_untied(one.module, base.config):
        return None
    tables = [n for n, shape in base.shapes.items() if shape == one.shape and parse(n).component == "EMBED"]
    return tables[0] if len(tables) == 1 else None


def _prompted(place: Place, base: BaseNames, source: Source) -> Place:
    """Whether a prompt is as wide as what it stands beside, and as deep."""
    one, layers = place.wanted, source.config.get("num_layers")
    beside = [n for n in base.shapes if parse(n).component == one.like and not n.endswith(".bias")]
    if one.like == "ATTN_K" and not beside:
        # Fused projections: the width of the model is what is left to compare.
        one = replace(one, like="EMBED", shape=(None, source.config.get("token_dim")))
        return _prompted(replace(place, wanted=one), base, source)
    if not beside:
        return replace(place, weight=one.module, status="missing")
    shape = base.shapes[beside[0]]
    status = "attached" if fits(one, shape, source) else "shape_differs"
    if one.like == "ATTN_K" and len(beside) != layers:
        remedy = f"the prefix is for {layers} layers, the base has {len(beside)}"
        return replace(place, weight=beside[0], status="missing", remedy=remedy)
    return replace(place, weight=beside[0], status=status, found=shape)


def _has_inside(module: str, base: BaseNames) -> bool:
    """Whether a module without a weight of its own, such as an attention block, has some in the base."""
    return any(name.startswith(f"{module}.") for name in base.shapes)


def _in_parts(place: Place, base: BaseNames, by_place: Mapping[Address, str]) -> Place:
    """A projection that the base keeps in parts, or a part of one that it fuses."""
    address, (d_out, d_in) = place.wanted.address, place.wanted.shape
    if d_out is None or d_in is None:
        return replace(place, status="missing")
    near = {
        a: (base.shapes[name][0], math.prod(base.shapes[name][1:]))
        for a, name in by_place.items()
        if (a.stack, a.layer) == (address.stack, address.layer)
    }
    shape = (d_out, d_in)
    found = [part.address for part in parts(address, shape, near)]
    if not found:
        found = [a for a, of in near.items() if parts(a, of, {address: shape})]
    elif sum(near[a][0] for a in found) != d_out:
        found = []
    if not found and (other := counterpart(address, shape, near)):
        found = [other.address]
    names = [by_place[a] for a in found]
    if not names:
        return replace(place, status="missing")
    stored = base.shapes[names[0]] if len(names) == 1 else shape
    return replace(place, weight=", ".join(names), status="attached", found=stored)


def _fused(one: Wanted, shape: Sequence[int]) -> bool:
    return sorted(shape[1:]) == sorted(size or 0 for size in one.shape)


def fits(one: Wanted, shape: Sequence[int], source: Source) -> bool:
    """Whether a stored weight has the shape that a module needs, in the way that its layer stores it."""
    if len(shape) == 3 and one.address.expert is not None and _fused(one, shape):
        return True
    matrix = (shape[0], math.prod(shape[1:])) if shape else (1, 1)
    if _agrees(one.shape, matrix):
        return True
    turned = one.table or bool(source.config.get("fan_in_fan_out"))
    return turned and _agrees(one.shape, matrix[::-1])


def _agrees(wanted: Shape, stored: Sequence[int]) -> bool:
    return all(size in (None, there) for size, there in zip(wanted, stored, strict=True))


def _misfits(source: Source, base: BaseNames, known: Collection[str]) -> list[Place]:
    """Weights that the adapter brings along whole and that the base has with another shape.

    What the base lacks is no hindrance: heads of a task are made when a model is loaded for it.
    """
    looked = (
        Place(one, name, "shape_differs", base.shapes[name])
        for one in stored_whole(source)
        for name in candidates(one.module)[:1]
        if name in base.shapes and name not in known
    )
    return [_resized(place) for place in looked if place.found != place.wanted.shape]


def _with_remedies(found: Sequence[Place], base: BaseNames, source: Source) -> list[Place]:
    if all(place.status == "attached" for place in found):
        return list(found)
    renamings = renaming(found, base, source)
    if not renamings:
        return [_resized(place) for place in found]
    text = _spoken(found[0].wanted.module, *renamings[0]) if len(renamings) == 1 else _choice(renamings)
    return [replace(p, remedy=p.remedy or text) if p.status != "attached" else p for p in found]


def _spoken(module: str, head: str, instead: str) -> str:
    """What to write otherwise; what wraps a model while it is trained belongs to no name of it."""
    there = instead + module.removeprefix(head)
    bare = strip_wrappers(there)
    if bare == there:
        return renamed(head, instead)
    wrapper = there.removesuffix(bare)
    unwrapped = f"take {wrapper!r} off the base's names (save the model without its wrapper)"
    return unwrapped if bare == module else f"{unwrapped}, and {renamed(*_heads(module, bare))}"


def _heads(one: str, other: str) -> tuple[str, str]:
    """What two names begin with before the parts that both end with."""
    ours, theirs = one.split("."), other.split(".")
    while ours and theirs and ours[-1] == theirs[-1]:
        ours, theirs = ours[:-1], theirs[:-1]
    return "".join(f"{part}." for part in ours), "".join(f"{part}." for part in theirs)


def _choice(renamings: Sequence[tuple[str, str]]) -> str:
    head = renamings[0][0]
    none, where = ("nothing", f"for {head!r} in") if head else ("no prefix", "in front of")
    prefixes = " or ".join(repr(instead) if instead else none for _, instead in renamings)
    return f"it fits in several places, choose one: {prefixes} {where} the adapter's names"


def renaming(found: Sequence[Place], base: BaseNames, source: Source) -> list[tuple[str, str]]:
    """All exchanges of a leading part of the names, `(off, on)`, under which *every* module fits.

    The shortest part taken off decides; several results mean that the adapter fits several towers.
    """
    modules = [place.wanted.module for place in found]
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
            and all(_fits_under(prefix, t, p.wanted, base, source) for t, p in zip(tails, found, strict=True))
        ]
        if fitting:
            return [(head, prefix) for prefix in fitting]
    return []


def _prefixes(tail: str, base: BaseNames) -> list[str]:
    """What stands in front of a module's name in the base."""
    ends = (*candidates(tail), *first_parts(tail))
    found = [
        name.removesuffix(end)
        for name in base.shapes
        for end in ends
        if name == end or name.endswith(f".{end}")
    ]
    inside = f".{tail}."
    return found or list(dict.fromkeys(n[: n.index(inside) + 1] for n in base.shapes if inside in n))


def _fits_under(prefix: str, tail: str, one: Wanted, base: BaseNames, source: Source) -> bool:
    if any(n in base.shapes and fits(one, base.shapes[n], source) for n in candidates(prefix + tail)):
        return True
    if one.shape == (None, None):
        return _has_inside(prefix + tail, base)
    there = Place(replace(one, module=prefix + tail), prefix + tail)
    return any(place.status == "attached" for place in joined([there], base, source))


def _resized(place: Place) -> Place:
    """The remedy for a table whose vocabulary, or a saved head whose labels alone are of another number."""
    table = place.wanted.address.family == "embedding"
    if place.status != "shape_differs" or place.found is None or not (table or place.wanted.whole):
        return place
    ours, theirs = sorted(filter(None, place.wanted.shape)), sorted(place.found)
    if len(ours) == len(theirs) == 2 and len(set(ours) & set(theirs)) == 1:
        rows = next(size for size in ours if size not in theirs)
        if table:
            return replace(place, remedy=f"resize the base's vocabulary to {rows} before loading")
        return replace(place, remedy=f"load the base with {counted(rows, 'label')} (num_labels={rows})")
    return place


def spelled(shape: Sequence[int | None] | None) -> str | None:
    """A shape in words, `?` for what is not known; `None` where nothing is."""
    if shape is None or all(size is None for size in shape):
        return None
    return "×".join("?" if size is None else str(size) for size in shape)
