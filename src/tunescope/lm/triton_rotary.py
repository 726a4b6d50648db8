"""Rotary position embedding as one Triton kernel for a tensor, rounded where the usual code rounds."""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit  # type: ignore[untyped-decorator]
def _rotated(  # type: ignore[no-untyped-def]
    x_ptr, cos_ptr, sin_ptr, out_ptr, batch_step, head_step, place_step, table_step, heads, half,
    HEADS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """All heads of one token: x cos + (-second half, first half) sin."""
    batch = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1).to(tl.int64)
    column = tl.arange(0, HALF)
    head = tl.arange(0, HEADS)
    within = column < half
    there = (head < heads)[:, None] & within[None, :]
    at = batch * batch_step + place * place_step + head[:, None] * head_step + column[None, :]
    row = batch * table_step + place * 2 * half + column
    kind = x_ptr.dtype.element_ty
    first = tl.load(x_ptr + at, there, 0.0).to(tl.float32)
    second = tl.load(x_ptr + at + half, there, 0.0).to(tl.float32)
    cos_first = tl.load(cos_ptr + row, within, 0.0).to(tl.float32)[None, :]
    cos_second = tl.load(cos_ptr + row + half, within, 0.0).to(tl.float32)[None, :]
    sin_first = tl.load(sin_ptr + row, within, 0.0).to(tl.float32)[None, :]
    sin_second = tl.load(sin_ptr + row + half, within, 0.0).to(tl.float32)[None, :]
    # Each product is rounded to the tensors' own type before the sum, as it is when it lies in memory; that
    # is why the launch forbids to fuse the two.
    one = (first * cos_first).to(kind).to(tl.float32) - (second * sin_first).to(kind).to(tl.float32)
    two = (second * cos_second).to(kind).to(tl.float32) + (first * sin_second).to(kind).to(tl.float32)
    tl.store(out_ptr + at, one.to(kind), there)
    tl.store(out_ptr + at + half, two.to(kind), there)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`x (batch, heads, places, size)` turned by `cos` and `sin (1 or batch, places, size)`, as it lies.

    All are of one 16-bit type on one GPU; the last axis is contiguous, of the tables the last two.
    """
    batch, heads, places, size = x.shape
    out = torch.empty_like(x)
    table_step = 0 if len(cos) == 1 else cos.stride(0)
    with torch.cuda.device(x.device):
        _rotated[(batch, places)](
            x, cos, sin, out, x.stride(0), x.stride(1), x.stride(2), table_step, heads, size // 2,
            HEADS=triton.next_power_of_2(heads), HALF=triton.next_power_of_2(size // 2),
            enable_fp_fusion=False,
        )  # fmt: skip
    return out
