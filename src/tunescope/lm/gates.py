"""Gated units, down(SiLU(gate x) · up x), with one kernel between their products instead of two."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# What the three products are called in the modules that transformers builds this way.
_PRODUCTS = ("gate_proj", "up_proj", "down_proj")
_ROWS = 4

Product = Callable[[Tensor, Tensor], Tensor]


def gates(model: nn.Module) -> list[nn.Module]:
    """The modules of a model, on a GPU in 16 bits, that one kernel gives the very bits of.

    Found by what they do to a few random rows; none where there is no Triton. Another activation, a factor
    or a bias after the gate are none of them; the products may be whatever modules stand there.
    """
    try:
        # Deferred: triton comes with CUDA builds of torch only.
        from tunescope.lm.triton_gate import gated
    except ImportError:
        return []
    return [m for m in model.modules() if "forward" not in vars(m) and _is_one(m, gated)]


@torch.no_grad()
def _is_one(module: Any, gated: Product) -> bool:
    if not all(isinstance(getattr(module, name, None), nn.Module) for name in _PRODUCTS):
        return False
    weight, width = getattr(module.gate_proj, "weight", None), getattr(module.gate_proj, "in_features", None)
    if type(weight) is not nn.Parameter or not isinstance(width, int) or not _fits(weight, weight):
        return False
    rows = torch.randn(_ROWS, width, generator=torch.Generator().manual_seed(0)).to(weight)
    try:
        own, mine = module(rows), _fused(module, gated)(rows)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
        return False
    return isinstance(own, Tensor) and torch.equal(own, mine)


@contextmanager
def fused(modules: Sequence[nn.Module]) -> Iterator[None]:
    """The modules of `gates` with one kernel between their products; no gradient passes it."""
    with ExitStack() as stack:
        if modules:
            from tunescope.lm.triton_gate import gated
        for module in modules:
            stack.callback(vars(module).pop, "forward", None)
            vars(module)["forward"] = _fused(module, gated)
        yield


def _fused(module: Any, gated: Product) -> Callable[[Tensor], Tensor]:
    own: Callable[[Tensor], Tensor] = module.forward

    def forward(rows: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return own(rows)
        gate, up = module.gate_proj(rows), module.up_proj(rows)
        between = gated(gate, up) if _fits(gate, up) else module.act_fn(gate) * up
        found: Tensor = module.down_proj(between)
        return found

    return forward


def _fits(gate: Tensor, up: Tensor) -> bool:
    """Whether the kernel takes these: two 16-bit tensors of one type and shape, each without gaps."""
    alike = gate.dtype == up.dtype and gate.shape == up.shape and gate.device == up.device
    whole = gate.is_contiguous() and up.is_contiguous() and gate.is_cuda
    return alike and whole and gate.is_floating_point() and gate.element_size() == 2
