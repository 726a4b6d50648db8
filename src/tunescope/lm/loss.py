"""The loss that every gradient score is taken of: token-mean negative log-likelihood, padding left out."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

from tunescope.corpus.encoding import IGNORED as IGNORED

# Rows of logits held in float32 at a time: at a vocabulary of 150 000 this is 150 MB.
_ROWS = 256


def predicts_next_token(model: nn.Module) -> bool:
    """Whether position t predicts token t+1 (a causal model) rather than token t (a masked one)."""
    names = (str(getattr(model, "loss_type", "")), type(model).__name__)
    return not any("MaskedLM" in name or "PreTraining" in name for name in names)


def targets(labels: Tensor, attention_mask: Tensor, shift: bool) -> Tensor:
    """The label that each position predicts, (batch, seq), `IGNORED` where it predicts none.

    Padding neither predicts nor is predicted, whatever its label says.
    """
    labels = labels.masked_fill(attention_mask == 0, IGNORED)
    if shift:
        labels = functional.pad(labels[:, 1:], (0, 1), value=IGNORED)
    return labels.masked_fill(attention_mask == 0, IGNORED)


def token_losses(logits: Tensor, target: Tensor) -> Tensor:
    """Negative log-likelihood in nats of each target, (batch, seq), zero where it is `IGNORED`.

    Computed in float32 (float64 for float64 logits) a few rows at a time, so the float32 logits never
    exist whole; `logits` is (batch, seq, vocab).
    """
    flat: Tensor = _TokenLoss.apply(logits.flatten(0, 1), target.flatten())  # type: ignore[no-untyped-call]
    return flat.view(target.shape)


def sequence_losses(losses: Tensor, target: Tensor) -> Tensor:
    """Mean loss over the scored tokens of every sequence, (batch,); NaN for one that has none."""
    scored = (target != IGNORED).sum(1)
    return losses.sum(1) / scored.to(losses.dtype)


def mean_loss(losses: Tensor, target: Tensor) -> Tensor:
    """Mean loss over all scored tokens of the batch, a scalar."""
    return losses.sum() / (target != IGNORED).sum().to(losses.dtype)


def sampled_targets(logits: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
    """Targets drawn from the model's own prediction wherever `target` has one.

    The gradient of their loss has the true Fisher information as its covariance, which the gradient at the
    labels of the data (the empirical Fisher) has not [Kunstner et al. 2019, arXiv 1905.12558].
    """
    drawn = target.clone()
    scored = (target != IGNORED).nonzero()
    for some in torch.split(scored, _ROWS):
        rows = logits.detach()[some[:, 0], some[:, 1]]
        probabilities = torch.softmax(rows.to(_wide(rows)), dim=-1)
        # A race of exponential clocks, as in torch.multinomial, which would stop a GPU at a NaN.
        clocks = torch.empty_like(probabilities).exponential_(generator=generator)
        drawn[some[:, 0], some[:, 1]] = (probabilities / clocks).argmax(dim=-1).to(drawn.dtype)
    return drawn


def divergences(reference: Tensor, logits: Tensor) -> Tensor:
    """KL(p_reference ‖ p) in nats of every row, (rows,), both (rows, vocab)."""
    found = []
    for expected, actual in zip(torch.split(reference, _ROWS), torch.split(logits, _ROWS), strict=True):
        p = torch.log_softmax(expected.to(_wide(expected)), dim=-1)
        q = torch.log_softmax(actual.to(_wide(actual)), dim=-1)
        found.append(((p - q).double() * p.exp().double()).sum(-1))
    return torch.cat(found)


@cache
def _losses(device: str) -> Callable[[Tensor, Tensor, int, torch.dtype], Tensor]:
    if device == "cuda":
        try:
            # Deferred: triton comes with CUDA builds of torch only.
            from tunescope.lm.triton_loss import fused_losses
        except ImportError:
            return blocked_losses
        return fused_losses
    return blocked_losses


def blocked_losses(logits: Tensor, target: Tensor, ignored: int, wide: torch.dtype) -> Tensor:
    """Negative log-likelihood in nats of each target, (rows,) in `wide`, in plain torch, some rows at a time.

    `logits` is (rows, vocab), `target` (rows,); the loss is zero where it is `ignored`.
    """
    losses = torch.empty(logits.shape[0], dtype=wide, device=logits.device)
    for start in range(0, logits.shape[0], _ROWS):
        part = slice(start, start + _ROWS)
        likelihoods = torch.log_softmax(logits[part], dim=-1, dtype=wide)
        labels = target[part].clamp_min(0)[:, None]
        losses[part] = likelihoods.gather(1, labels)[:, 0].neg_()
    return losses.masked_fill_(target == ignored, 0)


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


class _TokenLoss(torch.autograd.Function):
    """Cross-entropy that keeps the logits as they are; the softmax is made again on the way back."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor) -> Tensor:
        ctx.save_for_backward(logits, target)
        return _losses(logits.device.type)(logits, target, IGNORED, _wide(logits))

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, outer: Tensor) -> tuple[Tensor, None]:
        logits, target = ctx.saved_tensors  # type: ignore[attr-defined]
        gradient = torch.empty_like(logits)
        outer = outer.masked_fill(target == IGNORED, 0)
        for start in range(0, logits.shape[0], _ROWS):
            part = slice(start, start + _ROWS)
            rows = torch.softmax(logits[part], dim=-1, dtype=outer.dtype)
            labels = target[part].clamp_min(0)[:, None]
            rows.scatter_add_(1, labels, rows.new_full((), -1).expand_as(labels))
            torch.mul(rows, outer[part, None], out=gradient[part])
        return gradient, None
