"""What every score is computed with: the model, its rows, its loss, its seed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tunescope.lm.batches import Batch
from tunescope.lm.forward import Forward
from tunescope.lm.loss import IGNORED
from tunescope.lm.parameters import Parameters

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Samples:
    """Independent samples of one method: place in the data, weight and values (rows,) of each.

    What is `given` as a tensor is read when `values` are first asked for: until then a GPU may be at it.
    """

    method: str
    numbers: list[int]
    weights: list[float]
    given: Array | Tensor

    @cached_property
    def values(self) -> Array:
        """The values, (samples, rows)."""
        return self.given.cpu().numpy() if isinstance(self.given, Tensor) else self.given


Scorer = Callable[[Batch], Iterable[Samples]]


def taken(losses: Tensor, rows: list[int]) -> Tensor:
    """The losses (..., batch) of some rows; of all without an index, which a GPU would be waited for."""
    return losses if len(rows) == losses.shape[-1] else losses[..., rows]


@dataclass(frozen=True, eq=False)
class Setting:
    """A model in a scoring session; `seed` fixes every draw."""

    forward: Forward
    parameters: Parameters
    seed: int
    skipped: set[int] = field(default_factory=set)

    @property
    def model(self) -> nn.Module:
        """The model itself."""
        return self.forward.model

    @cached_property
    def device(self) -> torch.device:
        """Where token ids go: the device of the first parameter."""
        return self.forward.device

    def target(self, batch: Batch) -> Tensor:
        """The label that every position predicts, (batch, seq), on the device of the batch."""
        return self.forward.target(batch)

    def logits(self, batch: Batch) -> Tensor:
        """The prediction, (batch, seq, vocab)."""
        return self.forward.logits(batch)

    def losses(self, batch: Batch, logits: Tensor | None = None) -> Tensor:
        """Token-mean loss of every sequence, (batch,), on the device; NaN where nothing is scored."""
        return self.forward.losses(batch, logits)

    def scored_tokens(self, batch: Batch) -> list[int]:
        """How many tokens of every sequence are scored; sequences without any are noted as skipped."""
        counts: list[int] = (self.target(batch) != IGNORED).sum(1).tolist()
        self.skipped.update(batch.first + row for row, count in enumerate(counts) if count == 0)
        return counts

    def generator(self, device: torch.device, *place: int) -> torch.Generator:
        """A generator that depends on the seed and on a place in the data, not on what was drawn before."""
        seed = np.random.SeedSequence([self.seed % 2**32, *place]).generate_state(1, np.uint64)[0]
        return torch.Generator(device).manual_seed(int(seed) % 2**63)
