"""Modules of the base that an adapter's config targets, held against those that its file has."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunescope.address import Address, component_names, distinct_addresses, parse
from tunescope.questions.check.base import BaseNames
from tunescope.questions.check.place import Place
from tunescope.questions.check.wrapping import ALL_LINEAR, left_out
from tunescope.source.opened import Source
from tunescope.study.finding import Finding
from tunescope.words import counted, named


def target_findings(source: Source, found: Sequence[Place], base: BaseNames) -> Iterator[Finding]:
    """Modules that the config targets in the base and that the file lacks: PEFT loads it, with a warning.

    Nothing is said where a module of the file meets no weight of the base, which then has other names.
    """
    if not _judged(source, found):
        return
    here = {weight for place in found for weight in place.weight.split(", ")}
    targeted = [
        name
        for name in base.shapes
        if _is_targeted(name, source.config, base) or _is_parameter(name, source.config)
    ]
    absent = [name.removesuffix(".weight") for name in targeted if name not in here]
    if not absent:
        return
    names = component_names(distinct_addresses([parse(module) for module in absent]))
    text = (
        f"{len(absent)} of {counted(len(targeted), 'module')} that the config of "
        f"{source.label} targets {'is' if len(absent) == 1 else 'are'} not in the "
        f"file ({named(names)}): PEFT loads it with a warning and leaves them untrained. A half-written save "
        f"looks like this: save the adapter again, or take them out of {_option(source.config)}."
    )
    evidence = {"targeted": len(targeted), "absent": len(absent), "modules": absent}
    yield Finding(
        "targets_absent", text, (source.label,), tuple(names), evidence=evidence, severity="warning"
    )


def _judged(source: Source, found: Sequence[Place]) -> bool:
    config = source.config
    stated = config.get("target_modules") or config.get("target_parameters")
    # AdaLoRA prunes modules.
    known = source.format == "peft" and bool(stated) and config.get("peft_type") != "ADALORA"
    return known and bool(found) and all(p.fault != "base" or p.status == "attached" for p in found)


def _is_targeted(name: str, config: Mapping[str, Any], base: BaseNames) -> bool:
    """By PEFT's rule [huggingface/peft: src/peft/tuners/tuners_utils.py, check_target_module_exists]."""
    if not name.endswith(".weight") or len(base.shapes[name]) < 2 or not config.get("target_modules"):
        return False
    module = name.removesuffix(".weight")
    address = parse(module)
    # Stacked experts are parameters of no module; loaders fuse numbered ones, and leave out layers that only
    # predict tokens ahead.
    stacked = len(base.shapes[name]) == 3 and "expert" in module
    if stacked or address.expert is not None or _is_left_out(module, address, base.config, config):
        return False
    targets = config["target_modules"]
    linear = isinstance(targets, str) and targets.lower() == ALL_LINEAR
    if linear and (address.family == "embedding" or len(base.shapes[name]) != 2):
        return False
    return not left_out(module, config)


def _is_parameter(name: str, config: Mapping[str, Any]) -> bool:
    """Whether `target_parameters` means a tensor, by PEFT's rule [same file, _inject_parameters]."""
    return any(f".{name}".endswith(f".{of}") for of in config.get("target_parameters") or ())


def _option(config: Mapping[str, Any]) -> str:
    return "target_parameters" if config.get("target_parameters") else "target_modules"


def _is_left_out(
    module: str, address: Address, config: Mapping[str, Any], adapter: Mapping[str, Any]
) -> bool:
    inner = config.get("text_config")
    held = [config, inner if isinstance(inner, Mapping) else {}]
    counts = [of["num_hidden_layers"] for of in held if isinstance(of.get("num_hidden_layers"), int)]
    beyond = bool(counts) and address.layer is not None and address.layer >= max(counts)
    beyond = beyond and not adapter.get("layer_replication")
    return beyond or "mtp" in module.split(".")
