"""What is said of whole layers left out: a first one only where it is told, against scipy's paired t test."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from tunescope.questions.importance.bypass import DIFFERENCES
from tunescope.questions.importance.left_out import ALPHA, left_out
from tunescope.questions.importance.measurement import measure
from tunescope.questions.importance.scores import table
from tunescope.questions.importance.streaming import Options

SEQUENCES = 40
FIRST = "more than any other"


def document(cells: np.ndarray) -> dict[str, Any]:
    """Of rises (layers, sequences), what a study of them says: means, errors, errors of distances."""
    n, means = cells.shape[1], cells.mean(axis=1)
    behind = cells[int(means.argmax())] - cells
    rows = [
        {
            "stack": "model", "layer": k, "layer_importance": means[k],
            "layer_importance_stderr": cells[k].std(ddof=1) / np.sqrt(n),
            "layer_importance_behind_stderr": behind[k].std(ddof=1) / np.sqrt(n),
        }
        for k in range(len(cells))
    ]  # fmt: skip
    return {"layers": rows, "summary": {"sequences": n}}


@pytest.mark.parametrize("shared", [0.0, 3.0])
def test_of_noise_no_layer_is_said_to_matter(shared: float) -> None:
    """Of layers that cost nothing, texts scattering apart or together, at most 2 % of studies name one."""
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(1000, 6, SEQUENCES)) + shared * rng.normal(size=(1000, 1, SEQUENCES))
    named = sum("as a whole raises" in left_out(document(each))[0] for each in cells)
    assert stats.binomtest(named, 1000, ALPHA, "greater").pvalue > 0.01


@pytest.mark.parametrize("shared", [0.0, 3.0])
def test_of_equal_layers_none_is_said_to_be_first(shared: float) -> None:
    """Layers that all cost 5: one is called first in at most 2 % of studies, though each is told."""
    rng = np.random.default_rng(1)
    cells = 5 + rng.normal(size=(1000, 6, SEQUENCES)) + shared * rng.normal(size=(1000, 1, SEQUENCES))
    texts = [left_out(document(each))[0] for each in cells]
    assert all("as a whole raises" in text for text in texts)
    first = sum(FIRST in text for text in texts)
    assert stats.binomtest(first, 1000, ALPHA, "greater").pvalue > 0.01


def test_a_lead_in_every_text_is_told_where_texts_differ_more_than_layers() -> None:
    """Texts scatter by 3, the lead of layer 2 by 0.1 about 0.4: scipy's paired test tells it, so do we."""
    rng = np.random.default_rng(2)
    cells = 5 + 3 * rng.normal(size=SEQUENCES) + 0.1 * rng.normal(size=(6, SEQUENCES))
    cells[2] += 0.4
    assert stats.ttest_rel(cells[2], cells[0]).pvalue < ALPHA / 6
    assert stats.ttest_ind(cells[2], cells[0]).pvalue > 0.2
    (text,) = left_out(document(cells))
    assert text.startswith("Leaving out layer 2 as a whole")
    assert FIRST in text


def test_words_where_nothing_and_where_no_first_is_told() -> None:
    noise = np.random.default_rng(3).normal(size=(6, SEQUENCES)) / 100
    (text,) = left_out(document(noise))
    assert text.startswith("No whole layer of 6 layers is told to matter: left out, layer ")
    assert text.endswith("and that is not told from zero.")
    cells = np.array([8.5, 8.49, 1.0, 0.5])[:, None] + noise[:4] * 30
    (text,) = left_out(document(cells))
    assert FIRST not in text
    assert "the most of 4 layers, but not told from layer " in text


def test_where_the_loss_is_lower_without_any_layer_none_is_said_to_raise_it() -> None:
    falls = -np.array([0.5, 0.2, 0.4])[:, None] + np.random.default_rng(3).normal(size=(3, SEQUENCES)) / 100
    (text,) = left_out(document(falls))
    assert "without any one of them the model's loss is lower, least so without layer 1, by 0.2" in text
    assert "raises" not in text


def test_of_one_sequence_nothing_is_told() -> None:
    row = {"stack": "model", "layer_importance_stderr": None, "layer_importance_behind_stderr": None}
    layers = [{**row, "layer": k, "layer_importance": value} for k, value in enumerate((3.0, 0.1))]
    (text,) = left_out({"layers": layers, "summary": {"sequences": 1}})
    assert "No whole layer of 2 layers is told to matter: left out, layer 0 raises" in text


def test_errors_of_distances_are_those_of_models_without_the_layers() -> None:
    """Against losses of models that never had a layer: scipy's standard error of the paired differences."""
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=20, **shape)).double().eval()
    for parameter in model.model.layers.parameters():
        parameter.data *= 5
    ids = torch.randint(0, 20, (6, 9))
    batches = [{"input_ids": ids[:4], "labels": ids[:4]}, {"input_ids": ids[4:], "labels": ids[4:]}]
    options = Options()
    found = measure(model, batches, options)
    rows = table(found, options).meta["summary"]["layers"]
    whole = list(model.model.layers)
    losses = np.array([_losses(model, [e for e in whole if e is not gone], ids) for gone in whole])
    first = int(losses.mean(axis=1).argmax())
    assert found.moments(DIFFERENCES).mean == pytest.approx(
        [(losses[i] - losses[j]).mean() for i, j in ((0, 1), (0, 2), (1, 2))], rel=1e-9
    )
    for row in rows:
        expected = stats.sem(losses[first] - losses[row["layer"]])
        if row["layer"] == first:
            assert row["layer_importance_behind_stderr"] is None
        else:
            assert row["layer_importance_behind_stderr"] == pytest.approx(expected, rel=1e-9)


def _losses(model: LlamaForCausalLM, kept: list[torch.nn.Module], ids: torch.Tensor) -> list[float]:
    model.model.layers = torch.nn.ModuleList(kept)
    model.config.num_hidden_layers = len(kept)
    with torch.no_grad():
        return [
            float(cross_entropy(model(row[None], use_cache=False).logits[0, :-1], row[1:])) for row in ids
        ]
