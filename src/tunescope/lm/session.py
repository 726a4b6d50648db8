"""A model borrowed for scoring: deterministic while it is, and given back as it was."""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def scoring_session(model: nn.Module, seed: int = 0) -> Iterator[list[str]]:
    """Evaluation mode (dropout off, no checkpointing), empty gradients, seeded; all restored afterwards.

    Restored are every module's mode, `requires_grad` and `.grad` of every parameter, and the random state of
    Python, NumPy, torch's CPU and the model's CUDA devices. Yields the names of modules that were in
    training mode.
    """
    modes = {module: module.training for module in model.modules()}
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    gradients = {parameter: parameter.grad for parameter in model.parameters()}
    training = [name for name, module in model.named_modules() if module.training]
    with ExitStack() as stack:
        stack.callback(_restore, modes, wanted, gradients)
        stack.enter_context(_seeded(model, seed))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        model.eval()
        for parameter in model.parameters():
            parameter.grad = None
            parameter.requires_grad_(parameter.is_floating_point())
        yield training


def _restore(
    modes: dict[nn.Module, bool],
    wanted: dict[nn.Parameter, bool],
    gradients: dict[nn.Parameter, torch.Tensor | None],
) -> None:
    for module, training in modes.items():
        module.training = training
    for parameter, needs in wanted.items():
        parameter.requires_grad_(needs)
    for parameter, gradient in gradients.items():
        parameter.grad = gradient


@contextmanager
def _seeded(model: nn.Module, seed: int) -> Iterator[None]:
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    python, legacy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)


@contextmanager
def in_float32(model: nn.Module) -> Iterator[None]:
    """The model with every weight and buffer of low precision widened to float32; given back as it was."""
    tensors = [*model.parameters(), *model.buffers()]
    narrow = [(t, t.data) for t in tensors if t.is_floating_point() and t.element_size() < 4]
    computing: list[Any] = [m for m in model.modules() if narrow and hasattr(m, "compute_dtype")]
    dtypes = [module.compute_dtype for module in computing]
    try:
        for tensor, data in narrow:
            tensor.data = data.float()
        for module in computing:
            # Layers of 4-bit weights compute in a dtype of their own.
            module.compute_dtype = torch.float32
        yield
    finally:
        for tensor, data in narrow:
            tensor.data = data
        for module, dtype in zip(computing, dtypes, strict=True):
            module.compute_dtype = dtype
