"""What a loaded model calls the projections of its experts, whatever its files call them."""

from dataclasses import replace

from tunescope.address.place import Address

_LIKE = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
_OWNERS = {"block_sparse_moe": "mlp", "ffn": "mlp"}


def as_loaded(address: Address) -> Address:
    """The address of one expert's projection in the words of a loaded model; any other as it is.

    The words are those of transformers from version 5 on, which Mixtral's files and others have otherwise
    [huggingface/transformers: conversion_mapping.py].

    >>> as_loaded(Address("model", 3, "block_sparse_moe.experts.w1", 7)).module_type
    'mlp.experts.gate_proj'
    >>> as_loaded(Address("model", 3, "block_sparse_moe.gate")).module_type
    'block_sparse_moe.gate'
    """
    if address.expert is None:
        return address
    *owner, name = address.module_type.split(".")
    return replace(
        address, module_type=".".join([*(_OWNERS.get(o, o) for o in owner), _LIKE.get(name, name)])
    )
