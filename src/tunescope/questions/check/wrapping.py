"""Modules that PEFT makes no layer for by its config: it passes over their tensors, and says nothing.

The rule is PEFT's [huggingface/peft: src/peft/tuners/tuners_utils.py, check_target_module_exists].
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunescope.address import component_names, parse
from tunescope.questions.check.base import BaseNames
from tunescope.questions.check.defaults import default_targets
from tunescope.questions.check.place import Place
from tunescope.questions.check.wanted import SAVED_AS, Wanted
from tunescope.source.formats.names import parse_key, strip_wrappers
from tunescope.source.formats.peft_fields import fields
from tunescope.source.opened import Source
from tunescope.source.tied import is_head
from tunescope.source.tuners import TUNERS
from tunescope.source.tuners.patterns import fits_whole

ALL_LINEAR = "all-linear"
# Heads and tables that `all-linear` passes over.
NOT_LINEAR = ("lm_head", "score", "classifier")
# Methods in which `target_modules` names something else: an attention that prompts go into, tables of tokens.
_BY_RULES_OF_THEIR_OWN = ("ADAPTION_PROMPT", "TRAINABLE_TOKENS")
_INDEX = re.compile(r".*?\.[^.]*\.(?P<index>\d+)\.")


def as_peft_wraps(found: Sequence[Place], source: Source, base: BaseNames) -> list[Place]:
    """The modules, `missing` where PEFT would make no layer that could take their tensors."""
    known = fields(str(source.config.get("peft_type")))
    if source.format != "peft" or known is None or "target_modules" not in known:
        return list(found)
    return [_wrapped(place, source, base) for place in found]


def _wrapped(place: Place, source: Source, base: BaseNames) -> Place:
    module = place.wanted.module
    if place.status != "attached" or not _is_layer(place.wanted, source):
        return place
    config = with_default_targets(source.config, base.config)
    reason = left_out(module, config)
    return replace(place, status="missing", remedy=reason, fault="config") if reason else place


def _is_layer(one: Wanted, source: Source) -> bool:
    """Whether tensors of the module are parameters of a layer that `target_modules` decides on."""
    config, method = source.config, str(source.config.get("peft_type"))
    # Loaders fuse numbered experts, and write the config anew for them.
    if one.like or one.whole or one.address.expert is not None or method in _BY_RULES_OF_THEIR_OWN:
        return False
    # PEFT makes the layer of a head beside that of its table, and the other way.
    if config.get("ensure_weight_tying") and (is_head(one.module) or one.address.component == "EMBED"):
        return False
    parameters = config.get("target_parameters") or ()
    if any(_ends_in(one.module, (name, name.rpartition(".")[0])) for name in parameters):
        return False
    tuner = TUNERS.get(method)
    if one.delta is None or tuner is None:
        return one.delta is None
    keys = [parse_key(name, tuner.parameters) for name in one.delta.tensors]
    return any(key is not None and key.module for key in keys)


def with_default_targets(config: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """The config with what PEFT targets in this architecture where it names nothing, if that is known."""
    targets = config.get("target_modules")
    if targets is None and "target_modules" in config:
        targets = default_targets(config.get("peft_type"), base.get("model_type"))
    return {**config, "target_modules": targets, "defaulted": config.get("target_modules") is None}


def left_out(module: str, config: Mapping[str, Any]) -> str:
    """Why PEFT makes no layer of a module, as what to do about it; empty where it makes one.

    >>> left_out("model.layers.1.up_proj", {"target_modules": ["up_proj"], "layers_to_transform": [0]})
    "put 1 into layers_to_transform, or set it to null: PEFT makes no layer of 'model.layers.1.up_proj'"
    >>> left_out("model.layers.1.up_proj", {"target_modules": ["up_proj"]})
    ''
    """
    last, none = module.rpartition(".")[2], f": PEFT makes no layer of {module!r}"
    if is_excluded(module, config.get("exclude_modules")):
        return f"take what means {last!r} out of exclude_modules{none}"
    if is_saved(module, config):
        return f"take what means {last!r} out of modules_to_save{none}, which is kept whole"
    targets = config.get("target_modules")
    if targets is None:
        return ""
    if not _is_named(module, targets):
        default = ", which leaves it to the architecture" if config.get("defaulted") else ""
        return f"name {last!r} in target_modules{default}{none}"
    if in_layers(module, config):
        return ""
    index = _layer(module, config.get("layers_pattern"))
    if index is None:
        return f"set layers_pattern to what stands before the layers' numbers{none}"
    return f"put {index} into layers_to_transform, or set it to null{none}"


def is_excluded(module: str, excluded: Any) -> bool:
    """Whether `exclude_modules` means a module."""
    return fits_whole(excluded, module) if isinstance(excluded, str) else _ends_in(module, excluded or ())


def is_saved(module: str, config: Mapping[str, Any]) -> bool:
    """Whether `modules_to_save` means a module, or one around it."""
    return any(f".{name}." in f".{module}." for name in config.get("modules_to_save") or ())


def _is_named(module: str, targets: Any) -> bool:
    if isinstance(targets, str):
        linear = targets.lower() == ALL_LINEAR
        return module.rpartition(".")[2] not in NOT_LINEAR if linear else fits_whole(targets, module)
    return _ends_in(module, targets)


def _ends_in(module: str, names: Sequence[str]) -> bool:
    return any(f".{module}".endswith(f".{name}") for name in names)


def in_layers(module: str, config: Mapping[str, Any]) -> bool:
    """Whether `layers_to_transform` leaves a module in; a regular expression of targets overrules it."""
    layers = config.get("layers_to_transform")
    if layers is None or layers == [] or isinstance(config.get("target_modules"), str):
        return True
    return _layer(module, config.get("layers_pattern")) in ([layers] if isinstance(layers, int) else layers)


def _layer(module: str, patterns: Any) -> int | None:
    found = _INDEX.match(module)
    for pattern in [patterns] if isinstance(patterns, str) and patterns else patterns or ():
        numbered = (m for m in re.finditer(r"\.(?P<index>\d+)\.", module))
        found = next((m for m in numbered if fits_whole(rf"(?:.*\.)?{pattern}", module[: m.start()])), None)
        if found is not None:
            break
    return None if found is None else int(found["index"])


def not_in_file(source: Source, base: BaseNames) -> Iterator[Place]:
    """Modules of the base that `modules_to_save` means and the file lacks: PEFT stops with a `KeyError`."""
    names = source.config.get("modules_to_save") or ()
    if source.format != "peft" or source.config.get("ensure_weight_tying"):
        return
    here = {SAVED_AS.sub("", strip_wrappers(entry.tensor)) for entry in source.coverage}
    for name in base.shapes:
        module = name.rpartition(".")[0]
        around = [module[: at.start()] for at in re.finditer(r"\.|$", module)]
        if name in here or not any(one.endswith(str(of)) for one in around for of in names):
            continue
        address, shape = parse(module), base.shapes[name]
        size = (shape[0], shape[1]) if len(shape) == 2 else (None, None)
        one = Wanted(module, address, component_names([address])[0], size, whole=True)
        remedy = (
            f"save the adapter again with {name!r}, or take what means it out of modules_to_save: "
            "PEFT stops where it is not in the file"
        )
        yield Place(one, name, "missing", shape, remedy, fault="config")
