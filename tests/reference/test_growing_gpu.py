"""On a GPU: what makes the growing batch of Layer Importance fast, against what it replaces."""

import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
)
from transformers.models.qwen3 import modeling_qwen3

from tunescope.lm import gates, rotary
from tunescope.lm.batches import checked
from tunescope.lm.forward import Forward
from tunescope.lm.parameters import parameters_of
from tunescope.lm.session import scoring_session
from tunescope.questions.importance.ablation import Loss
from tunescope.questions.importance.blocks import blocks_of
from tunescope.questions.importance.bypass import Bypass
from tunescope.questions.importance.measurement import Options, measure
from tunescope.questions.importance.setting import Setting

from .importance_models import llama, qwen3, sequences

if torch.cuda.is_available():
    from tunescope.lm.triton_gate import gated
    from tunescope.lm.triton_norm import normed

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is there")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("heads", "keys", "size", "tables"), [(4, 2, 16, 1), (5, 2, 24, 3), (32, 8, 128, 1)])
def test_fused_rotations_are_those_of_the_models_to_the_bit(dtype, heads, keys, size, tables):
    """Odd numbers of heads, sizes that are no power of two, one table for all rows or one for each."""
    q, k = (torch.randn(3, 7, n, size, device="cuda", dtype=dtype).transpose(1, 2) for n in (heads, keys))
    cos, sin = torch.randn(2, tables, 7, size, device="cuda", dtype=dtype)
    found = rotary.rotaries(qwen3(dtype).to("cuda"), q.device)
    assert list(found) == [modeling_qwen3.__name__]
    with rotary.fused(found):
        mine = modeling_qwen3.apply_rotary_pos_emb(q, k, cos, sin)
        if tables == 1:
            expanded = (table.expand(3, 7, size) for table in (cos, sin))
            assert torch.equal(modeling_qwen3.apply_rotary_pos_emb(q, k, *expanded)[0], mine[0])
    for one, other in zip(mine, modeling_qwen3.apply_rotary_pos_emb(q, k, cos, sin), strict=True):
        assert torch.equal(one, other)
        assert one.stride() == other.stride()


def test_rotations_of_other_forms_are_left_alone():
    """Pairs beside each other (Cohere) and halves of a head (GPT-NeoX) are not what the kernel does."""
    shape = {"vocab_size": 23, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    cohere = CohereForCausalLM(CohereConfig(**shape, num_attention_heads=4, pad_token_id=0)).to("cuda")
    neox = GPTNeoXForCausalLM(GPTNeoXConfig(**shape, num_attention_heads=4)).to("cuda", torch.bfloat16)
    ids = torch.arange(9, device="cuda")[None]
    assert rotary.rotaries(cohere, ids.device) == {}
    with torch.no_grad():
        own = neox(ids).logits
        with rotary.fused(rotary.rotaries(neox, ids.device)):
            assert torch.equal(neox(ids).logits, own)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_fused_norms_are_as_far_from_float64_as_the_blocks_own(dtype):
    """Layer Importance in one batch and by one hook after another: neither is nearer to the truth."""
    data = sequences([40] * 8)

    def rises(model, **plain):
        parameters = parameters_of(model)
        scorer = Bypass(Setting(Forward(model, True), parameters, 0), blocks_of(model, parameters))
        with torch.no_grad():
            samples = [sample for batch in checked(data) for sample in scorer(batch)]
        assert scorer.growing is not None
        assert len(scorer.growing.norms) == (0 if plain else 13)
        return np.stack([sample.values for sample in samples])

    truth = measure(qwen3().to("cuda"), data, Options(methods=("magnitude",))).moments("bypass").mean
    fused = rises(qwen3(dtype).to("cuda")).mean(0).ravel()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tunescope.lm.rms_norms.rms_norms", lambda _model: {})
        own = rises(qwen3(dtype).to("cuda"), plain=True).mean(0).ravel()
    limit = 4 * torch.finfo(dtype).eps * np.abs(truth).max()
    assert np.abs(fused - truth).max() <= 2 * np.abs(own - truth).max() + limit


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1,), (3, 4097), (2, 64, 96)])
def test_the_fused_gate_is_that_of_torch_to_the_bit(dtype, shape):
    """Tails, values for which SiLU is nothing, overflows and NaN."""
    gate, up = 6 * torch.randn(2, *shape, device="cuda").to(dtype)
    gate.view(-1)[:4] = torch.tensor([float("-inf"), float("nan"), -100.0, 100.0]).to(gate)[: gate.numel()]
    torch.testing.assert_close(gated(gate, up), functional.silu(gate) * up, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("family", [qwen3, llama])
def test_gated_units_are_known_by_what_they_do(family):
    """Every block's, with the same output to the bit; not with another activation, and not on a CPU."""
    model = family(torch.bfloat16).to("cuda")
    found = gates.gates(model)
    assert found == [layer.mlp for layer in model.model.layers]
    rows = torch.randn(3, 7, 16, device="cuda", dtype=torch.bfloat16)
    with torch.no_grad():
        own = found[0](rows)
        with gates.fused(found):
            assert torch.equal(found[0](rows), own)
    assert "forward" not in vars(found[0])
    found[0].act_fn = torch.nn.GELU()
    assert gates.gates(model) == found[1:]
    assert gates.gates(family(torch.bfloat16)) == gates.gates(family().to("cuda")) == []


def test_gates_of_other_forms_are_left_alone():
    """Gemma's gate is no SiLU."""
    shape = {"vocab_size": 23, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    gemma = Gemma2ForCausalLM(Gemma2Config(**shape, num_attention_heads=4, num_key_value_heads=2, head_dim=4))
    assert gates.gates(gemma.to("cuda", torch.bfloat16)) == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 1), (5, 3, 33), (2, 7, 32, 128), (9, 512)])
def test_short_norms_are_rounded_once(dtype, shape):
    """Half a unit in the last place from float64, as one rounding is, and what float32 adds."""
    x, weight = torch.randn(shape, device="cuda").to(dtype), torch.randn(shape[-1], device="cuda").to(dtype)
    expected = functional.rms_norm(x.double(), weight.shape, weight.double(), 1e-5)
    near = 0.51 * torch.finfo(dtype).eps
    tiny = torch.finfo(dtype).smallest_normal
    torch.testing.assert_close(normed(x, weight, 1e-5).double(), expected, rtol=near, atol=tiny)


def test_work_is_launched_ahead_of_the_gpu():
    """However many parts the streams go in, the host waits for the GPU only where their losses are read."""
    model = qwen3(torch.bfloat16).to("cuda")
    parameters = parameters_of(model)
    for budget in (None, 1):
        with scoring_session(model):
            setting = Setting(Forward(model, True), parameters, 0)
            scorers = [Bypass(setting, blocks_of(model, parameters), budget), Loss(setting)]
            first, second = checked(sequences([12, 12]))
            _ = [samples.values for scorer in scorers for samples in scorer(first)]
            assert scorers[0].growing is not None
            with warnings.catch_warnings():
                # It warns of being a prototype.
                warnings.simplefilter("ignore")
                torch.cuda.set_sync_debug_mode("error")
            try:
                found = [samples for scorer in scorers for samples in scorer(second)]
                with pytest.raises(RuntimeError, match="synchroniz"):
                    _ = found[0].values
            finally:
                torch.cuda.set_sync_debug_mode("default")
        assert [samples.values.shape for samples in found] == [(1, 3), (1, 1)]
