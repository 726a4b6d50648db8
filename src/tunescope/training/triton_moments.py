"""Statistics of Δ = now - start as Triton kernels over rows of an array: no difference meets the memory."""

import torch
import triton
import triton.language as tl
from torch import Tensor

_LANES = 1024
# Elements that one program takes at least: fewer would not fill its loads.
_SHARE = 8 * _LANES
# Programs that share one Gram matrix, and the rows times columns that each multiplies at a time.
_GRAM_PARTS, _TILE = 4, 512


@triton.jit  # type: ignore[untyped-decorator]
def _sums(  # type: ignore[no-untyped-def]
    now_ptr, start_ptr, place_ptr, centre_ptr, out_ptr, LANES: tl.constexpr, CENTRED: tl.constexpr
):
    """One program's share of one row: Σ Δ and Σ |Δ|, or Σ (Δ - mean)² and Σ (|Δ| - abs_mean)²."""
    part = tl.program_id(0)
    parts = tl.num_programs(0)
    row = tl.program_id(1).to(tl.int64)
    begin = tl.load(place_ptr + 2 * row)
    numel = tl.load(place_ptr + 2 * row + 1)
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
        now = tl.load(now_ptr + begin + index, inside, 0.0).to(tl.float64)
        start = tl.load(start_ptr + begin + index, inside, 0.0).to(tl.float64)
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
    begins = numel * torch.arange(rows, device=now.device)
    return ragged_moments(now, start, torch.stack([begins, torch.full_like(begins, numel)], dim=1), numel)


def ragged_moments(now: Tensor, start: Tensor, places: Tensor, longest: int) -> Tensor:
    """The same for rows of any length in flat arrays: `places (n, 2)` int64, their begins and lengths.

    `longest` is the greatest length.
    """
    rows, parts = len(places), max(1, min(64, longest // _SHARE))
    centre = torch.zeros(rows, 2, dtype=torch.float64, device=now.device)
    found = []
    for centred in (False, True):
        out = torch.empty(rows, parts, 2, dtype=torch.float64, device=now.device)
        _sums[(parts, rows)](now, start, places, centre, out, LANES=_LANES, CENTRED=centred, num_warps=8)
        centre = out.sum(1) / places[:, 1:]
        found.append(centre)
    (means, variances) = found
    return torch.stack([means[:, 0], variances[:, 0], means[:, 1], variances[:, 1]], dim=1)


@triton.jit  # type: ignore[untyped-decorator]
def _grams(  # type: ignore[no-untyped-def]
    now_ptr, start_ptr, side_ptr, out_ptr, rank, doubled, ROWS: tl.constexpr, CHUNK: tl.constexpr
):
    """One program's share of one side's Gram matrix: of [ΔB, B₀] or of [A; ΔA], of their first half alone."""
    part = tl.program_id(0)
    parts = tl.num_programs(0)
    side = tl.program_id(1).to(tl.int64)
    begin = tl.load(side_ptr + 4 * side)
    length = tl.load(side_ptr + 4 * side + 1)
    along = tl.load(side_ptr + 4 * side + 2)
    left = tl.load(side_ptr + 4 * side + 3) > 0
    # Steps in memory: A lies as (r, d_in), B as (d_out, r).
    across = tl.where(left, 1, length)
    row = tl.arange(0, ROWS)
    second = row >= rank
    has_now = (row < rank) | (second & (left == 0))
    has_start = ((row < rank) & left) | second
    minus = (second & left) == 0
    there = row < rank * (1 + doubled)
    place = begin + (row % rank) * across
    # Added up along the chunk at the end alone, for sums between threads cost more than the products.
    total = tl.zeros([ROWS, ROWS, CHUNK], tl.float64)
    for first in range(part * CHUNK, length, parts * CHUNK):
        index = first + tl.arange(0, CHUNK)
        inside = there[:, None] & (index < length)[None, :]
        at = place[:, None] + along * index[None, :]
        now = tl.load(now_ptr + at, inside & has_now[:, None], 0.0).to(tl.float64)
        start = tl.load(start_ptr + at, inside & has_start[:, None], 0.0).to(tl.float64)
        x = now + tl.where(minus[:, None], -start, start)
        total += x[:, None, :] * x[None, :, :]
    out = out_ptr + (side * parts + part) * ROWS * ROWS
    tl.store(out + row[:, None] * ROWS + row[None, :], tl.sum(total, 2))


def gram_terms(now: Tensor, start: Tensor, sides: Tensor, rank: int, from_zero: bool) -> Tensor:
    """The products of Gram matrices whose sums are ‖BA - B₀A₀‖² of each pair, (n, rows, rows) in float64.

    `sides (2n, 4)` int64: begin, length and step along the length of the sides in `now` and `start`, and
    whether it is a B; all A come first. `low_rank_norms` says which factors they are; from zero, B₀ has no
    part.
    """
    size = max(16, triton.next_power_of_2(rank if from_zero else 2 * rank))
    out = torch.empty(len(sides), _GRAM_PARTS, size, size, dtype=torch.float64, device=now.device)
    _grams[(_GRAM_PARTS, len(sides))](
        now,
        start,
        sides,
        out,
        rank,
        0 if from_zero else 1,
        ROWS=size,
        CHUNK=_TILE // size,
        num_warps=size // 4,
    )
    grams: Tensor = out.sum(1).view(2, -1, size, size)
    return grams.prod(0)
