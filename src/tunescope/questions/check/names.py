"""What an update calls the weight that it changes, and by which rule its scale applies."""

import re

from tunescope.delta import Delta
from tunescope.source.formats.litgpt import NAME as LITGPT
from tunescope.source.formats.megatron import NAME as MEGATRON
from tunescope.source.formats.names import strip_wrappers
from tunescope.source.opened import Source

# Formats whose loaders find a weight by its place, whatever it is called; all others go by the name alone.
BY_PLACE = ("kohya", "control-lora", "first-sd", "diffusers", "gguf", "torchtune")


STORED = "1: stored whole"
# `experts.3`, `experts.gate_up_projs.3`, or `experts.expert_3` of Switch Transformers.
_NUMBER = re.compile(r"(?:^|[._])\d+(?:\.|$)")


def module_name(delta: Delta) -> str:
    """The full dotted name of the module, or parameter, whose weight an update changes."""
    first, *others = (strip_wrappers(name) for name in delta.tensors[:2])
    other = others[0] if others else first
    same = next((i for i, (a, b) in enumerate(zip(first, other, strict=False)) if a != b), len(first))
    module = first[:same].rpartition(".")[0].removesuffix(".adapter").replace(".base_layer", "")
    last = delta.address.module_type.rsplit(".", 1)[-1]
    if delta.address.expert is not None and not _numbered(module):
        return f"{module}.{last}"
    return f"{module}.{last}" if last == "in_proj" and not module.endswith(".in_proj") else module


def _numbered(module: str) -> bool:
    """Whether the name itself holds an expert's number, so that the expert has a module of its own."""
    return _NUMBER.search(module.partition("expert")[2]) is not None


def candidates(module: str) -> tuple[str, ...]:
    """What the base may call the weight of a module: its `weight`, or a parameter of that name."""
    return (f"{module}.weight", module, f"{module}_weight")


def scale_rule(delta: Delta | None, source: Source, asked: float | None) -> str:
    """By which rule the scale of an update follows, in a few words."""
    if delta is None:
        return "none: the method multiplies or extends, it adds no s·BA"
    if asked is not None and delta.scale == asked:
        return "--scale"
    if delta.scale is None:
        return "not in the file"
    if source.format == "mlx":
        return "lora_parameters.scale of the config"
    if delta.method == "full":
        return STORED
    if delta.alpha is None:
        return "as the method has it"
    where = {"peft": "adapter_config.json", "lora-layers": LITGPT}.get(source.format, "the file")
    if source.format == "lora-layers" and any(".linear_in." in name for name in delta.tensors):
        where = MEGATRON
    # AdaLoRA of PEFT has no rank-stabilised scale, whatever its config says.
    root = bool(source.config.get("use_rslora")) and source.config.get("peft_type") != "ADALORA"
    return f"alpha/{'√' if root else ''}rank, both from {where}"
