"""Tables whose vocabulary grows during training: followed over the rows that all checkpoints have."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from tunescope.address import Address
from tunescope.source.checkpoints import Saved, Weight, read_whole
from tunescope.source.expert_weights import stretch
from tunescope.source.tied import is_head

Shape = tuple[int, ...]


def all_addresses(opened: Sequence[Saved]) -> list[Address]:
    """The weights of all checkpoints, each once."""
    return list(dict.fromkeys(address for saved in opened for address in saved.weights))


def last_shape(address: Address, opened: Sequence[Saved]) -> Shape:
    """The shape of a weight in the last checkpoint that has it."""
    return next(saved.weights[address].shape for saved in reversed(opened) if address in saved.weights)


def reshaped(opened: Sequence[Saved]) -> list[Address]:
    """The weights that have several shapes among the checkpoints, each once."""
    first: dict[Address, Shape] = {}
    found: dict[Address, None] = {}
    for saved in opened:
        for address, weight in saved.weights.items():
            if first.setdefault(address, weight.shape) != weight.shape:
                found[address] = None
    return list(found)


def resized_since(opened: Sequence[Saved], start: Saved | None) -> dict[Address, int]:
    """Tables of tokens that had another length at the start, with the length that they had."""
    before = {} if start is None else start.weights
    here = {a: last_shape(a, opened) for a in all_addresses(opened) if a in before and _has_vocabulary(a)}
    return {
        address: before[address].shape[0]
        for address, shape in here.items()
        if shape != before[address].shape and _is_longer_or_shorter(shape, before[address].shape)
    }


def is_resized(address: Address, opened: Sequence[Saved]) -> bool:
    """Whether the checkpoints have a table of tokens in several lengths, and else alike."""
    shapes = [saved.weights[address].shape for saved in opened if address in saved.weights]
    return _has_vocabulary(address) and all(_is_longer_or_shorter(shapes[-1], shape) for shape in shapes)


def _has_vocabulary(address: Address) -> bool:
    """Whether a row of it belongs to a token: a classifier of more classes is another model."""
    head = address.module_type.removesuffix(".weight").removesuffix(".bias")
    return address.layer is None and (address.family == "embedding" or is_head(head))


def _is_longer_or_shorter(a: Shape, b: Shape) -> bool:
    return len(a) == len(b) and len(a) in (1, 2) and a[1:] == b[1:]


def common_rows(opened: Sequence[Saved], start: Saved | None) -> tuple[list[Saved], Saved | None]:
    """The checkpoints and their start with every table cut to the rows that all of them have."""
    everywhere = [*opened, *([] if start is None else [start])]
    rows = {}
    for address in all_addresses(everywhere):
        held = [saved.weights[address] for saved in everywhere if address in saved.weights]
        shapes = {weight.shape for weight in held}
        unlike = len(shapes) > 1 and all(_is_longer_or_shorter(held[0].shape, shape) for shape in shapes)
        if unlike and _has_vocabulary(address) and all(weight.values is not None for weight in held):
            rows[address] = min(shape[0] for shape in shapes)
    cut = [
        replace(saved, weights={a: _cut(w, rows.get(a)) for a, w in saved.weights.items()})
        for saved in everywhere
    ]
    return (cut, None) if start is None else (cut[:-1], cut[-1])


def _cut(weight: Weight, rows: int | None) -> Weight:
    if rows is None or weight.values is None:
        return weight
    shape = (rows, *weight.shape[1:])
    first = stretch(weight.values, 0, shape)
    return replace(weight, shape=shape, values=first, open=partial(read_whole, first))
