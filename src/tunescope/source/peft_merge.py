"""Updates that depend on the base weight, through PEFT's own merge of one layer at a time.

OFT, IA³, HRA, DoRA and their like multiply or rotate W; PEFT is their definition. A layer is a bare
`torch.nn.Linear` of its own: no class of the model is built, and one weight is held at a time.
"""

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Dense
from tunescope.errors import BadInput, UsageError, raised_by
from tunescope.extras import needed_by
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.tuners.patterns import fits, is_soon_done

Float32 = NDArray[np.float32]
# Fields that would make PEFT look for other modules, other files, or a model of a task.
_LEFT_OUT = {
    "modules_to_save": None, "base_model_name_or_path": None, "revision": None, "task_type": None,
    "auto_mapping": None, "layers_to_transform": None, "layers_pattern": None, "exclude_modules": None,
    "inference_mode": True, "target_parameters": None, "trainable_token_indices": None,
    "fan_in_fan_out": False, "progressbar": False,
}  # fmt: skip


# Methods that change a bias wherever there is one.
_BIAS = {"ADAMSS", "GLORA", "ROAD"}


class _UnmergedError(ValueError):
    """What PEFT would merge wrongly."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One linear layer and what an adapter has for it: `tensors` by parameter, `shared` of no module.

    `weight()` gives W `(d_out, d_in)`, `bias()` the base's bias `(d_out,)` or None. `shared` are tensors of
    which this layer has its share (FRoD's bases).
    """

    config: Mapping[str, Any]
    module: str
    tensors: Mapping[str, LazyTensor]
    weight: Callable[[], Float32]
    bias: Callable[[], Float32 | None]
    file: str
    shared: Mapping[str, LazyTensor]

    def difference(self) -> Dense:
        """W' − W.

        Raises `UsageError` without PEFT, `BadInput` where PEFT cannot merge these tensors into this weight.
        """
        W = self.weight()
        return Dense(_numbers(self._merged(W).weight) - W)

    def bias_difference(self) -> Dense:
        """The same of the bias, (d_out, 1)."""
        bias = self.bias()
        assert bias is not None
        return Dense((_numbers(self._merged(self.weight()).bias) - bias)[:, None])

    def changes_bias(self) -> bool:
        """Whether PEFT's merge changes the base's bias, too."""
        kind = self.config["peft_type"]
        scales_outputs = kind == "IA3" and any(tensor.shape[-1:] == (1,) for tensor in self.tensors.values())
        return kind in _BIAS or scales_outputs

    def _merged(self, W: Float32) -> Any:
        """The layer with the weight and the bias that PEFT merges these tensors into."""
        config, module, file = self.config, self.module, self.file
        with needed_by(f"merging {config['peft_type']}"):
            import peft
            import torch
        holder, kind = _holder(torch, module, W, self.bias()), _kind(peft, config)
        settings = _settings(config, module, set(kind.__dataclass_fields__))
        held = {f"base_model.model.{module}.{name}": _tensor(torch, t) for name, t in self.tensors.items()}
        held |= {f"base_model.{name}": _tensor(torch, t) for name, t in self.shared.items()}
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                model = peft.get_peft_model(holder, kind(**settings))
                return _merged(peft, model, f"base_model.model.{module}", held)
        except ImportError as error:
            raise UsageError(
                "extra-missing", f"merging {config['peft_type']} needs a package that PEFT does not bring",
                file=file, found=str(error), fix="install the package that PEFT names",
            ) from error  # fmt: skip
        # PEFT has no errors of its own.
        except (ValueError, RuntimeError, KeyError, TypeError, AttributeError, IndexError) as error:
            if not raised_by(error, "peft", "torch", "transformers") and not isinstance(
                error, _UnmergedError
            ):
                raise
            raise _not_merged(config["peft_type"], module, W, file, error) from error


def _numbers(parameter: Any) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = parameter.detach().numpy().astype(np.float64)
    return numbers


def _not_merged(method: object, module: str, W: Float32, file: str, error: Exception) -> BadInput:
    return BadInput(
        "not-merged", f"PEFT cannot merge this {method} layer into the base", file=file,
        tensor=module, expected=f"tensors for a weight of {W.shape[0]}×{W.shape[1]}",
        found=str(error).splitlines()[0] if str(error) else type(error).__name__,
        fix="name the base it was trained on",
    )  # fmt: skip


def _merged(peft: Any, model: Any, module: str, held: Mapping[str, Any]) -> Any:
    """The layer that PEFT merges these tensors into."""
    peft.set_peft_model_state_dict(model, dict(held))
    layer, config = model.get_submodule(module), model.peft_config["default"]
    if str(config.peft_type).endswith("FROD"):
        if not config.save_projection:
            raise _UnmergedError("save_projection is false, and FRoD's bases follow from all layers together")
        # It derived U from the bases of this one layer, before those of the adapter were loaded.
        layer.update_layer("default", layer.frod_V, layer.frod_s_indices, layer.frod_s_size, config=config)
        peft.set_peft_model_state_dict(model, dict(held))
    layer.merge()
    return layer.get_base_layer()


def _holder(torch: Any, module: str, W: Float32, bias: Float32 | None) -> Any:
    """A module that has a linear layer under the dotted name, so that PEFT's name patterns apply."""
    *path, last = module.split(".")
    root = at = torch.nn.Module()
    for name in path:
        at.add_module(name, torch.nn.Module())
        at = at.get_submodule(name)
    layer = torch.nn.Linear(W.shape[1], W.shape[0], bias=bias is not None)
    layer.weight.data = torch.from_numpy(np.array(W))
    if bias is not None:
        layer.bias.data = torch.from_numpy(np.array(bias))
    at.add_module(last, layer)
    return root


def _kind(peft: Any, config: Mapping[str, Any]) -> Any:
    return peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(config["peft_type"])]


def _settings(config: Mapping[str, Any], module: str, known: set[str]) -> dict[str, Any]:
    """The config's fields that PEFT knows, of which this module is the only target."""
    given = {key: value for key, value in {**config, **_LEFT_OUT}.items() if key in known}
    given["target_modules"] = [module]
    for key in ("rank_pattern", "alpha_pattern"):
        patterns = given.get(key) or {}
        if not all(is_soon_done(pattern, module) for pattern in patterns):
            # As PEFT would match them, but within bounds.
            meant = [value for pattern, value in patterns.items() if fits(pattern, module, key)]
            given[key] = {re.escape(module): value for value in meant[:1]}
    forward = config.get("feedforward_modules")
    if forward is not None:
        named = [forward] if isinstance(forward, str) else list(forward)
        given["feedforward_modules"] = [module] if any(_means(word, module) for word in named) else []
    given.pop("peft_type", None)
    return given


def _means(word: str, module: str) -> bool:
    return module == word or module.endswith(f".{word}")


def _tensor(torch: Any, tensor: LazyTensor) -> Any:
    return torch.from_numpy(np.array(tensor.read().astype(np.float32)))
