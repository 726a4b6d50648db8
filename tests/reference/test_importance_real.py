"""Scores of models that were really trained: the demo model, and a published encoder from outside."""

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn
from torch.nn import functional

from tunescope.demo import domain_paths, model_path
from tunescope.linalg.ranks import spearman
from tunescope.lm.pretrained import load_model, load_tokenizer
from tunescope.lm.texts import read_batches
from tunescope.questions.importance.measurement import Options, measure
from tunescope.questions.importance.scores import score_parameters


@pytest.fixture(scope="module")
def demo():
    """Scores of the demo model on texts of its own domain, with measured noise beside them."""
    model = load_model(model_path())
    batches, _ = read_batches(
        domain_paths()["python"], load_tokenizer(model_path()), sequences=4, max_length=64, batch_size=2
    )
    return score_parameters(model, batches, ("taylor", "curvature", "noise"))


def _scores(table, method):
    return table.frame.filter(pl.col("method") == method)["score"].to_numpy()


def test_curvature_predicts_measured_noise(demo):
    """Predicted against measured KL of jittered tensors: 0.8 to 1.25 in the median, and in the same order."""
    predicted, measured = _scores(demo, "curvature"), _scores(demo, "noise")
    assert 0.8 < np.median(predicted / measured) < 1.25
    assert spearman(predicted, measured) > 0.9
    # Σ|g·w| does not rank that damage: the reason for two maps side by side.
    assert spearman(_scores(demo, "taylor"), measured) < 0.5


def test_the_map_covers_every_parameter(demo):
    """Each of the model's tensors has one row per method, and Layer Importance one row per layer."""
    model = load_model(model_path())
    for method in ("taylor", "curvature", "noise"):
        rows = demo.frame.filter(pl.col("method") == method)
        assert rows.height == len(list(model.named_parameters()))
        assert rows["numel"].sum() == sum(p.numel() for p in model.parameters())
        assert rows["share"].sum() == pytest.approx(1)
        assert rows.filter(pl.col("layer").is_not_null())["normalized"].max() == pytest.approx(1)
    layers = demo.frame.filter(pl.col("parameter") == "Layer Importance")
    assert layers["method"].unique().to_list() == ["bypass"]
    assert layers["layer"].to_list() == list(range(10))
    assert (layers["score"] > 2 * layers["stderr"]).sum() >= 8


def test_the_summary_says_how_far_to_trust_the_maps(demo):
    """Halves agree; taylor follows tensor size and curvature does not."""
    methods = demo.meta["summary"]["methods"]
    assert methods["taylor"]["split_half_spearman"] > 0.95
    assert methods["taylor"]["spearman_numel"] > 0.8
    assert abs(methods["curvature"]["spearman_numel"]) < 0.5
    assert methods["curvature"]["spearman_noise"] > methods["taylor"]["spearman_noise"]
    assert 1 < demo.meta["summary"]["loss"] < 5


class MaskedEncoder(nn.Module):
    """A published sentence encoder as a masked language model: tied output, one affine map trained here."""

    def __init__(self, encoder):
        super().__init__()
        self.bert = encoder
        self.transform = nn.Linear(encoder.config.hidden_size, encoder.config.hidden_size)
        nn.init.eye_(self.transform.weight)

    def forward(self, input_ids, attention_mask):
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.transform(hidden) @ self.bert.embeddings.word_embeddings.weight.T


_TEXTS = (
    "the capital of france is paris , a city on the river seine .",
    "water boils at one hundred degrees at the level of the sea .",
    "she opened the window because the room had become too warm .",
    "the train to the north leaves every morning at half past six .",
    "a function returns a value , and a procedure does not .",
    "he planted three apple trees behind the old stone house .",
)


def _masked(tokenizer):
    """Every sixth token of each text hidden, labels only there."""
    encoded = tokenizer(list(_TEXTS), return_tensors="pt", padding=True)
    ids, mask = encoded["input_ids"], encoded["attention_mask"]
    hidden = torch.zeros_like(ids, dtype=torch.bool)
    hidden[:, 3::5] = True
    hidden &= (mask == 1) & (ids != tokenizer.sep_token_id)
    labels = ids.masked_fill(~hidden, -100)
    ids = ids.masked_fill(hidden, tokenizer.mask_token_id)
    return [{"input_ids": ids, "attention_mask": mask, "labels": labels}]


@pytest.fixture(scope="module")
def encoder(minilm):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    torch.manual_seed(0)
    model = MaskedEncoder(transformers.AutoModel.from_pretrained(minilm, add_pooling_layer=False).float())
    batches = _masked(tokenizer)
    optimiser = torch.optim.Adam(model.transform.parameters(), lr=3e-3)
    model.eval()
    for _ in range(12):
        optimiser.zero_grad()
        _own_loss(model, batches[0]).backward()
        optimiser.step()
    model.zero_grad(set_to_none=True)
    return model, batches


def _own_loss(model, batch):
    logits = model(batch["input_ids"], batch["attention_mask"])
    return functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=-100)


def test_a_published_encoder_with_a_masked_loss(encoder):
    """Taylor equals the plain loop with torch's own loss on every tensor; every layer is scored."""
    model, batches = encoder
    found = measure(model, batches, Options(methods=("taylor", "curvature"), shift=False))
    totals = {name: 0.0 for name, _ in model.named_parameters()}
    for row in range(len(_TEXTS)):
        length = int(batches[0]["attention_mask"][row].sum())
        model.zero_grad(set_to_none=True)
        _own_loss(model, {k: v[row : row + 1, :length] for k, v in batches[0].items()}).backward()
        for name, p in model.named_parameters():
            totals[name] += float((p.grad.double() * p.detach().double()).abs().sum()) / len(_TEXTS)
    expected = np.array(list(totals.values()))
    np.testing.assert_allclose(found.moments("taylor").mean, expected, rtol=2e-4, atol=1e-8)
    rows = found.parameters.rows
    assert {row.layer for row in rows} == {None, *range(6)}
    assert {row.stack for row in rows if row.layer is not None} == {"encoder"}
    assert "attention.self.query" in {row.parameter for row in rows}
    assert len(found.blocks) == 6
    # A key's bias moves all scores of a query alike, which the softmax does not see.
    key_bias = [i for i, row in enumerate(rows) if row.parameter == "attention.self.key.bias"]
    others = [i for i in range(len(rows)) if i not in key_bias]
    for method in ("taylor", "curvature"):
        mean = found.moments(method).mean
        assert mean[key_bias].max() < 1e-3 * np.median(mean[others])
        assert (mean[others] > 0).all()
