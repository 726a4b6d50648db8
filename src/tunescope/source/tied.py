"""Output heads that are the embedding table again, so that one change is not counted twice."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.address import Address, parse
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.stored import is_table
from tunescope.source.whole import WholeModel

_PART = 1 << 20
# Heads that predict tokens, which a save leaves out where they are tied to the table of embeddings.
_HEAD = re.compile(
    r"(^|\.)((generator_)?lm_head|lm_head\.out_proj|embed_out|output_projection|proj_out|lm_loss|vocab_projector"
    r"|pred_layer\.proj|(lm_head|predictions|mlm_score)\.decoder)$|^(head\.)?decoder$|^(head|output)$"
)


def is_head(module: str) -> bool:
    """Whether a module of this dotted name predicts tokens.

    >>> is_head("cls.predictions.decoder"), is_head("generator_lm_head"), is_head("model.decoder")
    (True, True, False)
    """
    return _HEAD.search(module) is not None


def says_untied(module: str, config: Mapping[str, Any]) -> bool:
    """Whether a model's config says of a head that it is no table again; a tower's own config comes first.

    >>> whole = {"tie_word_embeddings": False, "decoder": {"model_type": "bert"}}
    >>> says_untied("lm_head", whole), says_untied("decoder.cls.predictions.decoder", whole)
    (True, False)
    """
    tower = config.get(module.partition(".")[0])
    held = tower if isinstance(tower, Mapping) else config
    return held.get("tie_word_embeddings") is False


def table_of(
    head: Address, shape: tuple[int, int], tables: Mapping[Address, tuple[int, ...]]
) -> Address | None:
    """The table of embeddings that a head without a weight of its own is tied to, where one fits.

    Of several the one of tokens, and of several of these the one in the head's own tower, or in the decoder.

    `shape` is the head's (d_out, d_in), `tables` has the shapes of a model's weights as they are stored.
    """
    if head in tables or not is_head(head.module_type):
        return None
    fitting = [a for a, stored in tables.items() if stored == shape and is_table(a)]
    fitting = [a for a in fitting if a.component != "EMBED_POSITION"]
    found = [a for a in fitting if a.component == "EMBED"] or fitting
    for tower in (head.module_type.partition(".")[0], "decoder"):
        near = [a for a in found if len(found) == 1 or a.module_type.partition(".")[0] == tower]
        if near:
            return near[0] if len(near) == 1 else None
    return None


@dataclass(frozen=True)
class Tied:
    """Heads by what is to be done with them, each with the table it goes with.

    `counted` and `counted_in_base` are the table of their own model again, which is compared already;
    `untied` have weights of their own now where the base ties its head to its table.
    """

    counted: Mapping[str, str] = field(default_factory=dict)
    counted_in_base: Mapping[str, str] = field(default_factory=dict)
    untied: Mapping[str, str] = field(default_factory=dict)


def tied_heads(base: WholeModel, tuned: WholeModel, theirs: Mapping[str, str]) -> Tied:
    """What to do with the output heads of two models whose tensors are paired as `theirs` says."""
    again, in_base = repeated(tuned), repeated(base)
    apart = set(_of_kind(base, "LM_HEAD")) - set(in_base)
    counted = {head: table for head, table in again.items() if theirs.get(head) not in apart}
    untied = {}
    for head in _of_kind(tuned, "LM_HEAD"):
        tables = [theirs[table] for table in _of_kind(tuned, "EMBED") if table in theirs]
        if head not in again and not apart and tables:
            untied[head] = tables[0]
    return Tied(counted, in_base, untied)


def repeated(model: WholeModel) -> dict[str, str]:
    """Heads whose bytes are those of the model's own embedding table, with the table's name."""
    tables = _of_kind(model, "EMBED")
    return {
        head: table
        for head in _of_kind(model, "LM_HEAD")
        for table in tables
        if same_values(model.tensors[head], model.tensors[table])
    }


def same_values(a: LazyTensor, b: LazyTensor) -> bool:
    """Whether two tensors hold the same bytes; most that differ show it in their first part."""
    if (a.shape, a.dtype) != (b.shape, b.dtype) or not a.supported:
        return False
    memory = [np.empty(8 * _PART, np.uint8) for _ in range(2)]
    spans = ((start, min(start + _PART, a.size)) for start in range(0, a.size, _PART))
    return all(np.array_equal(_bytes(a, span, memory[0]), _bytes(b, span, memory[1])) for span in spans)


def _bytes(tensor: LazyTensor, span: tuple[int, int], memory: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return tensor.into(*span, memory).view(np.uint8)


def _of_kind(model: WholeModel, component: str) -> list[str]:
    return [n for n in model.tensors if n.endswith(".weight") and parse(n).component == component]
