"""The loss of every token as one Triton kernel: the logits are read once, and no softmax is kept."""

import torch
import triton
import triton.language as tl
from torch import Tensor

# Logits that a program takes at a time.
_BLOCK = 4096


@triton.jit  # type: ignore[untyped-decorator]
def _losses(  # type: ignore[no-untyped-def]
    logits_ptr, target_ptr, out_ptr, stride, vocabulary, ignored, BLOCK: tl.constexpr, WIDE: tl.constexpr
):
    """log Σ exp(logits) - logit of the label, of one row; the sum follows the largest logit so far."""
    row = tl.program_id(0).to(tl.int64)
    label = tl.load(target_ptr + row)
    lanes = tl.arange(0, BLOCK)
    largest = tl.full([], float("-inf"), WIDE)
    shift = tl.full([], 0.0, WIDE)
    total = tl.full([], 0.0, WIDE)
    for start in range(0, tl.where(label == ignored, 0, vocabulary), BLOCK):
        index = start + lanes
        value = tl.load(logits_ptr + row * stride + index, index < vocabulary, float("-inf")).to(WIDE)
        higher = tl.maximum(largest, tl.max(value, 0))
        # No logit may be above -inf so far: then there is nothing to shift, and nothing in the sum.
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp(largest - shift) + tl.sum(tl.exp(value - shift), 0)
        largest = higher
    # A label outside the vocabulary has no loss: NaN, and never what lies behind the row.
    place = tl.maximum(label, 0)
    own = tl.load(logits_ptr + row * stride + place, place < vocabulary, float("nan")).to(WIDE)
    tl.store(out_ptr + row, tl.where(label == ignored, 0.0, (shift - own) + tl.log(total)))


def fused_losses(logits: Tensor, target: Tensor, ignored: int, wide: torch.dtype) -> Tensor:
    """Negative log-likelihood in nats of each target, (rows,) in `wide`, zero where it is `ignored`.

    `logits` is (rows, vocab) on a GPU, `target` (rows,).
    """
    logits = logits if logits.stride(1) == 1 else logits.contiguous()
    losses = torch.empty(len(target), dtype=wide, device=logits.device)
    if losses.numel():
        kind = tl.float64 if wide == torch.float64 else tl.float32
        with torch.cuda.device(logits.device):
            _losses[(len(target),)](
                logits, target.contiguous(), losses, logits.stride(0), logits.shape[1], ignored,
                BLOCK=_BLOCK, WIDE=kind, num_warps=8,
            )  # fmt: skip
    return losses
