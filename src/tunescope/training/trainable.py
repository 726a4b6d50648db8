"""What trains in a model: LoRA pairs with their scale, full weights, and what cannot be recorded and why."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from tunescope.address import Address, component_names, parse

_WRAPPERS = re.compile(
    r"^((base_model\.model|module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.)+|"
    r"(?<=\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)


@dataclass(frozen=True, eq=False)
class Matrix:
    """One recorded matrix: a trainable parameter, or one expert's slice of it.

    `parameter` is the name in the model, `factor` one of `A`, `B`, `W`.
    """

    parameter: str
    factor: str
    address: Address
    experts: int = 1

    def view(self, tensor: Tensor) -> Tensor:
        """The matrix `(rows, columns)` within its parameter's tensor."""
        if self.address.expert is None or self.experts == 1:
            return tensor.reshape(tensor.shape[0], -1) if self.factor != "W" else tensor.reshape(1, -1)
        index = self.address.expert
        if self.factor == "A":
            return tensor.reshape(self.experts, -1, tensor.shape[-1])[index]
        return tensor.reshape(tensor.shape[0], -1, self.experts)[:, :, index]


@dataclass(frozen=True, eq=False)
class Module:
    """What moves together: the factors A and B of one LoRA module with its scale, or one full weight W.

    `scale` is None where ΔW does not follow from the factors alone.
    """

    matrices: tuple[Matrix, ...]
    scale: float | None = 1.0


@dataclass(frozen=True, eq=False)
class Trainable:
    """What trains in a model: `parameters` by name, `modules`, and `skipped` names with their reasons."""

    parameters: Mapping[str, Tensor]
    modules: Sequence[Module]
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def matrices(self) -> list[Matrix]:
        """All matrices in the order of the modules."""
        return [matrix for module in self.modules for matrix in module.matrices]

    def component_names(self) -> dict[int, str]:
        """The short component name of each module, by its index in `modules`; unique within the model."""
        names = component_names([module.matrices[0].address for module in self.modules])
        return dict(enumerate(names))


def trainable(model: nn.Module) -> Trainable:
    """The trainable parameters of a model, grouped as they act; shared ones are counted once.

    Parameters that another process holds a part of (ZeRO-3, FSDP) stand in `skipped`.
    """
    parameters: dict[str, Tensor] = {}
    skipped: dict[str, str] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            reason = _unreadable(name, parameter)
            if reason:
                skipped[name] = reason
            else:
                parameters[name] = parameter
    modules = list(_lora_modules(model, parameters))
    paired = {matrix.parameter for module in modules for matrix in module.matrices}
    modules += [_full(name) for name in parameters if name not in paired]
    return Trainable(parameters, modules, skipped)


def _unreadable(name: str, parameter: Tensor) -> str | None:
    sharded = hasattr(parameter, "ds_id") or hasattr(parameter, "placements") or "_flat_param" in name
    if sharded or (parameter.numel() == 0 and hasattr(parameter, "_is_flat_param")):
        return "skipped: sharded"
    if parameter.is_meta:
        return "skipped: on the meta device"
    if not parameter.is_floating_point():
        return f"skipped: {str(parameter.dtype).removeprefix('torch.')} weights"
    return None


def clean_name(name: str) -> str:
    """The name that a parameter or module has in the bare model.

    >>> clean_name("base_model.model.model.layers.0.mlp.up_proj")
    'model.layers.0.mlp.up_proj'
    """
    return _WRAPPERS.sub("", name)


def _full(name: str) -> Module:
    path = re.sub(r"\.(modules_to_save|original_module)\.[^.]+(?=\.|$)", "", _module_path(name))
    path = re.sub(r"(\.(?:lora_[A-Za-z_]+|\w+_delta))\.[^.]+(?=\.weight$|\.bias$|$)", r"\1", path)
    return Module((Matrix(name, "W", parse(path)),), None if ".lora_" in name else 1.0)


def _lora_modules(model: nn.Module, parameters: Mapping[str, Tensor]) -> Iterator[Module]:
    for name, layer in model.named_modules():
        scaling = getattr(layer, "scaling", None)
        if isinstance(scaling, dict) and hasattr(layer, "lora_A"):
            for adapter in scaling:
                yield from _pair(name, layer, adapter, parameters)


def _pair(path: str, layer: Any, adapter: str, parameters: Mapping[str, Tensor]) -> Iterator[Module]:
    for a, b in (("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B")):
        names = [next((n for n in _spellings(path, x, adapter) if n in parameters), None) for x in (a, b)]
        if names[0] is None or names[1] is None:
            continue
        experts = int(getattr(layer, "num_experts", 1) or 1)
        target = getattr(layer, "parameter_name", None)
        base = _module_path(path) + (f".{target}" if isinstance(target, str) else "")
        for address in _addresses(base, experts):
            factors = zip(names, ("A", "B"), strict=True)
            matrices = tuple(Matrix(str(n), factor, address, experts) for n, factor in factors)
            yield Module(matrices, _scale(layer, adapter))


def _spellings(path: str, factor: str, adapter: str) -> tuple[str, str]:
    return f"{path}.{factor}.{adapter}.weight", f"{path}.{factor}.{adapter}"


def _module_path(path: str) -> str:
    return re.sub(r"\.base_layer(?=\.|$)", "", clean_name(path))


def _addresses(path: str, experts: int) -> list[Address]:
    address = parse(path)
    if experts == 1:
        return [address]
    return [Address(address.stack, address.layer, address.module_type, expert) for expert in range(experts)]


def _scale(layer: Any, adapter: str) -> float | None:
    """The adapter's scale; None for variants whose ΔW is not s·B A (DoRA's directional part is)."""
    variant = type(getattr(layer, "lora_variant", {}).get(adapter)).__name__
    if hasattr(layer, "lora_E") or not re.match(r"NoneType|_?Dora|MiCA|ALora", variant):
        return None
    return float(layer.scaling[adapter])
