"""`taylor`, `curvature` and `fisher`: scores that come out of backward passes."""

from collections.abc import Iterator

import torch
from torch import Tensor

from tunescope.errors import Notice
from tunescope.lm.batches import Batch
from tunescope.questions.importance.graphs import Graphs
from tunescope.questions.importance.passes import PassSums, launched
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
        self.labelled = "taylor" in methods
        self.sampled = bool({"curvature", "fisher"} & set(methods))
        self._graphs: dict[tuple[bool, bool], Graphs | None] = {}

    def __call__(self, batch: Batch) -> Iterator[Samples]:
        counts = self.setting.scored_tokens(batch)
        rows = [row for row, count in enumerate(counts) if count]
        if not rows:
            return
        found: list[PassSums] = []
        # One forward pass serves both kinds of label where the batch is one sequence.
        alone = len(batch) == 1
        if alone:
            found.append(self._scored(batch.sequence(0), self.labelled, self.sampled))
        elif self.labelled:
            found += [self._scored(batch.sequence(row), True, False) for row in rows]
        if self.sampled and not alone:
            found.append(launched(self.setting, self.reducer, batch, False, True))
        pending = [sums for scored in found for sums in scored.sums()]
        losses = [scored.loss for scored in found if scored.loss is not None]
        yield from self._samples(batch, rows, counts, *_fetched(pending, losses))

    def _scored(self, sequence: Batch, labelled: bool, sampled: bool) -> PassSums:
        kind = (labelled, sampled)
        if kind not in self._graphs:
            self._graphs[kind] = Graphs.for_model(self.setting, self.reducer, *kind)
        graphs = self._graphs[kind]
        found = None if graphs is None else graphs.score(sequence)
        return launched(self.setting, self.reducer, sequence, *kind) if found is None else found

    def notices(self) -> list[Notice]:
        """How many sequences were launched as graphs, on a GPU."""
        return [notice for graphs in self._graphs.values() if graphs for notice in graphs.notices()]

    def _samples(
        self, batch: Batch, rows: list[int], counts: list[int], sums: Array, losses: Array
    ) -> Iterator[Samples]:
        if self.labelled:
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
