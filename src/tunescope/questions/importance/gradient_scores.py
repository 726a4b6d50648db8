"""`taylor`, `curvature` and `fisher`: scores that come out of backward passes."""

from collections.abc import Iterator

import torch
from torch import Tensor

from tunescope.lm.batches import Batch
from tunescope.lm.loss import mean_loss, sampled_targets, token_losses
from tunescope.questions.importance.reducer import GradientReducer
from tunescope.questions.importance.reduction import ABSOLUTE, SQUARE, WEIGHTED_SQUARE
from tunescope.questions.importance.setting import Array, Samples, Setting

METHODS = ("taylor", "curvature", "fisher")


class GradientScores:
    """Samples of the gradient methods.

    `taylor`: Σ|g·w| of each sequence, one backward pass per sequence [Molchanov et al. 2019,
    arXiv 1906.10771]. `fisher`: Σ F and `curvature`: ½ Σ w²F, with the diagonal of the true Fisher
    information F = N·g̃² from labels sampled from the model, N the scored tokens of the batch
    [Liu et al. 2023, arXiv 2305.14342, algorithm 2], weighted by N.
    """

    def __init__(self, setting: Setting, reducer: GradientReducer, methods: tuple[str, ...]) -> None:
        self.setting, self.reducer, self.methods = setting, reducer, methods

    def __call__(self, batch: Batch) -> Iterator[Samples]:
        counts = self.setting.scored_tokens(batch)
        rows = [row for row, count in enumerate(counts) if count]
        if not rows:
            return
        pending: list[Tensor] = []
        losses: list[Tensor] = []
        sampled = {"curvature", "fisher"} & set(self.methods)
        alone = len(batch) == 1
        if "taylor" in self.methods:
            for row in rows:
                self._labelled(batch.sequence(row), pending, losses, sampling=bool(sampled) and alone)
        if sampled and not (alone and "taylor" in self.methods):
            self._sampled(batch, self.setting.logits(batch), pending)
        yield from self._samples(batch, rows, counts, *_fetched(pending, losses))

    def _labelled(self, batch: Batch, pending: list[Tensor], losses: list[Tensor], sampling: bool) -> None:
        """Backward from the labels of the data; one forward pass serves both kinds of label."""
        logits = self.setting.logits(batch)
        target = self.setting.target(batch).to(logits.device)
        loss = mean_loss(token_losses(logits, target), target)
        loss.backward(retain_graph=sampling)  # type: ignore[no-untyped-call]
        losses.append(loss.detach().double())
        pending.append(self.reducer.take())
        if sampling:
            self._sampled(batch, logits, pending)

    def _sampled(self, batch: Batch, logits: Tensor, pending: list[Tensor]) -> None:
        """Backward from labels that the model itself draws."""
        target = self.setting.target(batch).to(logits.device)
        generator = self.setting.generator(logits.device, 0, batch.index)
        drawn = sampled_targets(logits, target, generator)
        mean_loss(token_losses(logits, drawn), drawn).backward()  # type: ignore[no-untyped-call]
        pending.append(self.reducer.take())

    def _samples(
        self, batch: Batch, rows: list[int], counts: list[int], sums: Array, losses: Array
    ) -> Iterator[Samples]:
        if "taylor" in self.methods:
            numbers = [batch.first + row for row in rows]
            tokens = [float(counts[row]) for row in rows]
            yield Samples("loss", numbers, tokens, losses[:, None])
            yield Samples("taylor", numbers, [1.0] * len(rows), sums[: len(rows), :, ABSOLUTE])
        n = float(sum(counts))
        fisher = n * sums[-1:, :, SQUARE]
        curvature = 0.5 * n * sums[-1:, :, WEIGHTED_SQUARE]
        for method, values in (("curvature", curvature), ("fisher", fisher)):
            if method in self.methods:
                yield Samples(method, [batch.index], [n], values)


def _fetched(pending: list[Tensor], losses: list[Tensor]) -> tuple[Array, Array]:
    """All sums and losses of a batch on the host, in one transfer."""
    sums = torch.stack(pending)
    flat = [sums.flatten(), *(loss.to(sums.device)[None] for loss in losses)]
    together = torch.cat(flat).cpu().numpy()
    return together[: sums.numel()].reshape(sums.shape), together[sums.numel() :]
