"""Rotary position embeddings as one kernel instead of ten, where a model's code applies them as most do."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# The function that transformers' models call, each in the module of its own code.
_NAME = "apply_rotary_pos_emb"

Rotation = Callable[..., tuple[Tensor, Tensor]]


@torch.no_grad()
def rotaries(model: nn.Module, device: torch.device) -> dict[str, Rotation]:
    """The modules of code whose rotation one kernel gives to the bit: x cos + (-second half, first half) sin.

    Tried on random rows on `device`, a GPU; no module where there is no Triton.
    """
    try:
        # Deferred: triton comes with CUDA builds of torch only.
        from tunescope.lm.triton_rotary import rotated
    except ImportError:
        return {}
    generator = torch.Generator().manual_seed(0)
    q, k = (
        torch.randn(2, 5, n, 16, generator=generator).bfloat16().to(device).transpose(1, 2) for n in (4, 2)
    )
    cos, sin = torch.randn(2, 1, 5, 16, generator=generator).bfloat16().to(device)
    found = {}
    for name in sorted({type(module).__module__ for module in model.modules()}):
        own = getattr(sys.modules.get(name), _NAME, None)
        if own is not None and _is_one(own, (q, k, cos, sin), (rotated(q, cos, sin), rotated(k, cos, sin))):
            found[name] = _fused(own, rotated)
    return found


def _is_one(own: Rotation, tensors: tuple[Tensor, ...], expected: tuple[Tensor, Tensor]) -> bool:
    try:
        given = own(*tensors)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
        return False
    return len(given) == 2 and all(map(torch.equal, given, expected))


@contextmanager
def fused(rotations: dict[str, Rotation]) -> Iterator[None]:
    """The modules of `rotaries` with their rotation in one kernel; no gradient passes it."""
    with ExitStack() as stack:
        for name, rotation in rotations.items():
            module: Any = sys.modules[name]
            stack.callback(setattr, module, _NAME, getattr(module, _NAME))
            setattr(module, _NAME, rotation)
        yield


def _fused(own: Rotation, rotated: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Rotation:
    def rotation(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *rest: Any, **named: Any) -> Any:
        if rest or named or not _fits(q, k, cos, sin):
            return own(q, k, cos, sin, *rest, **named)
        return rotated(q, cos, sin), rotated(k, cos, sin)

    return rotation


def _fits(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> bool:
    """Whether the kernel takes these: 16-bit tensors of one type whose heads are turned whole."""
    # A table for all rows may be expanded to a batch.
    rows = (cos.shape[-1], 1)
    tables = cos.dim() == 3 and cos.shape == sin.shape and cos.stride() == sin.stride()
    tables = tables and cos.stride()[1:] == rows
    types = {(x.dtype, x.device) for x in (q, k, cos, sin)}
    whole = all(
        x.dim() == 4
        and x.stride(-1) == 1
        and x.shape[-2:] == cos.shape[-2:]
        and cos.shape[0] in {1, x.shape[0]}
        and not x.requires_grad
        for x in (q, k)
    )
    return tables and whole and len(types) == 1 and q.element_size() == 2 and q.shape[-1] % 2 == 0
