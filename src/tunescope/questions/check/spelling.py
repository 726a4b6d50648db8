"""Names of an adapter as PEFT looks them up: one `base_model.model.` in front, no adapter's name inside.

PEFT loads a tensor under another name as little as one that the base has no place for, and says nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from tunescope.questions.check.place import Place
from tunescope.source.formats.names import strip_wrappers
from tunescope.source.opened import Source

_FRONT = "base_model.model."
# [huggingface/peft: src/peft/utils/save_and_load.py] puts the name that it loads under behind these itself.
_ADAPTER = re.compile(
    r"\.lora_(?:embedding_)?[AB]\.(?!weight$|bias$)(?P<adapter>[^.]+)(?:\.(?:weight|bias))?$"
)


def as_peft_spells(found: Sequence[Place], source: Source) -> list[Place]:
    """The modules, of which none attaches whose tensors PEFT would look for under another name."""
    if source.format != "peft" or "peft_type" not in source.config:
        return list(found)
    return [_spelled(place) for place in found]


def _spelled(place: Place) -> Place:
    delta = place.wanted.delta
    if place.status != "attached" or delta is None or not delta.tensors:
        return place
    name = delta.tensors[0]
    bare = strip_wrappers(name)
    if name != _FRONT + bare:
        inside = not name.endswith(bare)
        remedy = f"call it {_FRONT + bare!r}" if inside else renamed(name.removesuffix(bare), _FRONT)
        return replace(place, status="missing", remedy=f"{remedy}: PEFT looks for that")
    if adapter := _ADAPTER.search(name):
        remedy = f"take {'.' + adapter['adapter']!r} out of the adapter's names: PEFT puts one in itself"
        return replace(place, status="missing", remedy=remedy)
    return place


def renamed(head: str, instead: str) -> str:
    """What to write instead of what all names begin with, in words.

    >>> renamed("", "model.")
    "put 'model.' in front of the adapter's names"
    """
    if not head:
        return f"put {instead!r} in front of the adapter's names"
    if not instead:
        return f"take {head!r} off the adapter's names"
    return f"write {instead!r} for {head!r} in the adapter's names"
