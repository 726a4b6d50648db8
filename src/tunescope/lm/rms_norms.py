"""RMS norms as one kernel instead of six, where a module is one."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Under what names modules keep the ε that is added to the mean square.
_EPSILONS = ("variance_epsilon", "eps", "epsilon")
_ROWS = 4
# Up to this width torch leaves most threads idle: its kernel gives every row a block of its own.
_SHORT = 512

Norm = Callable[[Tensor, Tensor, float], Tensor]


def rms_norms(model: nn.Module) -> dict[nn.Module, float]:
    """The modules of a model that multiply x/√(mean x² + ε) by their weight, and the ε of each.

    Found by what they do to a few random rows: within two roundings of the weight's type that is what
    `torch.nn.functional.rms_norm` gives. A weight applied as 1 + v (Gemma's) is none of them.
    """
    found: dict[nn.Module, float] = {}
    for module in model.modules():
        epsilon = next((e for name in _EPSILONS if isinstance(e := getattr(module, name, None), float)), None)
        own = dict(module.named_parameters())
        weight = own.get("weight")
        plain = len(own) == 1 and weight is not None and weight.dim() == 1 and not weight.is_meta
        if epsilon is not None and plain and "forward" not in vars(module) and _is_one(module, epsilon):
            found[module] = epsilon
    return found


@torch.no_grad()
def _is_one(module: Any, epsilon: float) -> bool:
    weight: Tensor = module.weight
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(_ROWS, len(weight), generator=generator).to(weight)
    try:
        own = module(rows)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
        return False
    near = 2 * torch.finfo(weight.dtype).eps if weight.is_floating_point() else 0.0
    fused = functional.rms_norm(rows, weight.shape, weight, epsilon)
    alike = isinstance(own, Tensor) and own.shape == rows.shape and own.dtype == rows.dtype
    return alike and torch.allclose(own, fused, rtol=near, atol=near * float(fused.abs().max()) / 16)


@contextmanager
def fused(norms: dict[nn.Module, float]) -> Iterator[None]:
    """The modules of `rms_norms` with their arithmetic in one kernel, without a gradient's need of more."""
    short = _short_norm()
    with ExitStack() as stack:
        for module, epsilon in norms.items():
            stack.callback(vars(module).pop, "forward", None)
            vars(module)["forward"] = _fused(module, epsilon, short)
        yield


@cache
def _short_norm() -> Norm | None:
    try:
        # Deferred: triton comes with CUDA builds of torch only.
        from tunescope.lm.triton_norm import normed
    except ImportError:
        return None
    return normed


def _fused(module: Any, epsilon: float, short: Norm | None) -> Callable[[Tensor], Tensor]:
    own: Callable[[Tensor], Tensor] = module.forward

    def forward(rows: Tensor) -> Tensor:
        weight: Tensor = module.weight
        if rows.dtype != weight.dtype:
            return own(rows)
        if short is not None and _is_short(rows, weight):
            return short(rows, weight, epsilon)
        return functional.rms_norm(rows, weight.shape, weight, epsilon)

    return forward


def _is_short(rows: Tensor, weight: Tensor) -> bool:
    """Whether the kernel for short rows takes these: 16 bits on a GPU, without gaps or a gradient."""
    small = rows.is_cuda and rows.element_size() == 2 and rows.shape[-1] == len(weight) <= _SHORT
    return small and rows.is_contiguous() and weight.is_contiguous() and not torch.is_grad_enabled()
