"""Inputs that would give a wrong number quietly: refused, or mended so that they do not."""

import numpy as np
import polars as pl
import pytest
import scipy.stats
import torch
from torch import nn
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

from tunescope.errors import BadInput, UsageError
from tunescope.lm.pretrained import load_model
from tunescope.questions.importance.measurement import Options, measure
from tunescope.questions.importance.scores import score_parameters

from .importance_models import llama, mixtral, qwen3, sequences

ALONE = {"layer_importance": False}


def _gpt2(positions):
    torch.manual_seed(0)
    sizes = {"vocab_size": 13, "n_embd": 8, "n_layer": 2, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(**sizes, n_positions=positions)).double().eval()


@pytest.mark.parametrize(
    "options",
    [
        Options(methods=("noise",), noise_scale=1e-12),
        Options(seed=2**63),
        Options(seed=-1),
    ],
)
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(UsageError, match="out-of-range"):
        measure(qwen3(), sequences([9, 8]), options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_noise_that_float32_would_round_away_is_refused(dtype):
    """At a ten-thousandth the divergence, which is quadratic, is all rounding error."""
    options = Options(methods=("noise",), noise_scale=1e-4, **ALONE)
    with pytest.raises(UsageError, match="rounding of torch"):
        measure(qwen3(dtype), sequences([9]), options)


def test_broken_weights_are_named():
    """The message of a loss that is NaN says in which tensor it came in."""
    model = qwen3()
    model.model.layers[1].mlp.up_proj.weight.data[2, 3] = torch.nan
    with pytest.raises(BadInput, match=r"layers\.1\.mlp\.up_proj\.weight"):
        measure(model, sequences([9]), Options())


def test_magnitude_of_broken_weights_is_refused_where_no_loss_sees_them():
    """A parameter outside the loss may be NaN without a trace in it; its Σ|w| would be an empty cell."""
    model = qwen3()
    model.register_parameter("spare", nn.Parameter(torch.full((2,), torch.inf)))
    with pytest.raises(BadInput, match="1 tensor holds NaN or infinity"):
        measure(model, sequences([9]), Options(methods=("magnitude",), **ALONE))


def test_a_token_that_the_model_does_not_know_is_refused():
    """Tokenizer and model do not belong together: said before the embedding is asked."""
    batches = sequences([9, 8])
    batches[1]["input_ids"][0, 3] = 23
    with pytest.raises(BadInput, match="token-range"):
        measure(qwen3(), batches, Options())


def test_positions_that_the_model_does_not_have_are_refused():
    """A sequence longer than a table of positions is bad input, not a bug."""
    ids = torch.ones(1, 5, dtype=torch.long)
    with pytest.raises(BadInput, match="outside-table"):
        measure(_gpt2(4), [{"input_ids": ids, "labels": ids}], Options())


@pytest.mark.parametrize("left", [False, True])
def test_padding_does_not_matter_to_absolute_positions(left):
    """GPT-2 counts positions from the first column: padding before the tokens must not shift them."""
    model, options = _gpt2(16), Options(methods=("taylor", "ablation"))
    long = torch.randint(0, 13, (1, 9), generator=torch.Generator().manual_seed(2))
    short = long[:, :5]
    pad = (4, 0) if left else (0, 4)
    ids = torch.cat([long, functional.pad(short, pad, value=3)])
    mask = torch.cat([torch.ones_like(long), functional.pad(torch.ones_like(short), pad)])
    apart = measure(model, [{"input_ids": x, "labels": x} for x in (long, short)], options)
    together = measure(model, [{"input_ids": ids, "attention_mask": mask, "labels": ids}], options)
    for method in ("loss", "taylor", "ablation", "bypass"):
        np.testing.assert_allclose(
            together.moments(method).mean, apart.moments(method).mean, rtol=1e-9, atol=1e-12
        )


def test_a_tensor_that_two_layers_share_is_ablated_by_itself():
    """Zeroing it takes away more than its own block's branch, so it stands in no class of that block."""
    model, batches = llama(), sequences([9, 8])
    shared = model.model.layers[0].mlp.up_proj.weight
    model.model.layers[2].mlp.up_proj.weight = shared
    found = measure(model, batches, Options(methods=("ablation",), **ALONE))
    kept = shared.detach().clone()
    rises = []
    with torch.no_grad():
        for batch in batches:
            before = _loss(model, batch)
            shared.zero_()
            rises.append(_loss(model, batch) - before)
            shared.copy_(kept)
    row = found.parameters.row_of("model.layers.0.mlp.up_proj.weight").first
    assert found.moments("ablation").mean[row] == pytest.approx(np.mean(rises), rel=1e-9)


def _loss(model, batch):
    logits = model(batch["input_ids"]).logits[0, :-1]
    return float(functional.cross_entropy(logits, batch["labels"][0, 1:]))


def test_scoring_works_inside_inference_mode():
    """Whoever evaluates under no gradients gets the same scores, and stays in that mode."""
    model, batches = qwen3(), sequences([9, 8])
    expected = score_parameters(model, batches, "taylor").frame
    with torch.inference_mode():
        assert score_parameters(model, batches).frame.equals(expected)
        assert torch.is_inference_mode_enabled()


@pytest.mark.parametrize("batch", [1, "text", [1, 2]])
def test_a_batch_that_is_no_mapping_is_refused(batch):
    with pytest.raises(BadInput, match="batch-keys"):
        score_parameters(qwen3(), [batch])


def test_mixtures_of_experts_load_in_float64(tmp_path):
    """The fused products of their experts have no float64: another path is chosen for it."""
    mixtral(torch.float32).save_pretrained(tmp_path)
    narrow, wide = (
        measure(load_model(tmp_path, dtype), sequences([9]), Options(**ALONE)).moments("taylor").mean
        for dtype in ("float32", "float64")
    )
    np.testing.assert_allclose(wide, narrow, rtol=1e-3)


def test_the_correlation_with_size_is_that_of_the_map():
    """Over the map's cells: inside layers, experts of a tensor added up."""
    table = score_parameters(mixtral(torch.float32), sequences([9, 8]), layer_importance=False)
    cells = (
        table.frame.filter(pl.col("layer").is_not_null())
        .group_by("layer", "parameter")
        .agg(pl.col("score").sum(), pl.col("numel").sum())
    )
    expected = scipy.stats.spearmanr(cells["score"], cells["numel"]).statistic
    assert table.meta["summary"]["methods"]["taylor"]["spearman_numel"] == pytest.approx(expected)
