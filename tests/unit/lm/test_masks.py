"""Batches without padding need no mask: the same attention, without a look at the values."""

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    masking_utils,
)

from tunescope.lm.batches import checked
from tunescope.lm.forward import Forward
from tunescope.lm.masks import Unmasked, needs_no_mask, no_masks

SHAPE = {
    "vocab_size": 13, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 32,
}  # fmt: skip


def _batch(mask=None, **extra):
    ids = torch.arange(12).view(2, 6) % 13
    given = {"input_ids": ids, "labels": ids, **extra}
    return next(iter(checked([given if mask is None else {**given, "attention_mask": mask}])))


def _llama(**options):
    return LlamaForCausalLM(LlamaConfig(**SHAPE, num_key_value_heads=2, **options)).eval()


def _sliding():
    return MistralForCausalLM(MistralConfig(**SHAPE, num_key_value_heads=2, sliding_window=3)).eval()


@pytest.mark.parametrize("model", [_llama(), _llama(attn_implementation="eager"), _sliding()])
def test_without_a_mask_a_model_gives_what_it_gives_with_one_of_ones(model):
    """Two rows, attention by a flag, by a mask of its own, and within a window: to the bit."""
    forward, batch = Forward(model, True), _batch()
    with torch.no_grad():
        expected = forward.logits(batch)
        asked = masking_utils.find_packed_sequence_indices
        with no_masks():
            found = forward.logits(Unmasked(0, 0, batch.input_ids, batch.mask, batch.labels))
    assert torch.equal(found, expected)
    assert masking_utils.find_packed_sequence_indices is asked


class Masked(nn.Module):
    """A causal model that cannot be called without a mask."""

    def forward(self, input_ids, attention_mask):
        return input_ids, attention_mask


@pytest.mark.parametrize(
    ("model", "batch", "expected"),
    [
        (_llama(), _batch(), True),
        (_llama(), _batch(torch.ones(2, 6, dtype=torch.long)), True),
        (_llama(), _batch(torch.tensor([[1] * 6, [1] * 5 + [0]])), False),
        (_llama(), _batch(position_ids=torch.arange(6).expand(2, 6)), False),
        (Masked(), _batch(), False),
        (BertForMaskedLM(BertConfig(**SHAPE)), _batch(), False),
    ],
    ids=["no-mask", "ones", "padding", "positions", "mask-required", "no-causal-model"],
)
def test_a_mask_is_left_out_where_nothing_hangs_on_it(model, batch, expected):
    """Not where there is padding, where positions are given, or where a model asks for a mask."""
    assert needs_no_mask(model, batch) is expected
