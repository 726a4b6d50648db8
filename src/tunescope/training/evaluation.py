"""Held-out loss: the mean negative log-likelihood of a token that carries a label, in nats."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tunescope.corpus import Example
from tunescope.corpus.encoding import IGNORED
from tunescope.training.collation import Padding


@dataclass(frozen=True)
class HeldOutLoss:
    """Nats a token over `tokens` scored tokens."""

    loss: float
    tokens: int


@torch.no_grad()
def held_out_loss(
    model: nn.Module, examples: Sequence[Example], padding: Padding, batch_size: int
) -> HeldOutLoss:
    """The model's loss on these examples, shared out over all processes; its mode is put back."""
    was_training = model.training
    model.eval()
    rank, world = _place()
    totals = torch.zeros(2, dtype=torch.float64)
    mine = sorted(examples[rank::world], key=lambda example: len(example.input_ids))
    for first in range(0, len(mine), batch_size):
        totals += _batch_loss(model, padding(mine[first : first + batch_size]))
    model.train(was_training)
    totals = _summed(totals, next(model.parameters()).device)
    return HeldOutLoss(float(totals[0] / totals[1]), int(totals[1]))


def _batch_loss(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Summed loss and number of scored tokens."""
    device = next(model.parameters()).device
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    tokens = int((batch["labels"][:, 1:] != IGNORED).sum())
    # The accelerator trains under autocast, so the same arithmetic is used to judge it.
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        mean = model(**batch).loss
    return torch.tensor([float(mean) * tokens, tokens], dtype=torch.float64)


def _place() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def _summed(totals: torch.Tensor, device: torch.device) -> torch.Tensor:
    if _place()[1] == 1:
        return totals
    totals = totals.to(device)
    torch.distributed.all_reduce(totals)
    return totals.cpu()
