"""A model's forward pass as everything that scores text takes it: which tokens are scored, and their loss."""

import inspect
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tunescope.errors import BadInput
from tunescope.lm.batches import Batch
from tunescope.lm.loss import IGNORED, predicts_next_token, sequence_losses, targets, token_losses


@dataclass(frozen=True, eq=False)
class Forward:
    """`model` on batches; `shift`: position t predicts token t+1."""

    model: nn.Module
    shift: bool

    @classmethod
    def of(cls, model: nn.Module, shift: bool | None = None) -> "Forward":
        """The forward pass of a model, causal or masked as its class says unless `shift` is given."""
        return cls(model, predicts_next_token(model) if shift is None else shift)

    @property
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

    def losses(self, batch: Batch, logits: Tensor | None = None) -> Tensor:
        """Token-mean loss of every sequence, (batch,), on the device; NaN where nothing is scored."""
        logits = self.logits(batch) if logits is None else logits
        target = self.target(batch).to(logits.device)
        return sequence_losses(token_losses(logits, target), target)

    def nats(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Summed loss and number of scored tokens of every sequence, both (batch,) in float64."""
        logits = self.logits(batch)
        target = self.target(batch).to(logits.device)
        return token_losses(logits, target).double().sum(1), (target != IGNORED).sum(1).double()

    def _accepted(self, inputs: dict[str, Tensor]) -> dict[str, object]:
        accepted = inspect.signature(self.model.forward).parameters
        anything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
        kept: dict[str, object] = {k: v for k, v in inputs.items() if anything or k in accepted}
        # A cache of keys and values would only cost memory.
        return kept | ({"use_cache": False} if "use_cache" in accepted else {})


def vocabulary_of(model: nn.Module) -> int | None:
    """How many tokens the model embeds, where it says so."""
    try:
        table = model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        return None
    count = getattr(table, "num_embeddings", None)
    return count if isinstance(count, int) else None
