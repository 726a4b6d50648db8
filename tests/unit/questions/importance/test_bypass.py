"""Layer Importance from one growing batch: the same numbers as leaving each block out by a hook."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from tunescope.errors import BadInput
from tunescope.lm.batches import checked
from tunescope.lm.forward import Forward
from tunescope.lm.parameters import parameters_of
from tunescope.lm.session import scoring_session
from tunescope.questions.importance.blocks import blocks_of, bypassed
from tunescope.questions.importance.bypass import Bypass
from tunescope.questions.importance.setting import Setting

SHAPE = {
    "vocab_size": 13, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 5,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4, "max_position_embeddings": 32,
}  # fmt: skip


def _scattered(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.data = torch.randn(p.shape, generator=generator) * 0.4 + (p.dim() == 1)
    return model.double().eval()


def qwen3() -> nn.Module:
    return _scattered(Qwen3ForCausalLM(Qwen3Config(**SHAPE)))


def llama_eager() -> nn.Module:
    return _scattered(LlamaForCausalLM(LlamaConfig(**SHAPE, attn_implementation="eager")))


def gpt2() -> nn.Module:
    return _scattered(GPT2LMHeadModel(GPT2Config(vocab_size=13, n_embd=16, n_layer=5, n_head=2)))


def bert() -> nn.Module:
    sizes = {k: v for k, v in SHAPE.items() if k not in ("num_key_value_heads", "head_dim")}
    return _scattered(BertForMaskedLM(BertConfig(**sizes)))


class Looped(nn.Module):
    """Blocks of which one is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(13, 8)
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(8, 8)) for _ in range(3)])
        self.head = nn.Linear(8, 13)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.table(input_ids)
        for place in (0, 1, 1, 2):
            x = x + self.layers[place](x).tanh()
        return self.head(x)


class Skipping(Looped):
    """A block that is never called, and a head that reads what an early block gave out."""

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        first = self.layers[0](self.table(input_ids))
        return self.head(self.layers[1](first) * first.mean(0, keepdim=True).tanh())


def _data(lengths: list[int]) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    width = max(lengths)
    ids = torch.randint(0, 13, (len(lengths), width), generator=generator)
    mask = (torch.arange(width)[None] < torch.tensor(lengths)[:, None]).long()
    return [{"input_ids": ids, "attention_mask": mask, "labels": ids}]


def _measured(model: nn.Module, data: list[dict[str, torch.Tensor]], **options: Any) -> tuple[Any, Any]:
    """Every block's rises, (sequences, blocks), by `Bypass` and by one hook after another."""
    parameters = parameters_of(model)
    blocks = blocks_of(model, parameters)
    with scoring_session(model):
        setting = Setting(Forward(model, True), parameters, 0)
        scorer = Bypass(setting, blocks, **options)
        found, expected = [], []
        for batch in checked(data):
            found += [samples.values for samples in scorer(batch) if samples.method == "bypass"]
            with torch.no_grad():
                before = setting.losses(batch)
                rises = []
                for block in blocks:
                    with bypassed(block):
                        rises.append(setting.losses(batch) - before)
            expected.append(torch.stack(rises, 1).numpy())
    return scorer, (np.concatenate(found), np.concatenate(expected))


@pytest.mark.parametrize("lengths", [[9], [4, 9, 7]])
@pytest.mark.parametrize("family", [qwen3, llama_eager, gpt2, bert])
def test_the_growing_batch_gives_what_each_hook_gives(family, lengths):
    """One sequence, or several with padding; masks and positions go with every stream."""
    scorer, (found, expected) = _measured(family(), _data(lengths))
    assert scorer.growing is not None
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert np.abs(expected).max() > 1e-3


@pytest.mark.parametrize("budget", [1, 4_000, 20_000])
def test_any_budget_gives_the_same_numbers(budget):
    """Streams one at a time, in groups that start further down, or all at once."""
    _, (found, expected) = _measured(qwen3(), _data([4, 9, 7]), budget=budget)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_no_block_sees_more_tokens_than_the_budget_allows():
    """With room for two streams the widest call holds two; without a budget it holds all of them."""
    widest = {}
    for budget in (2 * 9 * 16 * 8 * 24, 1 << 30):
        model, seen = qwen3(), []
        for layer in model.model.layers:
            layer.mlp.register_forward_pre_hook(lambda _m, args, seen=seen: seen.append(args[0].shape[0]))
        _measured(model, _data([9]), budget=budget)
        widest[budget] = max(seen)
    assert list(widest.values()) == [2, 5]


def test_a_block_takes_its_streams_in_parts_of_one_size():
    """Five streams where four would fit go as two and three: a call with one of them would cost as much."""
    model, seen = qwen3(), []
    model.model.layers[4].mlp.register_forward_pre_hook(lambda _m, args: seen.append(args[0].shape[0]))
    _, (found, expected) = _measured(model, _data([9]), budget=4 * 9 * 16 * 8 * 24)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert sorted(seen)[-2:] == [2, 3]


def test_blocks_cost_half_of_leaving_each_out_by_itself():
    """L blocks: (L + 1)/2 passes through them for a batch, not L + 1."""
    model, passes = qwen3(), []
    for layer in model.model.layers:
        layer.mlp.register_forward_pre_hook(lambda _m, args: passes.append(args[0].shape[0]))
    parameters = parameters_of(model)
    with scoring_session(model):
        scorer = Bypass(Setting(Forward(model, True), parameters, 0), blocks_of(model, parameters))
        first, second = checked(_data([9]) * 2)
        list(scorer(first))
        passes.clear()
        list(scorer(second))
    assert sum(passes) == 5 * 6 / 2


@pytest.mark.parametrize("kind", [Looped, Skipping])
def test_models_that_are_no_chain_are_left_out_block_by_block(kind):
    """A block called twice, or a head that reads an earlier block: the hooks' numbers all the same."""
    scorer, (found, expected) = _measured(_scattered(kind()), _data([9]))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert scorer.growing is None
    if kind is Skipping:
        assert (found[:, 2] == 0).all()


def test_an_encoder_and_its_decoder_are_left_out_block_by_block():
    """The decoder's blocks also need what the encoder gives: two stacks are no chain."""
    sizes = {"vocab_size": 13, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4}
    model = _scattered(T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0)))
    data = _data([6])
    data[0]["decoder_input_ids"] = data[0]["input_ids"].clone()
    scorer, (found, expected) = _measured(model, data)
    assert scorer.growing is None
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_a_block_that_changes_the_shape_is_refused():
    """No residual stream passes a block that narrows it."""

    class Narrowing(Looped):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Sequential(nn.Linear(8, 4)), nn.Sequential(nn.Linear(4, 8))])

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.layers[1](self.layers[0](self.table(input_ids))))

    with pytest.raises(BadInput, match="cannot-bypass"):
        _measured(Narrowing().double(), _data([9]))


def test_the_blocks_are_given_back_as_they_were():
    """No replaced `forward` is left, also where an instance had its own."""
    model = qwen3()
    own = model.model.layers[2].forward
    model.model.layers[2].forward = own
    _measured(model, _data([9]))
    assert [vars(layer).get("forward") for layer in model.model.layers] == [None, None, own, None, None]
