"""Statistics of Δ = now - start as Triton kernels: no difference meets the memory."""

import torch
import triton
import triton.language as tl
from torch import Tensor

# Elements that one program takes at a time, and in all at least: fewer would not fill its loads.
_LANES, _SHARE = 512, 8192
_MOST_PARTS = 64
# Programs that share one Gram matrix, and the rows times columns that each multiplies at a time.
_GRAM_PARTS, _TILE = 4, 256
# Loads that are on their way while a program computes.
_STAGES = tl.constexpr(3)
# mean, variance, abs_mean, abs_variance, norm; or count, mean, Σ (Δ - mean)² and the same two of |Δ|.
_COLUMNS = tl.constexpr(5)


@triton.jit
def _followed(value, inside, done, mean, square):  # type: ignore[no-untyped-def]
    """Mean and Σ (value - mean)² of each lane with its value number `done` (Welford)."""
    step = tl.where(inside, value - mean, 0.0)
    mean += step * (1.0 / done)
    return mean, square + step * (value - mean)


@triton.jit
def _store_over_lanes(place, rounds, mean, square):  # type: ignore[no-untyped-def]
    """Put mean and Σ (value - mean)² over lanes of `rounds` values each at `place`."""
    middle = tl.sum(rounds * mean, 0) * (1.0 / tl.maximum(tl.sum(rounds, 0), 1.0))
    tl.store(place, middle)
    tl.store(place + 1, tl.sum(square + rounds * (mean - middle) * (mean - middle), 0))


@triton.jit  # type: ignore[untyped-decorator]
def _moments(  # type: ignore[no-untyped-def]
    table_ptr, start_ptr, copy_ptr, place_ptr, out_ptr, LANES: tl.constexpr, COPIED: tl.constexpr
):
    """One program's share of one row: count, mean of Δ, Σ (Δ - mean)², and the same two of |Δ|.

    Every lane follows its own mean (Welford), so one pass does: at the first steps of Adam every |Δ| is the
    learning rate, and E[Δ²] - E[Δ]² would be noise.
    """
    part = tl.program_id(0)
    parts = tl.num_programs(0)
    row = tl.program_id(1).to(tl.int64)
    tensor = tl.load(table_ptr + row).to(copy_ptr.dtype)
    begin = tl.load(place_ptr + 2 * row)
    numel = tl.load(place_ptr + 2 * row + 1)
    lanes = tl.arange(0, LANES)
    mean = tl.zeros([LANES], tl.float64)
    square = tl.zeros([LANES], tl.float64)
    abs_mean = tl.zeros([LANES], tl.float64)
    abs_square = tl.zeros([LANES], tl.float64)
    stride = parts * LANES
    # A lane is masked in its last round alone, where it takes no step: one count serves all.
    done = tl.zeros([1], tl.float64)
    for first in tl.range(part * LANES, numel, stride, num_stages=_STAGES):
        index = first + lanes
        inside = index < numel
        now = tl.load(tensor + index, inside, 0.0)
        start = tl.load(start_ptr + begin + index, inside, 0.0)
        if COPIED:
            tl.store(copy_ptr + begin + index, now, inside)
        delta = now.to(tl.float64) - start.to(tl.float64)
        done += 1.0
        mean, square = _followed(delta, inside, done, mean, square)
        abs_mean, abs_square = _followed(tl.abs(delta), inside, done, abs_mean, abs_square)
    rounds = tl.maximum(tl.cdiv(numel - part * LANES - lanes, stride), 0).to(tl.float64)
    place = out_ptr + _COLUMNS * (row * parts + part)
    tl.store(place, tl.sum(rounds, 0))
    _store_over_lanes(place + 1, rounds, mean, square)
    _store_over_lanes(place + 3, rounds, abs_mean, abs_square)


@triton.jit  # type: ignore[untyped-decorator]
def _joined(share_ptr, out_ptr, parts, PARTS: tl.constexpr):  # type: ignore[no-untyped-def]
    """The shares of one row as mean, variance, abs_mean, abs_variance and ‖Δ‖ = √(n (variance + mean²))."""
    row = tl.program_id(0).to(tl.int64)
    part = tl.arange(0, PARTS)
    there = part < parts
    place = share_ptr + _COLUMNS * (row * parts + part)
    count = tl.load(place, there, 0.0)
    mean = tl.load(place + 1, there, 0.0)
    square = tl.load(place + 2, there, 0.0)
    abs_mean = tl.load(place + 3, there, 0.0)
    abs_square = tl.load(place + 4, there, 0.0)
    numel = tl.sum(count, 0)
    middle = tl.sum(count * mean, 0) / numel
    abs_middle = tl.sum(count * abs_mean, 0) / numel
    variance = tl.sum(square + count * (mean - middle) * (mean - middle), 0) / numel
    abs_variance = tl.sum(abs_square + count * (abs_mean - abs_middle) * (abs_mean - abs_middle), 0) / numel
    out = out_ptr + _COLUMNS * row
    tl.store(out, middle)
    tl.store(out + 1, variance)
    tl.store(out + 2, abs_middle)
    tl.store(out + 3, abs_variance)
    tl.store(out + 4, tl.sqrt(numel * (variance + middle * middle)))


def fused_moments(now: Tensor, start: Tensor) -> Tensor:
    """Mean, variance, mean absolute value and its variance of each row of `now - start`, (n, 4) in float64.

    `now` and `start` are contiguous, (n, numel) with numel of at least one, on one GPU.
    """
    rows, numel = now.shape
    begins = numel * torch.arange(rows, device=now.device)
    table = now.data_ptr() + begins * now.element_size()
    places = torch.stack([begins, torch.full_like(begins, numel)], dim=1)
    return ragged_moments(table, start, places, numel, now, copied=False)[:, :4]


def ragged_moments(
    table: Tensor, start: Tensor, places: Tensor, longest: int, copy: Tensor, copied: bool = True
) -> Tensor:
    """The same for contiguous tensors of any length, and ‖Δ‖: (n, 5).

    `table (n,)` int64 are their addresses; `places (n, 2)` their begins in the flat arrays `start` and
    `copy`, and their lengths, of which `longest` is the greatest. They are of the type of `copy`, into which
    they are written where `copied`.
    """
    rows, parts = len(places), max(1, min(_MOST_PARTS, longest // _SHARE))
    shares = torch.empty(rows, parts, 5, dtype=torch.float64, device=start.device)
    out = torch.empty(rows, 5, dtype=torch.float64, device=start.device)
    _moments[(parts, rows)](table, start, copy, places, shares, LANES=_LANES, COPIED=copied, num_warps=4)
    _joined[(rows,)](shares, out, parts, PARTS=_MOST_PARTS, num_warps=1)
    return out


@triton.jit  # type: ignore[untyped-decorator]
def _grams(  # type: ignore[no-untyped-def]
    now_ptr, start_ptr, side_ptr, out_ptr, rank, ROWS: tl.constexpr, CHUNK: tl.constexpr
):
    """One program's share of one product of one side: of ΔB and B₀, or of A and ΔA.

    Product 0 is of the first with itself, 1 of the first with the second, 2 of the second with itself.
    """
    part = tl.program_id(0)
    parts = tl.num_programs(0)
    side = tl.program_id(1).to(tl.int64)
    product = tl.program_id(2)
    begin = tl.load(side_ptr + 4 * side)
    length = tl.load(side_ptr + 4 * side + 1)
    along = tl.load(side_ptr + 4 * side + 2)
    left = tl.load(side_ptr + 4 * side + 3) > 0
    row = tl.arange(0, ROWS)
    # Steps in memory: A lies as (r, d_in), B as (d_out, r).
    place = begin + row * tl.where(left, 1, length)
    there = row < rank
    reads_now = (left == 0) | (product < 2)
    reads_start = left | (product > 0)
    # Added up along the chunk at the end alone, for sums between threads cost more than the products.
    total = tl.zeros([ROWS, ROWS, CHUNK], tl.float64)
    for chunk in tl.range(part * CHUNK, length, parts * CHUNK, num_stages=_STAGES):
        index = chunk + tl.arange(0, CHUNK)
        inside = there[:, None] & (index < length)[None, :]
        at = place[:, None] + along * index[None, :]
        now = tl.load(now_ptr + at, inside & reads_now, 0.0).to(tl.float64)
        start = tl.load(start_ptr + at, inside & reads_start, 0.0).to(tl.float64)
        delta = now - start
        first = tl.where(left, delta, now)
        second = tl.where(left, start, delta)
        x = tl.where(product < 2, first, second)
        y = tl.where(product == 0, first, second)
        total += x[:, None, :] * y[None, :, :]
    out = out_ptr + ((tl.num_programs(1) * product + side) * parts + part) * ROWS * ROWS
    tl.store(out + row[:, None] * ROWS + row[None, :], tl.sum(total, 2))


@triton.jit  # type: ignore[untyped-decorator]
def _norms(  # type: ignore[no-untyped-def]
    gram_ptr,
    row_ptr,
    scale_ptr,
    out_ptr,
    limit,
    SIZE: tl.constexpr,
    PARTS: tl.constexpr,
    PRODUCTS: tl.constexpr,
):
    """√Σ of one pair's products, side by side and the mixed ones twice, times its scale, at both its rows.

    Below zero where the terms have cancelled too far.
    """
    pair = tl.program_id(0).to(tl.int64)
    pairs = tl.num_programs(0)
    at = tl.arange(0, SIZE)
    total = 0.0
    absolute = 0.0
    for product in tl.static_range(PRODUCTS):
        right = tl.zeros([SIZE], tl.float64)
        left = tl.zeros([SIZE], tl.float64)
        for part in tl.static_range(PARTS):
            side = 2 * pairs * product + pair
            right += tl.load(gram_ptr + (side * PARTS + part) * SIZE + at)
            left += tl.load(gram_ptr + ((side + pairs) * PARTS + part) * SIZE + at)
        terms = left * right * (2.0 if product == 1 else 1.0)
        total += tl.sum(terms, 0)
        absolute += tl.sum(tl.abs(terms), 0)
    norm = tl.where(total < limit * absolute, -1.0, tl.sqrt(tl.maximum(total, 0.0)))
    norm *= tl.load(scale_ptr + pair)
    tl.store(out_ptr + _COLUMNS * tl.load(row_ptr + pair) + 4, norm)
    tl.store(out_ptr + _COLUMNS * tl.load(row_ptr + pairs + pair) + 4, norm)


def write_pair_norms(
    out: Tensor,
    now: Tensor,
    start: Tensor,
    sides: Tensor,
    rows: Tensor,
    scales: Tensor,
    rank: int,
    from_zero: bool,
    limit: float,
) -> None:
    """‖BA - B₀A₀‖ of each pair times its scale into the last column of `out (m, 5)`, at both its rows.

    `sides (2n, 4)` int64: begin, length and step along the length of the sides in `now` and `start`, and
    whether it is a B; all A come first, as in `rows (2n,)`. The square is
    tr(ΔBᵀΔB AAᵀ) + 2 tr(ΔBᵀB₀ ΔA Aᵀ) + tr(B₀ᵀB₀ ΔAΔAᵀ), from zero its first part alone. A norm whose terms
    sum to less than `limit` of their absolute values is below zero.
    """
    size, products = max(16, triton.next_power_of_2(rank)), 1 if from_zero else 3
    shape = (products, len(sides), _GRAM_PARTS, size, size)
    grams = torch.empty(shape, dtype=torch.float64, device=now.device)
    grid = (_GRAM_PARTS, len(sides), products)
    _grams[grid](now, start, sides, grams, rank, ROWS=size, CHUNK=_TILE // size, num_warps=size // 8)
    _norms[(len(sides) // 2,)](
        grams, rows, scales, out, limit, SIZE=size * size, PARTS=_GRAM_PARTS, PRODUCTS=products, num_warps=4
    )
