"""The passes that gradient scores are made of, and the sums that come out of them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tunescope.lm.batches import Batch
from tunescope.lm.loss import mean_loss, sampled_targets, token_losses
from tunescope.lm.parameters import Parameters
from tunescope.questions.importance.reducer import GradientReducer
from tunescope.questions.importance.reduction import ABSOLUTE
from tunescope.questions.importance.setting import Setting


@dataclass(frozen=True, eq=False)
class PassSums:
    """What the passes over a batch give: its loss, and sums (rows, 4) at its labels and at drawn labels."""

    loss: Tensor | None
    labelled: Tensor | None
    sampled: Tensor | None

    def sums(self) -> list[Tensor]:
        """The sums that there are."""
        return [sums for sums in (self.labelled, self.sampled) if sums is not None]

    def agrees(self, other: "PassSums", near: float) -> bool:
        """Whether Σ|g·w| differs by no more than the part `near` from another way to it, over all rows.

        Labels that are drawn may turn with the last bit of a logit, and a sum at them with every such label.
        """
        one, two = self.labelled, other.labelled
        if one is None or two is None:
            one, two, near = self.sums()[0], other.sums()[0], 16 * near
        apart = (one - two)[:, ABSOLUTE].abs().sum()
        return bool(apart <= near * two[:, ABSOLUTE].abs().sum())


def launched(
    setting: Setting, reducer: GradientReducer, batch: Batch, labelled: bool, sampled: bool
) -> PassSums:
    """The sums of one batch, launched from Python; one forward pass serves both kinds of label."""
    logits = setting.logits(batch)
    target = setting.target(batch).to(logits.device)
    loss = sums = drawn_sums = None
    if labelled:
        mean = mean_loss(token_losses(logits, target), target)
        mean.backward(retain_graph=sampled)  # type: ignore[no-untyped-call]
        loss, sums = mean.detach().double(), reducer.take()
    if sampled:
        drawn = sampled_targets(logits, target, setting.generator(logits.device, 0, batch.index))
        mean_loss(token_losses(logits, drawn), drawn).backward()  # type: ignore[no-untyped-call]
        drawn_sums = reducer.take()
    return PassSums(loss, sums, drawn_sums)


def rounding(parameters: Parameters) -> float:
    """How far apart two ways to one number may be, relatively, where every weight is rounded to its dtype.

    Between the error of one operation, ε, and a difference that means something: √ε/8, which is 0.01 in
    bfloat16, 4e-5 in float32 and 2e-9 in float64.
    """
    return float(max(torch.finfo(entry.parameter.dtype).eps for entry in parameters.scored) ** 0.5 / 8)
