"""SiLU(gate) · up as one Triton kernel, rounded where the usual code rounds."""

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra import libdevice

# Elements that a program takes.
_BLOCK = 4096


@triton.jit  # type: ignore[untyped-decorator]
def _gated(gate_ptr, up_ptr, out_ptr, count, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = at < count
    kind = gate_ptr.dtype.element_ty
    gate = tl.load(gate_ptr + at, there, 0.0).to(tl.float32)
    up = tl.load(up_ptr + at, there, 0.0).to(tl.float32)
    # The exponential and the quotient are those of torch, and SiLU is rounded to the tensors' own type before
    # the product, as it is when it lies in memory.
    active = tl.div_rn(gate, 1.0 + libdevice.exp(-gate)).to(kind).to(tl.float32)
    tl.store(out_ptr + at, (active * up).to(kind), there)


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """SiLU(`gate`) · `up`, two contiguous tensors of one shape and one 16-bit type on one GPU."""
    out = torch.empty_like(gate)
    with torch.cuda.device(gate.device):
        _gated[(triton.cdiv(gate.numel(), _BLOCK),)](gate, up, out, gate.numel(), BLOCK=_BLOCK, num_warps=8)
    return out
