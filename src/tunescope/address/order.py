"""The one order in which kinds of weight stand in pictures and on pages."""

from collections.abc import Iterable

from tunescope.address.place import Address

_COMPONENTS = (
    "MLP_GATE", "MLP_GATE_UP", "MLP_UP", "MLP_DOWN", "ATTN_QKV", "ATTN_Q", "ATTN_K", "ATTN_V", "ATTN_O",
    "XATTN_Q", "XATTN_K", "XATTN_V", "XATTN_O",
)  # fmt: skip
_RANK = {name: i for i, name in enumerate(_COMPONENTS)}
_FAMILY_RANK = {"mlp": 0, "attention": 1, "norm": 2, "embedding": 3, "other": 4}


def rank_of_kind(module_type: str) -> tuple[int, int]:
    """What to sort kinds by: gate, up, down, q, k, v, o, then whatever else by family."""
    address = Address("", 0, module_type)
    return _RANK.get(address.component, len(_RANK)), _FAMILY_RANK[address.family]


def kinds_in_order(module_types: Iterable[str]) -> list[str]:
    """Different kinds of weight, or parameters of them, in the order in which they are drawn.

    >>> kinds_in_order(["norm", "self_attn.v_proj", "self_attn.q_proj", "mlp.down_proj", "mlp.gate_proj"])
    ['mlp.gate_proj', 'mlp.down_proj', 'self_attn.q_proj', 'self_attn.v_proj', 'norm']
    """
    return sorted(set(module_types), key=lambda kind: (*rank_of_kind(kind.removesuffix(".weight")), kind))
