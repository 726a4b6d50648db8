"""Which weights are parts of a fused projection, and which are one weight in another order of rows."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tunescope.address.naming import GATE_FIRST, HALVES, LAST_HALVES
from tunescope.address.place import Address

# Components that hold others, in the order of their rows.
PARTS: Mapping[str, tuple[str, ...]] = {
    "ATTN_QKV": ("ATTN_Q", "ATTN_K", "ATTN_V"),
    "ATTN_ADD_QKV": ("ATTN_ADD_Q", "ATTN_ADD_K", "ATTN_ADD_V"),
    "XATTN_QKV": ("XATTN_Q", "XATTN_K", "XATTN_V"),
    "XATTN_KV": ("XATTN_K", "XATTN_V"),
    "MLP_GATE_UP": ("MLP_GATE", "MLP_UP"),
    "MLP_UP_GATE": ("MLP_UP", "MLP_GATE"),
    # The first projection of a single block [black-forest-labs/flux: src/flux/modules/layers.py].
    "LINEAR1": ("ATTN_Q", "ATTN_K", "ATTN_V", "MLP_UP"),
}
# Modules, by the end of the path of their list of blocks, whose rows go head by head (GPT-NeoX, BLOOM,
# Falcon, Persimmon; InternLM2 and Megatron by groups; CodeGen by cores; Qwen-VL's image tower): where a part
# lies depends on the number of heads, which no shape says. gpt-fast's `wqkv` has InternLM2's name and another
# order.
_BY_HEAD = (
    (re.compile(r"(.+\.)?(query_key_value|linear_qkv)|attention\.wqkv"), re.compile(r"")),
    (re.compile(r"attn\.qkv_proj"), re.compile(r"(^|\.)h$")),
    (re.compile(r"attn\.in_proj"), re.compile(r"(^|\.)visual\.transformer\.resblocks$")),
)
# ChatGLM's and GLM-4's, by head where keys have as many rows as queries, else one after the other.
_GLM = re.compile(r"self_attention\.query_key_value"), re.compile(r"(^|\.)encoder\.layers$")
Shapes = Mapping[Address, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a fused projection: where it is, and which rows of the whole are its."""

    address: Address
    start: int
    stop: int


def parts(fused: Address, shape: tuple[int, int], others: Shapes) -> list[Part]:
    """The weights among `others` that are parts of a fused one of `shape` (d_out, d_in), with their rows.

    Empty where there are none, where their shapes do not make up the whole, and where its rows go head by
    head (`by_head`).

    >>> q, v = Address("model", 0, "attn.to_q"), Address("model", 0, "attn.to_v")
    >>> found = parts(Address("model", 0, "attn.to_qkv"), (12, 8), {q: (8, 8), v: (2, 8)})
    >>> [(part.address.module_type, part.start, part.stop) for part in found]
    [('attn.to_q', 0, 8), ('attn.to_v', 10, 12)]
    """
    names = PARTS.get(fused.component, ())
    chosen = [_of_component(fused, name, others) for name in names]
    rows = _rows([None if a is None else others[a][0] for a in chosen], shape)
    if (
        rows is None
        or by_head(fused, rows)
        or any(a is not None and others[a][1] != shape[1] for a in chosen)
    ):
        return []
    starts = [sum(rows[:i]) for i in range(len(rows))]
    return [
        Part(address, start, start + count)
        for address, start, count in zip(chosen, starts, rows, strict=True)
        if address is not None
    ]


def by_head(fused: Address, rows: Sequence[int] = ()) -> bool:
    """Whether the rows of a fused projection go head by head; `rows` are how many its parts have.

    >>> by_head(Address("model", 0, "attention.query_key_value")), by_head(Address("model", 0, "attn.c_attn"))
    (True, False)
    """
    if rows and rows[0] != rows[1] and _is(fused, *_GLM):
        return False
    return any(_is(fused, *kind) for kind in _BY_HEAD)


def _is(address: Address, module: re.Pattern[str], blocks: re.Pattern[str]) -> bool:
    return bool(module.fullmatch(address.module_type) and blocks.search(address.blocks))


def _of_component(fused: Address, component: str, others: Shapes) -> Address | None:
    """The one weight of that component below the fused one's module, else anywhere in its layer."""
    place = (fused.stack, fused.layer, fused.expert)
    there = [a for a in others if (a.stack, a.layer, a.expert) == place and a.component == component]
    beside = [a for a in there if _above(a) == _above(fused)]
    found = beside or there
    return found[0] if len(found) == 1 else None


def _above(address: Address) -> str:
    return address.module_type.rpartition(".")[0]


def _rows(known: Sequence[int | None], shape: tuple[int, int]) -> list[int] | None:
    """Rows of every part, from those of the parts that are there; `None` where they do not add up."""
    total, d_in = shape
    if all(count is None for count in known):
        return None
    if len(known) == 2:
        rows = [total // 2, total // 2]
    elif len(known) == 4:
        rows = [d_in, d_in, d_in, total - 3 * d_in]
    else:
        query, key = known[0], known[1] or known[2]
        key = (total - (query or 0)) // 2 if key is None else key
        rows = [total - 2 * key, key, key]
    fits = sum(rows) == total and min(rows) > 0
    agrees = all(count in (None, row) for count, row in zip(known, rows, strict=True))
    return rows if fits and agrees else None


@dataclass(frozen=True, slots=True)
class Counterpart:
    """The same weight under another name, and whether the halves of its rows stand the other way round."""

    address: Address
    exchanged: bool


def counterpart(address: Address, shape: tuple[int, int], others: Shapes) -> Counterpart | None:
    """What one of `others` is that another spelling has in the place of a weight of `shape` (d_out, d_in).

    >>> ours, theirs = Address("model", None, "norm_out.linear"), Address("model", None, "final_layer.mod")
    >>> counterpart(ours, (8, 4), {theirs: (8, 4)}).exchanged
    True
    """
    for other, size in others.items():
        place = (other.stack, other.layer, other.expert)
        if size == shape and place == (address.stack, address.layer, address.expert):
            for one, two in ((address, other), (other, address)):
                if (exchanged := _exchanged(one, two, shape)) is not None:
                    return Counterpart(other, exchanged)
    return None


def _exchanged(one: Address, other: Address, shape: tuple[int, int]) -> bool | None:
    """Whether `other` has the halves of `one`'s rows exchanged; `None` where they are two weights."""
    names = (one.module_type, other.module_type)
    if one.gate_first:
        return True if names == (GATE_FIRST.spelled, GATE_FIRST.name) else None
    for rules, always in ((HALVES, True), (LAST_HALVES, False)):
        if any(re.fullmatch(r.spelled, names[0]) and r.name == names[1] for r in rules):
            return shape[0] % 2 == 0 if always else shape[0] == 2 * shape[1]
    return None
