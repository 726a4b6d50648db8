"""One module under two names in one file, as files are that were merged from two spellings."""

import re
from collections.abc import Mapping, Sequence

from tunescope.address import Address, unrolled
from tunescope.address.naming import BLOCKS
from tunescope.delta import Delta
from tunescope.errors import BadInput
from tunescope.source.files.tensors import LazyTensor, Ledger
from tunescope.words import counted

# A flat name has its numbers between underscores.
_FLAT = re.compile(r"_\d+(?:_|$)")
_MODEL = re.compile(r"^(?:(?:transformer|unet|model|diffusion_model)\.)+(?=.)")
# Lists of an image model's blocks, of which a model has one at an address.
_LISTS = frozenset(blocks.path for blocks in BLOCKS)


def each_once(
    deltas: Sequence[Delta], tensors: Mapping[str, LazyTensor], ledger: Ledger, file: str
) -> list[Delta]:
    """The updates of a file, an equal one under a second name of its module left out, which is said.

    Raises `BadInput` where two of one module differ: which of them acts is up to what loads them.
    """
    addresses = unrolled([delta.address for delta in deltas])
    seen: dict[Address, list[tuple[Address, Delta]]] = {}
    kept, again = [], []
    for address, delta in zip(addresses, deltas, strict=True):
        known = seen.setdefault(address, [])
        first = next((held for where, held in known if _one_module(where, held, address, delta)), None)
        if first is None:
            known.append((address, delta))
            kept.append(delta)
        elif not _equal(first, delta, tensors):
            _refuse(first, delta, file)
        else:
            again.append(delta)
            ledger.settle(delta.tensors, f"the same update a second time: {first.tensors[0]}")
    if again:
        have = counted(len(again), "module has its update", "modules have their updates")
        text = f"{have} a second time under another name, counted once"
        ledger.notice("saved-twice", text, again[0].tensors[0])
    return kept


def _one_module(at: Address, one: Delta, place: Address, other: Delta) -> bool:
    """Whether two updates at one address are of one module under two spellings; lists may just look alike."""
    if (one.d_out, one.d_in) != (other.d_out, other.d_in) or set(one.tensors) & set(other.tensors):
        return False
    if not one.tensors or not other.tensors or not of_one_list(at, one, place, other):
        return False
    in_one_list = at.layer is not None and at.blocks == place.blocks
    return in_one_list or _spelling(one.tensors[0]) != _spelling(other.tensors[0])


def of_one_list(at: Address, one: Delta, place: Address, other: Delta) -> bool:
    """Whether two updates at the same layer are of one list of blocks, however either file calls it."""
    short, long = sorted((_MODEL.sub("", a.blocks) for a in (at, place)), key=len)
    # Only one of two names is flat, or only one is that of diffusers: then their lists are called otherwise.
    flat = {_spelling(delta.tensors[0])[0] for delta in (one, other) if delta.tensors}
    apart = len(flat) > 1 and long.endswith(f".{short}")
    return short == long or apart or {short, long} <= _LISTS


def _spelling(name: str) -> tuple[bool, str, str]:
    """How a tensor is called: flat or not, the word in front, and what follows the module."""
    front, _, rest = name.partition(".")
    flat = _FLAT.search(front) is not None
    return flat, "" if flat else front, ".".join(rest.split(".")[-2:])


def _equal(one: Delta, other: Delta, tensors: Mapping[str, LazyTensor]) -> bool:
    if (one.scale, one.method, one.status) != (other.scale, other.method, other.status):
        return False
    pairs = zip(one.tensors, other.tensors, strict=False)
    return len(one.tensors) == len(other.tensors) and all(
        tensors[a].shape == tensors[b].shape
        and tensors[a].dtype == tensors[b].dtype
        and tensors[a].read().tobytes() == tensors[b].read().tobytes()
        for a, b in pairs
    )


def _refuse(one: Delta, other: Delta, file: str) -> None:
    raise BadInput(
        "several-adapters",
        "the file holds two updates of one module, under two names",
        file=file,
        tensor=other.tensors[0],
        expected="one update for each module",
        found=f"also {one.tensors[0]}",
        fix="keep the names that your loader knows, or save one adapter for each file",
    )
