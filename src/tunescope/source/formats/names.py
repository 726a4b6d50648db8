"""Tensor names of adapters: wrapper prefixes off, adapter names out, module and parameter apart."""

import re
from collections.abc import Collection
from dataclasses import dataclass

_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_LEADING = ("base_model.model.", "module.", *(f"{w}." for w in _WRAPPERS))
# Parameters of which a module has several, told apart by a number or a name at the end.
_SEVERAL = ("tinylora_v", "lora_monteclora_sampler")
_INSIDE = re.compile(rf"\.(?:{'|'.join(_WRAPPERS)})(?=\.)")


@dataclass(frozen=True, slots=True)
class Key:
    """One adapter tensor's name: `module` it adapts, `parameter` (with `.bias` where it is one), `adapter`.

    `adapter` is the adapter's name where the key still holds one, such as `default`.
    """

    module: str
    parameter: str
    adapter: str | None = None


def strip_wrappers(name: str) -> str:
    """The name without what PEFT, `torch.compile`, DDP, FSDP and checkpointing put around a model.

    >>> strip_wrappers("_orig_mod.base_model.model.base_model.model.layers.0._fsdp_wrapped_module.up_proj")
    'layers.0.up_proj'
    """
    stripped = True
    while stripped:
        stripped = False
        for prefix in _LEADING:
            if name.startswith(prefix) and len(name) > len(prefix):
                name, stripped = name[len(prefix) :], True
    return _INSIDE.sub("", name)


def strip_frames(name: str) -> str:
    """The name without what `torch.compile`, DDP and FSDP put in front; PEFT's own prefix stays.

    >>> strip_frames("module._orig_mod.base_model.model.lm_head.weight")
    'base_model.model.lm_head.weight'
    """
    while (found := next((p for p in _LEADING[1:] if name.startswith(p)), None)) is not None:
        name = name[len(found) :]
    return name


def is_wrapped(name: str) -> bool:
    """Whether more than one ordinary `base_model.model.` stands around the name.

    >>> is_wrapped("base_model.model.lm_head.weight"), is_wrapped("module.lm_head.weight")
    (False, True)
    """
    return strip_wrappers(name) != name.removeprefix("base_model.model.")


def parse_key(name: str, parameters: Collection[str]) -> Key | None:
    """Module and parameter of an adapter tensor; `None` where none of `parameters` occurs in the name.

    >>> parse_key("base_model.model.h.0.attn.lora_A.default.weight", {"lora_A"})
    Key(module='h.0.attn', parameter='lora_A', adapter='default')
    >>> parse_key("base_model.model.h.0.attn.lora_B.bias", {"lora_B"})
    Key(module='h.0.attn', parameter='lora_B.bias', adapter=None)
    >>> parse_key("h.0.lora_monteclora_sampler.default.std_prior", {"lora_monteclora_sampler"})
    Key(module='h.0', parameter='lora_monteclora_sampler.std_prior', adapter='default')
    """
    parts = strip_wrappers(name).split(".")
    for i, part in enumerate(parts):
        if part in parameters:
            rest = parts[i + 1 :]
            kind = rest.pop() if rest and rest[-1] in ("weight", "bias") else ""
            parameter = f"{part}.bias" if kind == "bias" else part
            if part in _SEVERAL and rest:
                parameter = f"{part}.{rest.pop()}"
            return Key(".".join(parts[:i]), parameter, ".".join(rest) or None)
    return None
