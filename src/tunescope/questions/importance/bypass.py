"""`bypass`: how much the loss rises without a block, the `Layer Importance` of the tables."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from tunescope.errors import BadInput, Notice
from tunescope.lm.batches import Batch
from tunescope.questions.importance.blocks import Block, bypassed
from tunescope.questions.importance.growing import Growing, NotAChain
from tunescope.questions.importance.passes import rounding
from tunescope.questions.importance.setting import Samples, Setting, taken

DIFFERENCES = "bypass differences"
# What a model may raise whose blocks cannot take several streams at once; that it was this and not the data
# shows when the blocks are left out one by one.
_REFUSALS = (NotAChain, RuntimeError, ValueError, TypeError, LookupError, AttributeError, BadInput)


class Bypass:
    """Samples of loss(block bypassed) − loss, paired per sequence, for every block, and of the differences
    between two blocks, in the order of `itertools.combinations`.

    All blocks are left out in one growing batch (see `Growing`), once that has given the loss that a hook on
    one block gives for the first batch; in a model where it does not, each is left out by its hook in turn.
    """

    def __init__(self, setting: Setting, blocks: list[Block], budget: int | None = None) -> None:
        self.setting, self.blocks, self.budget = setting, blocks, budget
        self.growing: Growing | None = None
        self._decided = False

    def __call__(self, batch: Batch) -> Iterator[Samples]:
        kept = [row for row, count in enumerate(self.setting.scored_tokens(batch)) if count]
        if not kept:
            return
        with torch.no_grad():
            before, without = self._losses(batch)
            rises = taken(without, kept).double() - taken(before, kept).double()
        numbers = [batch.first + row for row in kept]
        yield Samples("bypass", numbers, [1.0] * len(kept), rises.T)
        first, second = torch.triu_indices(len(rises), len(rises), 1, device=rises.device)
        yield Samples(DIFFERENCES, numbers, [1.0] * len(kept), (rises[first] - rises[second]).T)

    def notices(self) -> list[Notice]:
        """That it took the long way, where it did."""
        if self.growing is not None or not self._decided:
            return []
        text = "Layer Importance left the blocks out one by one: they are no chain that one batch goes down"
        return [Notice("blocks-one-by-one", text)]

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Losses of the sequences, (batch,), and without each block, (blocks, batch)."""
        if not self._decided:
            self._decided = True
            chain, block, known = self._tried(batch)
            growing = Growing(self.setting, chain, self.budget) if chain else None
            found = None if growing is None else self._grown(growing, batch)
            if found is not None and self._agree(found[1][self.blocks.index(block)], known):
                self.growing = growing
                return found
        found = None if self.growing is None else self._grown(self.growing, batch)
        return self._one_by_one(batch) if found is None else found

    def _tried(self, batch: Batch) -> tuple[list[Block], Block, Tensor]:
        """The blocks in the order of their calls, none where one is called twice; one block, and the loss
        without it."""
        called: list[Block] = []
        block = self.blocks[len(self.blocks) // 2]
        with ExitStack() as stack:
            for each in self.blocks:
                handle = each.module.register_forward_pre_hook(_noting(called, each))
                stack.callback(handle.remove)
            with bypassed(block):
                known = self.setting.losses(batch)
        return called if len(set(called)) == len(called) else [], block, known

    def _grown(self, growing: Growing, batch: Batch) -> tuple[Tensor, Tensor] | None:
        try:
            before, without = growing.losses(batch)
        except _REFUSALS:
            return None
        # What the model never calls is missed by no loss.
        of = dict(zip(growing.chain, without, strict=True))
        return before, torch.stack([of.get(block, before) for block in self.blocks])

    def _agree(self, one: Tensor, other: Tensor) -> bool:
        """Whether losses agree within the rounding of the model, NaN (nothing scored) for NaN.

        A stream that took another way is off by more: it lacks a block, or went through one twice.
        """
        near = rounding(self.setting.parameters)
        return torch.allclose(one.double(), other.double(), rtol=near, atol=near, equal_nan=True)

    def _one_by_one(self, batch: Batch) -> tuple[Tensor, Tensor]:
        before = self.setting.losses(batch)
        without = []
        for block in self.blocks:
            with bypassed(block):
                without.append(self.setting.losses(batch))
        return before, torch.stack(without)


def _noting(called: list[Block], block: Block) -> Any:
    def note(module: object, inputs: object) -> None:
        del module, inputs
        called.append(block)

    return note
