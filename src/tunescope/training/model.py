"""The model of a run: the base in its precision, and what of it trains."""

import logging
from typing import Any

import torch
from torch import nn

from tunescope.address import parse
from tunescope.errors import UsageError
from tunescope.lm.pretrained import load_causal_model
from tunescope.lm.verification import said_of
from tunescope.training.guards import (
    float32_adapters,
    keep_4bit_weights_unpacked,
    keep_new_4bit_weights_unpacked,
)
from tunescope.training.recipe import Recipe

Model = Any
logger = logging.getLogger("tunescope")


def load_base(recipe: Recipe, source: str | None = None) -> Model:
    """The base model in the recipe's precision, on this process's device.

    Raises `Missing` where there is no such model.
    """
    keep_new_4bit_weights_unpacked()
    on_gpu = torch.cuda.is_available()
    options: dict[str, Any] = {"dtype": _dtype(recipe, on_gpu)}
    if recipe.quantize != "none":
        options["quantization_config"] = _quantization(recipe)
    if on_gpu:
        options["device_map"] = {"": torch.cuda.current_device()}
    elif recipe.quantize != "none":
        options["device_map"] = {"": "cpu"}
    place = source or recipe.model
    model = load_causal_model(place, **options)
    for notice in said_of(model, place):
        logger.warning("tunescope: %s: %s", place, notice)
    keep_4bit_weights_unpacked(model)
    model.config.use_cache = False
    return model


def _dtype(recipe: Recipe, on_gpu: bool) -> torch.dtype:
    """Trained weights are float32, for steps of 1e-5 vanish in bfloat16; a frozen base is not on a GPU.

    On a processor a frozen base computes in float32 too: without instructions for bfloat16 its products take
    36 times as long.
    """
    if recipe.full or (recipe.quantize != "int8" and not on_gpu):
        return torch.float32
    return torch.bfloat16


def _quantization(recipe: Recipe) -> Any:
    from transformers import BitsAndBytesConfig

    if recipe.quantize == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=_dtype(recipe, torch.cuda.is_available()),
    )


def prepare(model: Model, recipe: Recipe, adapter: str | None = None) -> Model:
    """Make the base ready for training and, unless all of it trains, put an adapter on it.

    The adapter is a fresh one, or the one saved in the folder `adapter`: a quantised base gives other losses
    unprepared, in the fifth digit.
    """
    if recipe.full:
        if recipe.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        return model
    from peft import LoraConfig, PeftModel, get_peft_model

    if adapter is not None:
        return PeftModel.from_pretrained(_frozen(model, recipe), adapter, is_trainable=True)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=target_modules(model, recipe.targets),
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(_frozen(model, recipe), config)
    float32_adapters(model)
    return model


def _frozen(model: Model, recipe: Recipe) -> Model:
    from peft import prepare_model_for_kbit_training

    if recipe.quantize != "none":
        return prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=recipe.gradient_checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    return model


def target_modules(model: nn.Module, targets: str) -> list[str]:
    """Names for PEFT's `target_modules`: of `attention`, `mlp`, `all`, or the comma-separated names given.

    The groups hold the linear layers inside blocks, without the routers of mixtures of experts.

    Raises `UsageError` where nothing in the model fits.
    """
    linear = _linear_layers(model)
    if targets not in ("attention", "mlp", "all"):
        return _named(targets, linear)
    wanted = [name for name in linear if _fits(name, targets)]
    if not wanted:
        families = sorted({parse(name).family for name in linear})
        raise UsageError(
            "no-targets", f"this model has no {targets} layers", expected=families, found=targets
        )
    short = sorted({name.rsplit(".", 1)[-1] for name in wanted})
    chosen = {name for name in linear if name.rsplit(".", 1)[-1] in short}
    return short if chosen == set(wanted) else sorted(wanted)


def _fits(name: str, targets: str) -> bool:
    address = parse(name)
    if address.layer is None or address.component == "MLP_ROUTER":
        return False
    return targets == "all" or address.family == targets


def _linear_layers(model: nn.Module) -> list[str]:
    from transformers.pytorch_utils import Conv1D

    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]


def _named(targets: str, linear: list[str]) -> list[str]:
    names = [name.strip() for name in targets.split(",") if name.strip()]
    for name in names:
        if not any(layer == name or layer.endswith("." + name) for layer in linear):
            known = sorted({layer.rsplit(".", 1)[-1] for layer in linear})
            raise UsageError("no-targets", f"no linear layer is called {name}", expected=known, found=name)
    if not names:
        raise UsageError("no-targets", "--targets names nothing", expected="attention | mlp | all | NAME,...")
    return names
