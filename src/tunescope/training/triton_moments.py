"""Moments of Δ = now - start of stacked tensors as Triton kernels: no difference is written to memory."""

import torch
import triton
import triton.language as tl
from torch import Tensor

_LANES = 1024
# Elements that one program takes at least: fewer would not fill its loads.
_SHARE = 8 * _LANES


@triton.jit  # type: ignore[untyped-decorator]
def _sums(  # type: ignore[no-untyped-def]
    now_ptr, start_ptr, centre_ptr, out_ptr, numel, LANES: tl.constexpr, CENTRED: tl.constexpr
):
    """One program's share of one row: Σ Δ and Σ |Δ|, or Σ (Δ - mean)² and Σ (|Δ| - abs_mean)²."""
    part = tl.program_id(0)
    parts = tl.num_programs(0)
    row = tl.program_id(1).to(tl.int64)
    lanes = tl.arange(0, LANES)
    mean = 0.0
    abs_mean = 0.0
    if CENTRED:
        mean = tl.load(centre_ptr + 2 * row)
        abs_mean = tl.load(centre_ptr + 2 * row + 1)
    one = tl.zeros([LANES], tl.float64)
    two = tl.zeros([LANES], tl.float64)
    for first in range(part * LANES, numel, parts * LANES):
        index = first + lanes
        inside = index < numel
        now = tl.load(now_ptr + row * numel + index, inside, 0.0).to(tl.float64)
        start = tl.load(start_ptr + row * numel + index, inside, 0.0).to(tl.float64)
        delta = now - start
        if CENTRED:
            near = delta - mean
            far = tl.abs(delta) - abs_mean
            one += tl.where(inside, near * near, 0.0)
            two += tl.where(inside, far * far, 0.0)
        else:
            one += delta
            two += tl.abs(delta)
    place = out_ptr + 2 * (row * parts + part)
    tl.store(place, tl.sum(one, 0))
    tl.store(place + 1, tl.sum(two, 0))


def fused_moments(now: Tensor, start: Tensor) -> Tensor:
    """Mean, variance, mean absolute value and its variance of each row of `now - start`, (n, 4) in float64.

    `now` and `start` are contiguous, (n, numel) with numel of at least one, on one GPU.
    """
    rows, numel = now.shape
    parts = max(1, min(64, numel // _SHARE))
    centre = torch.zeros(rows, 2, dtype=torch.float64, device=now.device)
    found = []
    for centred in (False, True):
        out = torch.empty(rows, parts, 2, dtype=torch.float64, device=now.device)
        _sums[(parts, rows)](now, start, centre, out, numel, LANES=_LANES, CENTRED=centred, num_warps=8)
        centre = out.sum(1) / numel
        found.append(centre)
    (means, variances) = found
    return torch.stack([means[:, 0], variances[:, 0], means[:, 1], variances[:, 1]], dim=1)
