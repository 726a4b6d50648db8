"""RMS norms of short rows as one Triton kernel, several rows in a program."""

import torch
import triton
import triton.language as tl
from torch import Tensor

# Elements that a program takes, about.
_SHARE = 4096


@triton.jit  # type: ignore[untyped-decorator]
def _normed(  # type: ignore[no-untyped-def]
    x_ptr, weight_ptr, out_ptr, rows, size, epsilon, ROWS: tl.constexpr, SIZE: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, SIZE)
    within = column < size
    there = (row < rows)[:, None] & within[None, :]
    at = row[:, None] * size + column[None, :]
    value = tl.load(x_ptr + at, there, 0.0).to(tl.float32)
    weight = tl.load(weight_ptr + column, within, 0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(value * value, 1) / size + epsilon)
    tl.store(out_ptr + at, (value * scale[:, None] * weight[None, :]).to(x_ptr.dtype.element_ty), there)


def normed(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """x/√(mean x² + ε) · `weight (size,)` over the last axis of a contiguous `x`, rounded once, on a GPU."""
    size = x.shape[-1]
    rows, width = x.numel() // size, triton.next_power_of_2(size)
    together = max(1, _SHARE // width)
    out = torch.empty_like(x)
    with torch.cuda.device(x.device):
        _normed[(triton.cdiv(rows, together),)](
            x, weight, out, rows, size, epsilon, ROWS=together, SIZE=width, num_warps=8
        )
    return out
