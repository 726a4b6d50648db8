"""Experts that one side numbers and the other stacks: what meets once a loader has joined them.

transformers from 5 on stacks numbered experts as it loads a model, gate and up projection in one, and PEFT
from 0.19 on does the same to numbered factors of LoRA, for the model types below [huggingface/peft:
src/peft/utils/transformers_weight_conversion.py; huggingface/transformers: conversion_mapping.py].
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tunescope.questions.check.base import BaseNames
from tunescope.questions.check.names import BY_PLACE
from tunescope.questions.check.place import Place
from tunescope.questions.check.wanted import Shape
from tunescope.source.opened import Source
from tunescope.words import counted

# The parts of a stacked projection, in the order of its rows, by the names that files give them.
_PARTS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "gate_up_proj": (("gate_proj", "up_proj"), ("w1", "w3")),
    "gate_proj": (("gate_proj",), ("w1",)),
    "up_proj": (("up_proj",), ("w3",)),
    "down_proj": (("down_proj",), ("w2",)),
}
_STACKED = re.compile(rf"^(?P<owner>.*\.(?:experts|switch_mlp))\.(?P<name>{'|'.join(_PARTS)})$")
_NUMBERED = re.compile(r"^(?P<owner>.*\.experts)\.(?P<number>\d{1,6})\.(?P<name>\w+)$")
# Unsloth's copies of gpt-oss: a list of modules for each projection.
_LISTED = re.compile(r"^(?P<owner>.*\.experts)\.(?P<name>gate_up_proj|down_proj)s\.(?P<number>\d{1,6})$")
_INTO = {"gate_proj": 0, "up_proj": 1, "w1": 0, "w3": 1}
_JOINED = frozenset({
    "mixtral", "minimax", "minimax_m2", "qwen2_moe", "qwen3_moe", "qwen3_next", "qwen3_omni_moe",
    "qwen3_omni_moe_thinker", "qwen3_omni_moe_text", "deepseek_v2", "deepseek_v3", "deepseek_v32", "dots1",
    "afmoe", "ernie4_5_moe", "glm4_moe", "glm4_moe_lite", "glm_moe_dsa", "glm4v_moe", "longcat_flash",
    "solar_open", "mellum", "hunyuan_v1_moe", "flex_olmo", "olmoe", "exaone_moe", "cohere2_moe",
})  # fmt: skip
_BASE_STACKED = "transformers stacks the experts that the base's files number, from version 5 on"
_FACTORS_JOINED = "PEFT from 0.19 on stacks the factors of numbered experts for this type of model"


def joined(found: Sequence[Place], base: BaseNames, source: Source) -> list[Place]:
    """The places, those of experts that the base keeps the other way held against it as a loader does."""
    held = Counter(_owner(place) for place in found)
    return [place if place.found is not None or place.status == "attached" else
            _numbered(place, base) or _stacked(place, base, source, held) or place
            for place in found]  # fmt: skip


def whole_stacks(found: Sequence[Place], base: BaseNames, source: Source) -> list[Place]:
    """The places, without those of stacked factors that are of fewer experts than the base has.

    PEFT makes the factors of stacked experts for all of them and refuses weights of another number.
    """
    stacks = Counter(place.wanted.module for place in found if _in_stack(place))
    lacking = {}
    for place in found if source.format == "peft" else ():
        count = _experts_of(place, base) if _in_stack(place) and place.status == "attached" else 0
        if stacks[place.wanted.module] < count:
            held = counted(stacks[place.wanted.module], "expert")
            lacking[id(place)] = f"the base has {counted(count, 'expert')}, the factors are of {held}"
    return [
        replace(place, status="missing", loading="", remedy=lacking[id(place)])
        if id(place) in lacking
        else place
        for place in found
    ]


def _in_stack(place: Place) -> bool:
    return place.wanted.address.expert is not None and _STACKED.match(place.wanted.module) is not None


def _experts_of(place: Place, base: BaseNames) -> int:
    """How many experts the base has where a stacked projection meets it, in one tensor or numbered."""
    if place.found is not None and len(place.found) == 3:
        return place.found[0]
    first = _NUMBERED.match(place.weight.split(", ")[0].removesuffix(".weight"))
    if first is None:
        return 0
    numbers = (_NUMBERED.match(name.removesuffix(".weight")) for name in base.shapes)
    return sum(n is not None and (n["owner"], n["name"]) == (first["owner"], first["name"]) for n in numbers)


def _owner(place: Place) -> tuple[str, str]:
    found = _NUMBERED.match(place.wanted.module)
    return (found["owner"], found["name"]) if found else ("", "")


def _numbered(place: Place, base: BaseNames) -> Place | None:
    """A projection of stacked experts, where the base's files have a tensor for each expert."""
    found, expert = _STACKED.match(place.wanted.module), place.wanted.address.expert
    if found is None or expert is None:
        return None
    for owner in _owners(found["owner"]):
        for parts in _PARTS[found["name"]]:
            if _part(owner, 0, parts[0]) in base.shapes:
                return _of_parts(place, [_part(owner, expert, part) for part in parts], base)
    return None


def _part(owner: str, expert: int, name: str) -> str:
    return f"{owner}.{expert}.{name}.weight"


def first_parts(module: str) -> list[str]:
    """What files with numbered experts may call the first tensor of a stacked projection.

    >>> first_parts("layers.3.mlp.experts.down_proj")[0]
    'layers.3.mlp.experts.0.down_proj.weight'
    """
    found = _STACKED.match(module)
    if found is None:
        return []
    owners, spelled = _owners(found["owner"]), _PARTS[found["name"]]
    return [_part(owner, 0, parts[0]) for owner in owners for parts in spelled]


def _owners(owner: str) -> list[str]:
    """What files call a module of experts that is `mlp.experts` once loaded, or `switch_mlp` in MLX."""
    plain = owner.removesuffix("switch_mlp") + "experts" if owner.endswith(".switch_mlp") else owner
    stem = plain.removesuffix(".mlp.experts")
    return [plain, f"{stem}.block_sparse_moe.experts"] if stem != plain else [plain]


def _of_parts(place: Place, names: Sequence[str], base: BaseNames) -> Place:
    shapes = [base.shapes.get(name) for name in names]
    weight = ", ".join(names)
    if any(shape is None or len(shape) != 2 for shape in shapes):
        return replace(place, weight=weight, status="missing", remedy="the base has no expert of that number")
    stored = [shape for shape in shapes if shape is not None]
    whole = (sum(shape[0] for shape in stored), stored[0][1])
    fits = whole == place.wanted.shape
    status = "attached" if fits else "shape_differs"
    return replace(place, weight=weight, status=status, found=whole, loading=_BASE_STACKED if fits else "")


def _stacked(
    place: Place, base: BaseNames, source: Source, held: Mapping[tuple[str, str], int]
) -> Place | None:
    """A numbered expert's own projection, where the base has one tensor for all experts."""
    module = place.wanted.module
    numbered = _NUMBERED.match(module) or _LISTED.match(module)
    whole = None if numbered is None else _tensor(numbered["owner"], numbered["name"], base)
    if numbered is None or whole is None:
        return None
    shape = base.shapes[whole]
    place = replace(place, weight=whole, status="missing", found=shape)
    if int(numbered["number"]) >= shape[0]:
        return replace(place, remedy=f"the base has {counted(shape[0], 'expert')}")
    if not _fits(place.wanted.shape, shape, halved=numbered["name"] in _INTO and "gate_up" in whole):
        return replace(place, status="shape_differs")
    if hindrance := _hindrance(numbered, base, source, held, shape[0]):
        return replace(place, remedy=hindrance)
    return replace(place, status="attached", loading=_FACTORS_JOINED)


def _tensor(owner: str, name: str, base: BaseNames) -> str | None:
    """The base's tensor of all experts that holds one expert's projection of that name."""
    plain = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}.get(name, name)
    for where in (owner, owner.replace(".block_sparse_moe.", ".mlp.")):
        for stacked in (plain, "gate_up_proj" if name in _INTO else plain):
            for full in (f"{where}.{stacked}", f"{where}.{stacked}.weight"):
                if len(base.shapes.get(full, ())) == 3:
                    return full
    return None


def _fits(wanted: Shape, stacked: Sequence[int], *, halved: bool) -> bool:
    """Whether one expert's matrix is what the stack holds of it, in either order of its two sizes."""
    rows, columns = wanted
    if rows is None or columns is None:
        return False
    return sorted(stacked[1:]) == sorted((2 * rows if halved else rows, columns))


def _hindrance(
    numbered: re.Match[str], base: BaseNames, source: Source, held: Mapping[tuple[str, str], int], count: int
) -> str:
    """What keeps PEFT from stacking the factors of one projection; empty where nothing does."""
    kind, (owner, name) = str(base.config.get("model_type")), (numbered["owner"], numbered["name"])
    if source.format in BY_PLACE:
        return ""
    if kind not in _JOINED or numbered.re is _LISTED or source.config.get("peft_type") != "LORA":
        return (
            "the base stacks its experts in one tensor, the adapter has factors for each: load a copy of the "
            "base whose experts are modules of their own, as it was trained on"
        )
    other = {"gate_proj": "up_proj", "up_proj": "gate_proj", "w1": "w3", "w3": "w1"}.get(name)
    if other is not None and not held[owner, other]:
        return f"PEFT stacks {name} only together with {other}, which the file lacks"
    if held[owner, name] != count:
        return f"PEFT stacks all {count} experts of a layer, of which the file has {held[owner, name]}"
    return ""
