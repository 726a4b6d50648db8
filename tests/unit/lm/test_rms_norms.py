"""RMS norms are known by what they do, and one kernel gives what six give."""

import pytest
import torch
from torch import nn
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm

from tunescope.lm.rms_norms import fused, rms_norms


def _drawn(module, dtype=torch.bfloat16):
    generator = torch.Generator().manual_seed(3)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator).to(dtype)
    return module


class Doubled(Qwen3RMSNorm):
    """Twice a norm: the name and the parameters of one, and another output."""

    def forward(self, hidden_states):
        return 2 * super().forward(hidden_states)


@pytest.mark.parametrize("kind", [Qwen3RMSNorm, T5LayerNorm, nn.RMSNorm])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_one_kernel_gives_a_norm_within_two_roundings(kind, dtype):
    """Norms of several families, whatever they call their ε, at the ε that they state."""
    module = _drawn(kind(48, eps=1e-3), dtype)
    rows = torch.randn(2, 5, 48, generator=torch.Generator().manual_seed(1)).to(dtype) / 30
    own, norms = module(rows), rms_norms(module)
    assert norms == {module: 1e-3}
    with fused(norms):
        assert "forward" in vars(module)
        found = module(rows)
    assert found.dtype == own.dtype
    torch.testing.assert_close(found, own, rtol=2 * torch.finfo(dtype).eps, atol=0)
    assert "forward" not in vars(module)
    assert torch.equal(module(rows), own)


@pytest.mark.parametrize(
    "module", [Gemma2RMSNorm(48), nn.LayerNorm(48), Doubled(48), nn.BatchNorm1d(48), nn.Linear(48, 48)]
)
def test_what_does_something_else_is_no_rms_norm(module):
    """1 + v, a mean taken off, a factor, running statistics, a product: all are left alone."""
    assert rms_norms(_drawn(module)) == {}


def test_a_norm_that_computes_in_float32_keeps_doing_so_in_float64():
    """One kernel would be more exact, and no longer the model's own."""
    assert rms_norms(_drawn(Qwen3RMSNorm(48), torch.float64)) == {}
    assert len(rms_norms(_drawn(nn.RMSNorm(48, eps=1e-3), torch.float64))) == 1


def test_rows_of_another_type_than_the_weight_go_the_norms_own_way():
    """A float32 weight makes bfloat16 rows float32; the fused kernel would not."""
    module = _drawn(Qwen3RMSNorm(48), torch.float32)
    rows = torch.randn(5, 48).bfloat16()
    with fused(rms_norms(module)):
        assert torch.equal(module(rows), module.weight * _normed(rows))


def _normed(rows):
    wide = rows.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(rows.dtype)


def test_a_norm_whose_forward_something_has_replaced_is_left_alone():
    """Hooks of other libraries stand there, and would be passed by."""
    module = _drawn(Qwen3RMSNorm(48))
    module.forward = module.forward
    assert rms_norms(module) == {}


def test_norms_are_given_back_after_an_error():
    """No replaced `forward` stays behind."""
    module = _drawn(Qwen3RMSNorm(48))
    with pytest.raises(ZeroDivisionError), fused(rms_norms(module)):
        _ = 1 / 0
    assert "forward" not in vars(module)
