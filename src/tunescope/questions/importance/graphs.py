"""The scored pass of one sequence as CUDA graphs, one pair for each length that sequences are padded to."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tunescope.errors import Notice
from tunescope.lm.batches import Batch
from tunescope.lm.loss import IGNORED, mean_loss, predicts_next_token, sampled_targets, token_losses
from tunescope.lm.masks import Unmasked, no_masks
from tunescope.lm.texts import limits_of
from tunescope.questions.importance.passes import PassSums, launched, rounding
from tunescope.questions.importance.reducer import GradientReducer
from tunescope.questions.importance.setting import Setting
from tunescope.words import counted

# From here on the GPU is busy for longer than Python takes to launch its work, and a graph saves nothing.
LONGEST = 2048
# Sequences are padded to a multiple of this, or of an eighth of the power of two below them.
_STEP = 64


def padded_length(tokens: int, limit: int | None) -> int:
    """How many tokens a sequence is padded to: few lengths, each at most an eighth (or 63 tokens) longer.

    >>> padded_length(500, None), padded_length(513, None), padded_length(1030, 1100)
    (512, 576, 1100)
    """
    step = max(_STEP, (1 << (tokens - 1).bit_length()) // 16)
    length = -(-tokens // step) * step
    return length if limit is None else max(tokens, min(length, limit))


class Graphs:
    """Recorded passes of a causal model on one GPU, kept for the lengths that came up.

    Launching a pass from Python takes as long as the pass itself at some 1,000 tokens; a recorded one is
    launched at once. Padding stands behind the tokens and no label is taken of it, so nothing of it reaches
    a sum. `score` says None where a sequence has to take the usual way. The first sequence of every length
    goes that way too, and where the sums of the two are not the same the model is not recorded at all.
    Nothing is recorded for the very first one, so that its score is there soon.
    """

    def __init__(self, setting: Setting, reducer: GradientReducer, labelled: bool, sampled: bool) -> None:
        self.setting, self.reducer, self.labelled, self.sampled = setting, reducer, labelled, sampled
        self.sequences = self.replayed = 0
        self._limit = limits_of(getattr(setting.model, "config", None)).length
        self._recorded: dict[int, _Recording] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._room: Tensor | None = None
        self._padding_checked = False
        self.refused: str | None = None

    @classmethod
    def for_model(
        cls, setting: Setting, reducer: GradientReducer, labelled: bool, sampled: bool
    ) -> "Graphs | None":
        """The graphs of a model that can have some: causal, whole, on one GPU."""
        places = {parameter.device for parameter in setting.model.parameters()}
        one_gpu = len(places) == 1 and next(iter(places)).type == "cuda"
        if not one_gpu or setting.parameters.sharded or not predicts_next_token(setting.model):
            return None
        return cls(setting, reducer, labelled, sampled)

    def score(self, sequence: Batch) -> PassSums | None:
        """The sums of one sequence (a batch of one without padding)."""
        self.sequences += 1
        tokens = sequence.input_ids.shape[1]
        if self.refused is not None or sequence.extra or tokens > LONGEST:
            return None
        if self.sequences == 1:
            return None
        length = padded_length(tokens, self._limit)
        fresh = length not in self._recorded
        try:
            known = self._launched(sequence) if fresh or self._padding_unchecked(tokens, length) else None
            if fresh:
                self._recorded[length] = _Recording(self, length)
            found = self._recorded[length].replay(sequence)
        except RuntimeError as error:
            self._refuse(error)
            return None
        if known is not None and not found.agrees(known, rounding(self.setting.parameters)):
            self._refuse("a graph gives other sums")
            return None
        self._padding_checked |= tokens < length
        self.replayed += 1
        return found

    def _padding_unchecked(self, tokens: int, length: int) -> bool:
        return tokens < length and not self._padding_checked

    def _refuse(self, reason: object) -> None:
        self.refused = str(reason).split("\n", 1)[0]
        self._recorded.clear()
        self._room = None
        for entry in self.setting.parameters.scored:
            entry.parameter.grad = None
        self.reducer.take()

    def _launched(self, sequence: Batch) -> PassSums:
        return launched(self.setting, self.reducer, sequence, self.labelled, self.sampled)

    def notices(self) -> list[Notice]:
        """How many sequences were replayed, and why not all."""
        share = 100 * self.replayed / max(1, self.sequences)
        text = (
            f"{self.replayed} of {counted(self.sequences, 'sequence')} "
            f"({share:.0f}%) were scored by replaying CUDA "
            f"graphs, recorded for {counted(self.lengths, 'length')}"
        )
        text += "" if self.refused is None else f"; the model is not recorded: {self.refused}"
        return [Notice("graphs-replayed", text)]

    def room(self, logits: Tensor) -> Tensor:
        """A place for logits between the two graphs of a sequence: one for all lengths."""
        if self._room is None or self._room.numel() < logits.numel():
            self._room = torch.empty(logits.numel(), dtype=logits.dtype, device=logits.device)
        return self._room[: logits.numel()].view(logits.shape)

    @property
    def pool(self) -> Any:
        """The memory that all graphs share: no two run at once, and none needs what another left."""
        return self._pool

    @property
    def lengths(self) -> int:
        """How many lengths are recorded."""
        return len(self._recorded)


class _Recording:
    """One length: the forward pass and the labelled backward in one graph, the sampled backward in another.

    The labels are drawn between the two, outside a graph, so that they are the very labels of the usual way.
    """

    def __init__(self, graphs: Graphs, length: int) -> None:
        self.setting = graphs.setting
        device = self.setting.device
        self.ids = torch.zeros(1, length, dtype=torch.long, device=device)
        self.target = torch.full((1, length), IGNORED, device=device)
        # A label, so that the mean of the losses exists while nothing but zeros is there.
        self.target[0, 0] = 0
        self.drawn = self.target.clone()
        self.logits: Tensor | None = None
        self.loss: Tensor | None = None
        self.labelled: Tensor | None = None
        self.sampled: Tensor | None = None
        self.first, self.second = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with no_masks():
            self._record(graphs)

    def _record(self, graphs: Graphs) -> None:
        batch = Unmasked(0, 0, self.ids, torch.ones_like(self.ids), self.target)
        with torch.cuda.graph(self.first, pool=graphs.pool):
            logits = self.setting.logits(batch)
            if graphs.labelled:
                loss = mean_loss(token_losses(logits, self.target), self.target)
                loss.backward(retain_graph=graphs.sampled)  # type: ignore[no-untyped-call]
                self.loss, self.labelled = loss.detach().double(), graphs.reducer.take()
            if graphs.sampled:
                self.logits = graphs.room(logits).copy_(logits.detach())
        if graphs.sampled:
            with torch.cuda.graph(self.second, pool=graphs.pool):
                mean_loss(token_losses(logits, self.drawn), self.drawn).backward()  # type: ignore[no-untyped-call]
                self.sampled = graphs.reducer.take()

    def replay(self, sequence: Batch) -> PassSums:
        """The sums of one sequence, in tensors of their own."""
        rest = self.ids.shape[1] - sequence.input_ids.shape[1]
        target = self.setting.target(sequence)
        self.ids.copy_(functional.pad(sequence.input_ids, (0, rest)))
        self.target.copy_(functional.pad(target, (0, rest), value=IGNORED))
        self.first.replay()
        if self.logits is not None:
            generator = self.setting.generator(self.setting.device, 0, sequence.index)
            self.drawn.copy_(sampled_targets(self.logits, self.target, generator))
            self.second.replay()
        # The next replay writes over the graphs' own tensors.
        loss, labelled, sampled = (_copy(tensor) for tensor in (self.loss, self.labelled, self.sampled))
        return PassSums(loss, labelled, sampled)


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()
