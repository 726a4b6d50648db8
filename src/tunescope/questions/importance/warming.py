"""What the first pass on a GPU would wait for, done while the weights are still being read."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch.nn import functional

from tunescope.lm.loss import token_losses
from tunescope.questions.importance.reduction import SUMS, places, reduce_into

_SIZE = 256


@contextmanager
def warming(device: str, dtype: str) -> Iterator[None]:
    """While the block runs, a thread starts the device's libraries and compiles the reduction.

    Reading a checkpoint waits for files and copies, and the thread for compilers. What it fails to do the
    first pass does, and says so: an error of the thread is none of its own.
    """
    if torch.device(device).type != "cuda":
        yield
        return
    with ThreadPoolExecutor(1, "warming") as pool:
        pool.submit(rehearse, torch.device(device), _float(dtype))
        yield


def rehearse(device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """A product, an attention and a loss, forward and backward, and the sums of a gradient, `(1, 4)`."""
    weight = torch.full((_SIZE, _SIZE), 1 / _SIZE, dtype=dtype, device=device, requires_grad=True)
    rows = functional.silu(torch.ones(_SIZE, _SIZE, dtype=dtype, device=device) @ weight)
    heads = rows.view(1, _SIZE, 4, _SIZE // 4).transpose(1, 2)
    mixed = functional.scaled_dot_product_attention(heads, heads, heads, is_causal=True)
    label = torch.zeros(_SIZE, dtype=torch.long, device=device)
    loss = token_losses(mixed.transpose(1, 2).reshape(1, _SIZE, _SIZE), label[None]).mean()
    (gradient,) = torch.autograd.grad(loss, weight)
    out = torch.zeros(1, places(device, 1), SUMS, dtype=torch.float64, device=device)
    reduce_into(out, gradient, weight)
    return out.sum(1)


def _float(dtype: str) -> torch.dtype:
    """The dtype that is asked for; bfloat16, which most checkpoints have, where the checkpoint decides."""
    found = getattr(torch, dtype, None)
    return found if isinstance(found, torch.dtype) else torch.bfloat16
