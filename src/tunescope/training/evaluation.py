"""Held-out loss: the mean negative log-likelihood of a token that carries a label, in nats."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from tunescope.corpus import Example
from tunescope.lm.batches import checked
from tunescope.lm.forward import Forward
from tunescope.lm.processes import summed, world
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
    """The model's loss on these examples, shared out over all processes; its mode is put back.

    The same loss that `importance` and `attribute` measure: of the weights as they are, in their own
    precision.
    """
    was_training = model.training
    model.eval()
    rank, size = world()
    mine = sorted(examples[rank::size], key=lambda example: len(example.input_ids))
    forward = Forward.of(model)
    totals = torch.zeros(2, dtype=torch.float64, device=forward.device)
    batches = (padding(mine[at : at + batch_size]) for at in range(0, len(mine), batch_size))
    for batch in checked(batches):
        nats, tokens = forward.nats(batch)
        totals += torch.stack((nats.sum(), tokens.sum())).to(totals.device)
    model.train(was_training)
    nats, tokens = summed(totals).tolist()
    return HeldOutLoss(nats / tokens, int(tokens))
