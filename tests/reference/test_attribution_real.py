"""Attribution on a published encoder, fine-tuned here with a masked-token loss."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from scipy.stats import spearmanr
from torch import nn
from transformers import AutoModel, AutoTokenizer

from tunescope.questions.attribution.attribution import attribute_batches

TEXTS = (
    "the sea is calm tonight , the tide is full .",
    "a red fox crossed the frozen river before dawn .",
    "the new law was passed by a narrow majority .",
    "she tuned the old piano with a small steel key .",
)


class EncoderForMaskedLM(nn.Module):
    """The encoder with its own embeddings as output layer."""

    def __init__(self, encoder):
        super().__init__()
        self.bert = encoder

    def forward(self, input_ids, attention_mask):
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return hidden @ self.bert.get_input_embeddings().weight.T


def masked(folder):
    """Every fifth token hidden, labels only there."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer(list(TEXTS), return_tensors="pt", padding=True)
    ids, mask = encoded["input_ids"], encoded["attention_mask"]
    chosen = torch.zeros_like(ids, dtype=torch.bool)
    chosen[:, 3::5] = True
    chosen &= (mask == 1) & (ids != tokenizer.sep_token_id)
    labels = ids.masked_fill(~chosen, -100)
    ids = ids.masked_fill(chosen, tokenizer.mask_token_id)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def loss(model, batch):
    logits = model(batch["input_ids"], batch["attention_mask"])
    return nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=-100)


def test_a_published_encoder_s_gain_adds_up(minilm):
    """A LoRA on its attention, merged: 12 cells, their sum the measured gain, put back one at a time."""
    batch = masked(minilm)
    encoder = AutoModel.from_pretrained(minilm, add_pooling_layer=False).float().eval()
    base = EncoderForMaskedLM(encoder)
    torch.manual_seed(0)
    adapted = get_peft_model(
        copy.deepcopy(encoder), LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value"])
    )
    model = EncoderForMaskedLM(adapted)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    for _ in range(10):
        optimiser.zero_grad()
        loss(model, batch).backward()
        optimiser.step()
    tuned = EncoderForMaskedLM(adapted.merge_and_unload())
    table = attribute_batches(tuned, [batch], base=base, nodes=8, put_back=6)
    summary = table.summary
    with torch.no_grad():
        assert summary["gain"] == pytest.approx((loss(base, batch) - loss(tuned, batch)).item(), rel=1e-4)
    assert summary["gain"] > 0
    assert summary["converged"]
    assert sorted(set(table.frame["module_type"])) == ["attention.self.query", "attention.self.value"]
    assert table.frame.height == 12
    checks = table.verification.to_dicts()
    pairs = [(row["attribution"], row["measured"]) for row in checks]
    expected = spearmanr(*zip(*pairs, strict=True)).statistic
    assert summary["verification"]["spearman"] == pytest.approx(expected)
