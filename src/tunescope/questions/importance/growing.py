"""The losses without each block of a chain, from one batch that grows down the network."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from tunescope.lm import gates, rms_norms, rotary
from tunescope.lm.batches import Batch
from tunescope.lm.loss import sequence_losses, token_losses
from tunescope.lm.masks import ahead
from tunescope.questions.importance.blocks import Block
from tunescope.questions.importance.setting import Setting

# Bytes that the streams and the work on them may take beside the model. On a CPU little, for what stays in
# cache is faster.
BUDGET = {"cuda": 2 << 30, "cpu": 64 << 20}
# Tensors of the width of the residual stream that a block makes for each token, about.
_WIDTHS = 24

Forward = Callable[..., Any]
# What a block returns beside the hidden state, by its place; None where it returns that state alone.
Forms = dict[int, tuple[Any, ...] | None]


class NotAChain(Exception):
    """The blocks do not hand one hidden state on from each to the next, once each."""


class Growing:
    """The loss without each block, without running what comes before the block again.

    The batch that enters block k holds the plain stream and the streams whose block was left out before: a
    block that is left out adds a copy of its input to its output. L blocks cost (L + 1)/2 passes through the
    blocks, and L + 1 through the head. A block takes as many streams at a time as `budget` bytes allow, and
    where all streams would not fit they go down in groups, each from where its first block is. On a GPU RMS
    norms, gates and rotary embeddings are one kernel each (the norms' results differ by rounding),
    and nothing is read on the host before the losses are, so that all work is launched ahead.
    """

    def __init__(self, setting: Setting, chain: Sequence[Block], budget: int | None = None) -> None:
        self.setting, self.chain = setting, chain
        kind = "cuda" if setting.device.type == "cuda" else "cpu"
        self.budget = BUDGET[kind] if budget is None else budget
        self.norms = rms_norms.rms_norms(setting.model) if kind == "cuda" else {}
        self.gates = gates.gates(setting.model) if kind == "cuda" else []
        self.rotaries = rotary.rotaries(setting.model, setting.device) if kind == "cuda" else {}

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Losses of the batch's sequences, (batch,), and without each block of the chain, (blocks, batch).

        Raises `NotAChain` where blocks or what is between them mix streams or need more than their input.
        """
        with (
            rms_norms.fused(self.norms),
            gates.fused(self.gates),
            rotary.fused(self.rotaries),
            ahead(self.setting.model, batch, self.setting.device) as there,
        ):
            return self._losses(there)

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        target = self.setting.target(batch)
        without: list[Tensor] = []
        plain: Tensor | None = None
        start: Tensor | None = None
        forms: Forms = {}
        while len(without) < len(self.chain):
            run = _Descent(self, len(batch), len(without), start, forms)
            with _replaced(self.chain, run.through):
                logits = self.setting.logits(batch)
            if run.ended is None or logits.shape[:2] != target.shape:
                raise NotAChain
            plain = self._of(logits, target)[0] if plain is None else plain
            streams = max(1, self.budget // (2 * logits.nbytes))
            del logits
            for some in torch.split(run.ended, streams * len(batch)):
                with _replaced(self.chain, run.to_the_end(some)):
                    without += self._of(self.setting.logits(batch), target)
            start = run.next_start
        assert plain is not None
        return plain, torch.stack(without)

    def _of(self, logits: Tensor, target: Tensor) -> list[Tensor]:
        """The sequence losses of every stream."""
        streams = logits.shape[0] // len(target)
        target = target.to(logits.device).repeat(streams, 1)
        return list(sequence_losses(token_losses(logits, target), target).view(streams, -1))

    def held(self, hidden: Tensor, rows: int) -> int:
        """How many streams may be held at once: each twice, for a block's input and output."""
        return max(1, self.budget // (2 * hidden[:rows].nbytes) - 1)

    def at_once(self, hidden: Tensor, rows: int) -> int:
        """How many streams a block takes at a time."""
        values = _WIDTHS * hidden[0].numel()
        config: Any = getattr(self.setting.model, "config", None)
        if getattr(config, "_attn_implementation", None) == "eager":
            values += 3 * getattr(config, "num_attention_heads", 1) * hidden.shape[1] ** 2
        return max(1, self.budget // (rows * values * hidden.element_size()))


class _Descent:
    """One way down of a group of streams: those whose block is `first` or one of the next in the chain."""

    def __init__(self, growing: Growing, rows: int, first: int, start: Tensor | None, forms: Forms) -> None:
        self.growing, self.rows, self.first, self.start, self.forms = growing, rows, first, start, forms
        self.next_start: Tensor | None = None
        self.ended: Tensor | None = None
        self._end = len(growing.chain)
        self._streams = 1
        self._at = 0

    def through(self, place: int, forward: Forward) -> Forward:
        """The block at a place of the chain for all streams that come to it, its own among them."""

        def grown(*args: Any, **kwargs: Any) -> Any:
            hidden: Tensor = args[0] if args else kwargs["hidden_states"]
            if place != self._at or not isinstance(hidden, Tensor):
                raise NotAChain
            self._at += 1
            if place < self.first:
                return self._formed(place, hidden)
            if place == self.first:
                hidden = hidden if self.start is None else self.start
                self._end = min(self._end, place + self.growing.held(hidden, self.rows))
            if hidden.shape[0] != self._streams * self.rows:
                raise NotAChain
            if place == self._end:
                self.next_start = hidden[: self.rows].clone()
            return self._formed(place, self._after(place, forward, hidden, args, kwargs))

        return grown

    def _after(self, place: int, forward: Forward, hidden: Tensor, args: Any, kwargs: Any) -> Tensor:
        """What leaves the block: every stream, one more of them where the block is of this group."""
        calls = -(-self._streams // self.growing.at_once(hidden, self.rows))
        parts = [
            self._block(place, forward, some.flatten(0, 1), args, kwargs)
            for some in hidden.reshape(-1, self.rows, *hidden.shape[1:]).tensor_split(calls)
        ]
        if place < self._end:
            parts.append(hidden[: self.rows])
            self._streams += 1
        whole = torch.cat(parts)
        if place + 1 == len(self.growing.chain):
            # The head takes the streams a few at a time: its logits are by far the largest tensor.
            self.ended = whole[self.rows :]
            return whole[: self.rows]
        return whole

    def _block(self, place: int, forward: Forward, some: Tensor, args: Any, kwargs: Any) -> Tensor:
        streams = some.shape[0] // self.rows
        others = {k: self._repeated(v, streams) for k, v in kwargs.items() if k != "hidden_states"}
        if args:
            output = forward(some, *(self._repeated(value, streams) for value in args[1:]), **others)
        else:
            output = forward(hidden_states=some, **others)
        first = output if isinstance(output, Tensor) else output[0]
        rest = None if first is output else tuple(output[1:])
        if first.shape != some.shape or any(isinstance(value, Tensor) for value in rest or ()):
            raise NotAChain
        self.forms[place] = rest
        return first

    def _repeated(self, value: Any, streams: int) -> Any:
        """A block's other argument, for so many copies of the batch."""
        if isinstance(value, tuple | list):
            return type(value)([self._repeated(item, streams) for item in value])
        if isinstance(value, Tensor) and value.dim() > 1 and value.shape[0] == self.rows and streams > 1:
            return value[None].expand(streams, *value.shape).flatten(0, 1)
        return value

    def _formed(self, place: int, hidden: Tensor) -> Any:
        rest = self.forms[place]
        return hidden if rest is None else (hidden, *rest)

    def to_the_end(self, some: Tensor) -> Callable[[int, Forward], Forward]:
        """Every block passes on what it gets, and the last of the chain gives out `some` streams."""

        def replacement(place: int, forward: Forward) -> Forward:
            del forward

            def passing(*args: Any, **kwargs: Any) -> Any:
                hidden: Tensor = args[0] if args else kwargs["hidden_states"]
                last = place + 1 == len(self.growing.chain)
                return self._formed(place, some if last else hidden)

            return passing

        return replacement


@contextmanager
def _replaced(chain: Sequence[Block], replacement: Callable[[int, Forward], Forward]) -> Iterator[None]:
    """The model with the `forward` of every block of the chain replaced."""
    with ExitStack() as stack:
        for place, block in enumerate(chain):
            before = vars(block.module).get("forward")
            stack.callback(_put_back, block.module, before)
            block.module.forward = replacement(place, block.module.forward)
        yield


def _put_back(module: Any, before: Forward | None) -> None:
    if before is None:
        vars(module).pop("forward", None)
    else:
        module.forward = before
