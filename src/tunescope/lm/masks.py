"""Passes over sequences without padding: no mask is given, and the host never waits to look at one."""

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tunescope.lm.batches import Batch
from tunescope.lm.loss import predicts_next_token


class Unmasked(Batch):
    """A batch without padding to mask, on the device where it is; a token sees none behind it."""

    def inputs(self) -> dict[str, Tensor]:
        """The ids alone."""
        return {"input_ids": self.input_ids}

    def on(self, device: torch.device | str) -> "Batch":
        """Itself: a recorded pass reads the place where it was recorded."""
        del device
        return self


def needs_no_mask(model: nn.Module, batch: Batch) -> bool:
    """Whether nothing of the batch is padding, and the model is causal and can be called without a mask."""
    if batch.extra or not predicts_next_token(model) or not bool((batch.mask != 0).all()):
        return False
    given = inspect.signature(model.forward).parameters.get("attention_mask")
    return given is None or given.default is not inspect.Parameter.empty


@contextmanager
def ahead(model: nn.Module, batch: Batch, device: torch.device) -> Iterator[Batch]:
    """The batch on `device`, for passes that are launched on a GPU without the host waiting for it.

    Where that needs a batch without a mask and this one can go without, it is `Unmasked`.
    """
    unmasked = device.type == "cuda" and needs_no_mask(model, batch)
    batch = batch.on(device)
    if not unmasked:
        yield batch
        return
    with no_masks():
        yield Unmasked(batch.index, batch.first, batch.input_ids, batch.mask, batch.labels)


# How transformers' masks ask whether positions and padding can be read, and what they read of positions.
_QUESTIONS = {"is_tracing": False, "find_packed_sequence_indices": None}


@contextmanager
def no_masks() -> Iterator[None]:
    """With the attention of a pass whose mask is seen to hide nothing: causal by a flag, without a mask.

    While a graph is recorded transformers cannot look whether positions or padding ask for a mask, and makes
    one to be sure, with which attention takes three times as long; while work is launched ahead of the GPU,
    every look waits for all of it. For batches of `Unmasked`, whose positions count from zero.
    """
    masks: Any = sys.modules.get("transformers.masking_utils")
    before = {name: getattr(masks, name) for name in _QUESTIONS if hasattr(masks, name)}
    try:
        for name in before:
            setattr(masks, name, _answer(_QUESTIONS[name]))
        yield
    finally:
        for name, question in before.items():
            setattr(masks, name, question)


def _answer(value: object) -> Any:
    def answer(*inputs: object) -> object:
        del inputs
        return value

    return answer
