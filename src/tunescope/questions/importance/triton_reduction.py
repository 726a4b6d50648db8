"""The reduction of a gradient and its weight as one Triton kernel: each is read from memory once."""

import torch
import triton
import triton.language as tl
from torch import Tensor

# Consecutive elements that one thread multiplies and adds in float32 before it goes over to float64: a
# 16-byte load of bfloat16. Conversions cost as much as the loads would if every product were converted.
_RUN = 8
_LANES = 256


@triton.jit  # type: ignore[untyped-decorator]
def _sums(  # type: ignore[no-untyped-def]
    g_ptr, w_ptr, out_ptr, numel, places, RUN: tl.constexpr, LANES: tl.constexpr, WIDE: tl.constexpr
):
    """One program's share of one group, added to `out[group, program, :]`, which no other program touches."""
    program = tl.program_id(0).to(tl.int64)
    programs = tl.num_programs(0).to(tl.int64)
    group = tl.program_id(1).to(tl.int64)
    offsets = tl.arange(0, LANES)[:, None] * RUN + tl.arange(0, RUN)[None, :]
    absolute = tl.zeros([LANES], tl.float64)
    signed = tl.zeros([LANES], tl.float64)
    square = tl.zeros([LANES], tl.float64)
    weighted = tl.zeros([LANES], tl.float64)
    for start in range(program * LANES * RUN, numel, programs * LANES * RUN):
        index = start + offsets
        inside = index < numel
        g = tl.load(g_ptr + group * numel + index, inside, 0.0).to(WIDE)
        w = tl.load(w_ptr + group * numel + index, inside, 0.0).to(WIDE)
        product = g * w
        absolute += tl.sum(tl.abs(product), 1).to(tl.float64)
        signed += tl.sum(product, 1).to(tl.float64)
        square += tl.sum(g * g, 1).to(tl.float64)
        weighted += tl.sum(product * product, 1).to(tl.float64)
    place = out_ptr + (group * places + program) * 4
    tl.store(place, tl.load(place) + tl.sum(absolute, 0))
    tl.store(place + 1, tl.load(place + 1) + tl.sum(signed, 0))
    tl.store(place + 2, tl.load(place + 2) + tl.sum(square, 0))
    tl.store(place + 3, tl.load(place + 3) + tl.sum(weighted, 0))


def reduce_fused(out: Tensor, gradient: Tensor, weight: Tensor) -> None:
    """Add the four sums of every group to `out`, (groups, places, 4) in float64; the same bits every time."""
    groups, places, _ = out.shape
    numel = gradient.numel() // groups
    programs = max(1, min(triton.cdiv(numel, 4 * _LANES * _RUN), places))
    wide = tl.float64 if weight.dtype == torch.float64 else tl.float32
    _sums[(programs, groups)](
        gradient, weight, out, numel, places, RUN=_RUN, LANES=_LANES, WIDE=wide, num_warps=4
    )
