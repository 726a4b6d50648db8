"""Input widths that a method does not save, from what the other modules of the same adapter say."""

from collections.abc import Mapping

from tunescope.address import Address, parse

# What a component reads and writes: the hidden state, the attention heads' output, the MLP's inside.
_READS = {
    "ATTN_Q": "hidden", "ATTN_K": "hidden", "ATTN_V": "hidden", "ATTN_QKV": "hidden", "MLP_GATE": "hidden",
    "MLP_UP": "hidden", "MLP_GATE_UP": "hidden", "ATTN_O": "heads", "MLP_DOWN": "inside",
}  # fmt: skip
_WRITES = {
    "ATTN_Q": "heads", "ATTN_O": "hidden", "MLP_DOWN": "hidden", "MLP_GATE": "inside", "MLP_UP": "inside",
}  # fmt: skip


def input_widths(outputs: Mapping[str, int], largest: int | None = None) -> dict[str, int]:
    """d_in of each module for which the d_out of the others determine it.

    `outputs` maps module names to d_out, `largest` is the largest d_in of all of them where known. Modules
    of one stack that read the same thing share a width; where one width alone is open, it is the largest.

    >>> input_widths({"layers.0.self_attn.q_proj": 16, "layers.0.self_attn.k_proj": 8}, 16)
    {'layers.0.self_attn.q_proj': 16, 'layers.0.self_attn.k_proj': 16}
    """
    addresses = {name: parse(name) for name in outputs}
    if largest is not None and len({(a.stack, a.module_type, outputs[n]) for n, a in addresses.items()}) == 1:
        return dict.fromkeys(outputs, largest)
    reads = {name: _role(address, _READS) for name, address in addresses.items()}
    widths = _written(addresses, outputs)
    wanted = set(reads.values())
    open_widths = {role for role in wanted if role not in widths}
    if largest is not None and len(open_widths) == 1 and None not in wanted:
        known = [widths[role] for role in wanted - open_widths if role in widths]
        if all(width < largest for width in known):
            widths = {**widths, **dict.fromkeys(open_widths, largest)}
    return {name: widths[role] for name, role in reads.items() if role in widths}


def _role(address: Address, table: Mapping[str, str]) -> tuple[str, str] | None:
    component = table.get(address.component)
    return None if component is None else (address.stack, component)


def _written(
    addresses: Mapping[str, Address], outputs: Mapping[str, int]
) -> dict[tuple[str, str] | None, int]:
    """Widths that every writer of the same thing agrees on."""
    found: dict[tuple[str, str], set[int]] = {}
    for name, address in addresses.items():
        role = _role(address, _WRITES)
        if role is not None:
            found.setdefault(role, set()).add(outputs[name])
    return {role: widths.pop() for role, widths in found.items() if len(widths) == 1}
