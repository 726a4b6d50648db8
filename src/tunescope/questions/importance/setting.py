"""What every score is computed with: the model, its rows, its loss, its seed."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tunescope.errors import BadInput
from tunescope.lm.batches import Batch
from tunescope.lm.loss import IGNORED, sequence_losses, targets, token_losses
from tunescope.lm.parameters import Parameters

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Samples:
    """Independent samples of one method: place in the data, weight and values (rows,) of each."""

    method: str
    numbers: list[int]
    weights: list[float]
    values: Array


Scorer = Callable[[Batch], Iterable[Samples]]


@dataclass(frozen=True, eq=False)
class Setting:
    """A model in a scoring session. `shift`: position t predicts token t+1. `seed` fixes every draw."""

    model: nn.Module
    parameters: Parameters
    shift: bool
    seed: int
    skipped: set[int] = field(default_factory=set)

    @cached_property
    def device(self) -> torch.device:
        """Where token ids go: the device of the first parameter."""
        return next(self.model.parameters()).device

    def target(self, batch: Batch) -> Tensor:
        """The label that every position predicts, (batch, seq), on the device of the batch."""
        return targets(batch.labels, batch.mask, self.shift)

    def logits(self, batch: Batch) -> Tensor:
        """The prediction, (batch, seq, vocab); `BadInput` for tokens or positions outside its tables."""
        try:
            output = self.model(**self._accepted(batch.on(self.device).inputs()))
        except IndexError as error:
            raise BadInput(
                "outside-table",
                f"the model has no entry for a token or a position of batch {batch.index}",
                expected="tokens of the model, in sequences within its length",
                found=f"{batch.input_ids.shape[1]} tokens: {error}",
                fix="a smaller --max-length, and the tokenizer that belongs to the model",
            ) from error
        logits: Tensor = getattr(output, "logits", output)
        return logits

    def _accepted(self, inputs: dict[str, Tensor]) -> dict[str, object]:
        accepted = inspect.signature(self.model.forward).parameters
        anything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
        kept: dict[str, object] = {k: v for k, v in inputs.items() if anything or k in accepted}
        # A cache of keys and values would only cost memory.
        return kept | ({"use_cache": False} if "use_cache" in accepted else {})

    def losses(self, batch: Batch, logits: Tensor | None = None) -> Tensor:
        """Token-mean loss of every sequence, (batch,), on the device; NaN where nothing is scored."""
        logits = self.logits(batch) if logits is None else logits
        target = self.target(batch).to(logits.device)
        return sequence_losses(token_losses(logits, target), target)

    def scored_tokens(self, batch: Batch) -> list[int]:
        """How many tokens of every sequence are scored; sequences without any are noted as skipped."""
        counts: list[int] = (self.target(batch) != IGNORED).sum(1).tolist()
        self.skipped.update(batch.first + row for row, count in enumerate(counts) if count == 0)
        return counts

    def generator(self, device: torch.device, *place: int) -> torch.Generator:
        """A generator that depends on the seed and on a place in the data, not on what was drawn before."""
        seed = np.random.SeedSequence([self.seed % 2**32, *place]).generate_state(1, np.uint64)[0]
        return torch.Generator(device).manual_seed(int(seed) % 2**63)
