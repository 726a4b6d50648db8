"""Ranks that contradict a PEFT config: PEFT makes the factors by the config and refuses others."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunescope.questions.check.place import Place
from tunescope.source.opened import Source
from tunescope.source.tuners.patterns import fits

# The factor whose rows are the rank, by method; of the others a rank alone decides no shape.
_FACTORS: Mapping[str, tuple[str, ...]] = {
    "LORA": ("lora_A", "lora_embedding_A"),
    "LOHA": ("hada_w1_b",),
    "DELORA": ("delora_A",),
}
# What PEFT takes where the config has no `r` [huggingface/peft: src/peft/tuners/*/config.py].
_DEFAULT = 8


def with_ranks(found: Sequence[Place], source: Source) -> list[Place]:
    """The places, those of another rank than the config states with the shapes of a factor."""
    config = source.config
    factors = _FACTORS.get(str(config.get("peft_type")), ())
    # PEFT of today does not load files of parts.
    if source.format != "peft" or not factors or config.get("enable_lora"):
        return list(found)
    held = [_held(place, source, factors) for place in found]
    differing = [place for place in held if place.fault == "rank"]
    ranks = Counter(place.wanted.delta.rank for place in found if place.wanted.delta is not None)
    together = len(ranks) == 1
    return [replace(p, remedy=_remedy(p, config, together)) if p in differing else p for p in held]


def _held(place: Place, source: Source, factors: tuple[str, ...]) -> Place:
    delta = place.wanted.delta
    if delta is None or delta.rank is None or place.status not in (None, "attached"):
        return place
    names = [n for n in delta.tensors if any(f".{factor}" in f".{n}" for factor in factors)]
    shapes = {tensor.name: tensor.shape for tensor in source.tensors.values()}
    stated, shape = stated_rank(place.wanted.module, source.config), shapes.get(names[0]) if names else None
    # Packed factors, such as those of block-diagonal layers, have other rows than their rank.
    if stated == delta.rank or shape is None or shape[0] != delta.rank:
        return place
    stored = place.found or ()
    stacked = place.wanted.address.expert is not None and len(stored) == 3 and not place.loading
    experts = stored[0] if stacked else 1
    expected = (stated * experts, *shape[1:])
    status = place.status and "shape_differs"
    return replace(place, status=status, expected=expected, found=shape, fault="rank")


def stated_rank(module: str, config: Mapping[str, Any]) -> int:
    """The rank that the config states: of the first entry of `rank_pattern` that fits the module, or `r`."""
    patterns = config.get("rank_pattern") or {}
    rank = next((rank for pattern, rank in patterns.items() if fits(pattern, module)), None)
    return int(config.get("r", _DEFAULT) if rank is None else rank)


def _remedy(place: Place, config: Mapping[str, Any], together: bool) -> str:
    rank = place.wanted.delta.rank if place.wanted.delta is not None else None
    if together:
        emptied = " and leave rank_pattern empty" if config.get("rank_pattern") else ""
        return f"set r to {rank} in adapter_config.json{emptied}, or find the weights' own config"
    return f"put {place.wanted.module!r}: {rank} first in rank_pattern of adapter_config.json"
