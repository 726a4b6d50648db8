"""Statistics of how far weights have moved, over stacks of equally shaped tensors, in float64.

Stacking makes the number of kernels follow the number of shapes, not the number of matrices.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

# Elements of one float64 block: bounds the temporary memory to a few times 128 MiB.
BLOCK = 1 << 24
# Below this share of the sum of absolute terms the terms of a Gram form have cancelled too far.
CANCELLATION = 1e-2


def moments(now: Tensor, start: Tensor) -> Tensor:
    """Mean, variance, mean absolute value and its variance of Δ = now - start, for each row.

    `now` and `start` are `(n, numel)`, of any float type and device; the result is `(n, 4)` float64 on the
    device of `now`. Population variances, never as E[Δ²] - E[Δ]²: at the first steps of Adam every |Δ| is the
    learning rate, and that difference would be noise.

    >>> moments(torch.tensor([[1.0, 3.0]]), torch.zeros(1, 2)).tolist()
    [[2.0, 1.0, 2.0, 1.0]]
    """
    rows, count = now.shape
    if count == 0:
        return now.new_zeros((rows, 4), dtype=torch.float64)
    if fused := _fused(now, start):
        return fused(now.contiguous(), start.contiguous())
    if now.numel() <= BLOCK:
        return delta_moments(difference(now, start))
    sums = sum(torch.stack([d.sum(1), d.abs().sum(1)]) for d in _blocks(now, start))
    mean, abs_mean = torch.as_tensor(sums) / count
    squares = sum(
        torch.stack([(d - mean[:, None]).square().sum(1), (d.abs() - abs_mean[:, None]).square().sum(1)])
        for d in _blocks(now, start)
    )
    variance, abs_variance = torch.as_tensor(squares) / count
    return torch.stack([mean, variance, abs_mean, abs_variance], dim=1)


def _fused(now: Tensor, start: Tensor) -> Callable[[Tensor, Tensor], Tensor] | None:
    """The kernel that takes both from a GPU's memory as they lie there, where it can."""
    if not now.is_cuda or now.device != start.device:
        return None
    try:
        # Deferred: triton comes with CUDA builds of torch only.
        from tunescope.training.triton_moments import fused_moments
    except ImportError:
        return None
    return fused_moments


def delta_moments(delta: Tensor) -> Tensor:
    """The four statistics of each row of a float64 Δ `(n, numel)`; returns `(n, 4)`."""
    if delta.is_cuda:
        # One pass over the memory; on the CPU it takes twice as long as the passes below.
        variance, mean = torch.var_mean(delta, dim=1, correction=0)
        abs_variance, abs_mean = torch.var_mean(delta.abs(), dim=1, correction=0)
        return torch.stack([mean, variance, abs_mean, abs_variance], dim=1)
    mean = delta.mean(dim=1)
    variance = (delta - mean[:, None]).square_().mean(dim=1)
    absolute = delta.abs()
    abs_mean = absolute.mean(dim=1)
    abs_variance = absolute.sub_(abs_mean[:, None]).square_().mean(dim=1)
    return torch.stack([mean, variance, abs_mean, abs_variance], dim=1)


def difference(now: Tensor, start: Tensor) -> Tensor:
    """now - start in float64, which holds the difference of two float32 numbers of like size exactly."""
    return now.double() - start.to(now.device).double()


def _blocks(now: Tensor, start: Tensor) -> Iterator[Tensor]:
    width = max(1, BLOCK // now.shape[0])
    for first in range(0, now.shape[1], width):
        yield difference(now[:, first : first + width], start[:, first : first + width])


def low_rank_norms(A: Tensor, delta_A: Tensor | None, delta_B: Tensor, B0: Tensor | None) -> Tensor:
    """‖B A - B₀ A₀‖_F of each module, from the Gram matrices of a rank-2r factorisation.

    B A - B₀ A₀ = [ΔB, B₀] [A; ΔA]: its terms are as small as the motion itself, so that nothing cancels as
    it would in [B, B₀] [A; -A₀]. `A, delta_A (n, r, d_in)`, `delta_B, B0 (n, d_out, r)`, all float64, `B0`
    None for zero, where `delta_A` has no part; the dense product is never formed. Where the terms of the Gram
    form cancel, as after a change of gauge alone, thin QRs are used instead. Returns `(n,)`, without the
    adapter's scale.

    >>> one = torch.ones(1, 1, 1, dtype=torch.float64)
    >>> low_rank_norms(2 * one, one, 2 * one, one).tolist()
    [5.0]
    """
    left, right = delta_B, A
    if B0 is not None and delta_A is not None:
        left, right = torch.cat([delta_B, B0], dim=2), torch.cat([A, delta_A], dim=1)
    norms = _norms_of_terms(gram(left.mT) * gram(right))
    if not is_recording() and bool((cancelled := norms < 0).any()):
        norms[cancelled] = _through_qr(left[cancelled], right[cancelled])
    return norms


def _norms_of_terms(terms: Tensor) -> Tensor:
    """√Σ of the products of two Gram matrices, `(n, k, k)` to `(n,)`; -1 where they have cancelled too far.

    While a CUDA graph is recorded nothing can be looked at: whoever reads the numbers later takes those below
    zero the long way.
    """
    squares = terms.sum(dim=(1, 2))
    cancelled = squares < CANCELLATION * terms.abs().sum(dim=(1, 2))
    return torch.where(cancelled, -1.0, squares.clamp_min(0).sqrt())


def is_recording() -> bool:
    """Whether a CUDA graph is being recorded, in which no value can be looked at."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


def _through_qr(left: Tensor, right: Tensor) -> Tensor:
    """‖X Y‖_F of each pair, from the triangles of both thin QRs."""
    first, second = torch.linalg.qr(left, mode="r").R, torch.linalg.qr(right.mT, mode="r").R
    norms: Tensor = torch.linalg.matrix_norm(first @ second.mT)
    return norms


def gram(rows: Tensor) -> Tensor:
    """X Xᵀ of each `(n, r, d)`, summed over pieces of the long side, for one piece occupies only one core."""
    n, r, d = rows.shape
    pieces = next((count for count in (16, 8, 4, 2) if d % count == 0 and d // count >= 128), 1)
    cut = rows.reshape(n, r, pieces, d // pieces).transpose(1, 2).reshape(n * pieces, r, d // pieces)
    return torch.bmm(cut, cut.mT).view(n, pieces, r, r).sum(dim=1)
