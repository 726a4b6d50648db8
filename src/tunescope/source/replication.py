"""Layers that PEFT lays on top of one another several times before it adapts them (`layer_replication`).

[huggingface/peft: src/peft/tuners/tuners_utils.py, replicate_layers]
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, TypeVar

_LAYER = re.compile(
    r"^(?P<before>(?:model\.)*(?:bert\.|transformer\.)?(?:layers|encoder\.layer|h)\.)(?P<layer>\d+)\."
)
Held = TypeVar("Held")


def replicated(held: Mapping[str, Held], config: Mapping[str, Any]) -> Mapping[str, Held]:
    """What a base holds by name, with its layers as an adapter's config lays them: of [0, 2), [1, 3) four.

    >>> named = {f"model.layers.{i}.w": i for i in range(3)} | {"model.norm.w": 9}
    >>> dict(replicated(named, {"layer_replication": [[0, 2], [1, 3]]})) == {
    ...     "model.norm.w": 9, "model.layers.0.w": 0, "model.layers.1.w": 1,
    ...     "model.layers.2.w": 1, "model.layers.3.w": 2,
    ... }
    True
    """
    spans = config.get("layer_replication")
    if not spans or not all(_is_span(span) for span in spans):
        return held
    laid, layers = dict[str, Held](), defaultdict[int, list[tuple[str, str, Held]]](list)
    for name, one in held.items():
        if (found := _LAYER.match(name)) is None:
            laid[name] = one
        else:
            layers[int(found["layer"])].append((found["before"], name[found.end() :], one))
    depth = max(layers, default=-1) + 1
    order = [layer for start, end in spans for layer in range(start, min(end, depth))]
    for place, layer in enumerate(order):
        laid |= {f"{before}{place}.{rest}": one for before, rest, one in layers[layer]}
    return laid


def _is_span(span: Any) -> bool:
    return isinstance(span, list | tuple) and len(span) == 2 and all(type(n) is int and n >= 0 for n in span)
