"""Traps of the training stack that give wrong numbers without an error, and what keeps clear of them."""

import ctypes
import logging
import os
from collections.abc import Mapping
from typing import Any

from torch import nn

from tunescope.errors import UsageError

logger = logging.getLogger("tunescope")

_MULTI_PROCESS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def keep_new_4bit_weights_unpacked() -> None:
    """Models loaded after this keep their 4-bit weights in the layout that training needs.

    On processors with AVX512-BF16, bitsandbytes reorders 4-bit weights in place at the first evaluation.
    Training after it misses the gradient through the base weights, and a merge gives garbage.
    """
    try:
        # Deferred: an extra.
        from bitsandbytes.nn import modules
    except ImportError:
        return
    modules.has_avx512bf16 = lambda: False


def keep_4bit_weights_unpacked(model: nn.Module) -> list[str]:
    """The same for a model that is loaded; returns the modules whose weights are packed already.

    Those cannot be mended without loss: such a model has to be loaded again.
    """
    packed = []
    for name, module in model.named_modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
            state = getattr(getattr(module, "weight", None), "quant_state", None)
            if getattr(state, "packing_format_for_cpu", False):
                packed.append(name)
    return packed


def is_quantized(model: nn.Module) -> bool:
    """Whether the model's base weights were loaded in 4 or 8 bits."""
    return bool(getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False))


def float32_adapters(model: nn.Module) -> list[str]:
    """Widen trainable half-precision weights to float32, in place, and return their names.

    trl's `SFTTrainer` narrows a quantised model's adapter to bfloat16, which at a learning rate of 2e-5
    rounds away nine tenths of the motion of the factors A. Only before the first optimizer step.
    """
    widened = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.is_floating_point() and parameter.element_size() == 2:
            parameter.data = parameter.data.float()
            widened.append(name)
    return widened


def narrowed_by_trl(args: Any, model: nn.Module) -> bool:
    """Whether these are the arguments of trl's supervised trainer over a quantised model."""
    names = {kind.__name__ for kind in type(args).__mro__}
    return "SFTConfig" in names and is_quantized(model)


def guard_training(args: Any, model: nn.Module | None) -> None:
    """Keep a model that is about to train clear of these traps, and say what was done or cannot be mended."""
    if model is None:
        return
    packed = keep_4bit_weights_unpacked(model)
    if packed:
        logger.warning(
            "tunescope: %d 4-bit modules were evaluated and repacked before training; gradients through them "
            "are wrong. Load the model again and evaluate it after tunescope.training.guards has seen it.",
            len(packed),
        )
    if narrowed_by_trl(args, model):
        widened = float32_adapters(model)
        if widened:
            logger.warning("tunescope: %d adapter weights put back from bfloat16 to float32", len(widened))


def few_threads() -> bool:
    """One thread for each OpenMP runtime on a machine without accelerator, unless OMP_NUM_THREADS is set.

    torch and bitsandbytes bring one OpenMP runtime each, whose threads spin against each other: on busy
    cores a step was seen to take seventy times as long. Returns whether anything was set.
    """
    # Deferred: a model's memory budget is planned before torch is there.
    import torch

    if "OMP_NUM_THREADS" in os.environ or torch.cuda.is_available():
        return False
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    try:
        ctypes.CDLL("libgomp.so.1").omp_set_num_threads(1)
    except (OSError, AttributeError):
        # bitsandbytes' own runtime is not there: then nothing fights over the cores.
        return True
    return True


def refuse_degraded_launch(environment: Mapping[str, str] | None = None) -> None:
    """Raise `UsageError` under `accelerate launch --cpu`, which starts one process whatever it is asked for.

    Its `mpirun` way does start several, and is let through.
    """
    environment = os.environ if environment is None else environment
    on_cpu = environment.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "on")
    # The launcher sets these; a user who only wants the CPU sets neither.
    launched = "MASTER_ADDR" in environment or "ACCELERATE_DYNAMO_BACKEND" in environment
    alone = not any(int(environment.get(name, "1") or 1) > 1 for name in _MULTI_PROCESS)
    if on_cpu and launched and alone:
        raise UsageError(
            "one-process",
            "accelerate launch on the CPU starts one process, however many it is asked for",
            fix="torchrun --nproc_per_node N -m tunescope finetune ..., or no launcher for one process",
        )
