"""A gradient and its weight to four sums, in one pass."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

# Columns of every result: Σ|g·w|, Σ g·w, Σ g², Σ w²g².
ABSOLUTE, SIGNED, SQUARE, WEIGHTED_SQUARE = range(4)
SUMS = 4

# Elements at a time on the CPU, so that the products stay in cache.
_BLOCK = 1 << 16

# Programs that may share one tensor on a GPU: eight for each of 132 multiprocessors.
_PROGRAMS = 1056

Reduction = Callable[[Tensor, Tensor, Tensor], None]


def places(device: torch.device, rows: int) -> int:
    """How many places each of `rows` rows has: one on the CPU, on a GPU as many as fit into 64 MB."""
    if device.type != "cuda":
        return 1
    return max(1, min(_PROGRAMS, (64 << 20) // (8 * SUMS * rows)))


def reduce_into(out: Tensor, gradient: Tensor, weight: Tensor) -> None:
    """Add Σ|g·w|, Σ g·w, Σ g², Σ w²g² of every group to `out`, (groups, places, 4) in float64.

    A group's sums are spread over its places, one for each worker that may share the load (see `places`):
    whoever reads them adds the places up. `gradient` and `weight` have one shape, split evenly into groups
    along their first axis. Products are taken in float32 (float64 for float64 weights) and summed in
    float64, on the tensors' own device.
    """
    if gradient.is_sparse:
        gradient = gradient.to_dense()
    _reduction(gradient.device.type)(out, gradient.contiguous(), weight.detach().contiguous())


@cache
def _reduction(device: str) -> Reduction:
    if device == "cuda":
        try:
            # Deferred: triton comes with CUDA builds of torch only.
            from tunescope.questions.importance.triton_reduction import reduce_fused
        except ImportError:
            return reduce_blocked
        return reduce_fused
    return reduce_blocked


def reduce_blocked(out: Tensor, gradient: Tensor, weight: Tensor) -> None:
    """The reduction in plain torch, a cache-sized block at a time."""
    groups = out.shape[0]
    for group, (g, w) in enumerate(zip(gradient.view(groups, -1), weight.view(groups, -1), strict=True)):
        for start in range(0, g.numel(), _BLOCK):
            _add_block(out[group, 0], g[start : start + _BLOCK], w[start : start + _BLOCK])


def _add_block(out: Tensor, g: Tensor, w: Tensor) -> None:
    wide = torch.float64 if w.dtype == torch.float64 else torch.float32
    g = g.to(wide)
    product = (g * w.to(wide)).double()
    g = g.double()
    absolute = torch.linalg.vector_norm(product, 1)
    out += torch.stack((absolute, product.sum(), torch.dot(g, g), torch.dot(product, product)))
