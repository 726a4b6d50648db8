"""Scores belong to the function: norms that multiply by 1 + v are scored as the weight 1 + v."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GemmaConfig,
    GemmaForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from tunescope.lm.norms import weight_offsets
from tunescope.questions.importance.scores import score_parameters

from .importance_models import _SHAPE, sequences

METHODS = ("taylor", "curvature", "fisher", "magnitude", "ablation", "noise")


class Plain(nn.Module):
    """The same norm with w = 1 + v stored."""

    def __init__(self, norm):
        super().__init__()
        self.norm = [norm]
        self.weight = nn.Parameter(1 + norm.weight.detach())

    def forward(self, x):
        return torch.func.functional_call(self.norm[0], {"weight": self.weight - 1}, (x,))


def _gemma():
    return GemmaForCausalLM(GemmaConfig(**_SHAPE))


def _gemma2():
    return Gemma2ForCausalLM(Gemma2Config(**_SHAPE, sliding_window=8, query_pre_attn_scalar=4))


def _qwen3_next():
    return Qwen3NextForCausalLM(
        Qwen3NextConfig(
            **_SHAPE, num_experts=0, linear_num_value_heads=2, linear_num_key_heads=2,
            linear_key_head_dim=4, linear_value_head_dim=4, layer_types=["full_attention"] * 3,
        )
    )  # fmt: skip


@pytest.mark.parametrize("make", [_gemma, _gemma2, _qwen3_next])
def test_scores_are_those_of_the_same_function_with_plain_norms(make):
    torch.manual_seed(0)
    model = make().double().eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    offsets = weight_offsets(model)
    assert offsets == {n: 1.0 for n, _ in model.named_parameters() if n.endswith("norm.weight")}
    plain = copy.deepcopy(model)
    for name in offsets:
        path = name.removesuffix(".weight")
        parent, _, last = path.rpartition(".")
        setattr(plain.get_submodule(parent), last, Plain(model.get_submodule(path)))
    tables = [
        score_parameters(each, sequences([9, 12]), METHODS, layer_importance=False).frame
        for each in (model, plain)
    ]
    assert tables[0]["parameter"].to_list() == tables[1]["parameter"].to_list()
    np.testing.assert_allclose(tables[0]["score"], tables[1]["score"], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("scale", [0.05, 0.01])
def test_noise_in_bfloat16_is_that_of_the_same_weights_in_float32(scale):
    torch.manual_seed(0)
    narrow = _gemma().bfloat16().eval()
    wide = copy.deepcopy(narrow).float()
    before = {name: tensor.clone() for name, tensor in narrow.state_dict().items()}
    scores = [
        score_parameters(
            each, sequences([9, 12]), ("noise",), layer_importance=False, noise_scale=scale
        ).frame["score"]
        for each in (narrow, wide)
    ]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-3)
    assert all(torch.equal(before[name], tensor) for name, tensor in narrow.state_dict().items())
    assert {parameter.dtype for parameter in narrow.parameters()} == {torch.bfloat16}
