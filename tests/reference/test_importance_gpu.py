"""On a GPU: the fused kernel against plain torch, and whole measurements against the CPU's."""

import numpy as np
import pytest
import torch

from tunescope.questions.importance.measurement import Options, measure
from tunescope.questions.importance.reduction import places, reduce_blocked, reduce_into

from .importance_models import llama, mixtral, qwen3, sequences, side_by_side

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is there")
LENGTHS = [9, 14, 6, 11]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("shape", "groups"), [((1,), 1), ((2047,), 1), ((300, 401), 1), ((5, 33, 70), 5), ((128, 64, 96), 128)]
)
def test_the_fused_kernel_gives_the_sums(dtype, shape, groups):
    """Odd sizes, tails, experts and every type: the sums of plain torch on the CPU, twice the same bits."""
    generator = torch.Generator().manual_seed(0)
    g = torch.randn(shape, generator=generator).to(dtype)
    w = torch.randn(shape, generator=generator).to(dtype)
    expected = torch.zeros(groups, 1, 4, dtype=torch.float64)
    reduce_blocked(expected, g, w)
    device = torch.device("cuda")
    found = []
    for _ in range(2):
        out = torch.zeros(groups, places(device, groups), 4, dtype=torch.float64, device=device)
        reduce_into(out, g.to(device), w.to(device))
        found.append(out.sum(1).cpu())
    assert torch.equal(found[0], found[1])
    scale = expected[:, 0].clone()
    scale[:, 1] = scale[:, 0]
    limit = 1e-13 if dtype == torch.float64 else 5e-7
    assert ((found[0] - expected[:, 0]).abs() / scale).max() < limit


@pytest.mark.parametrize("family", [qwen3, llama])
def test_scores_on_the_gpu_are_those_on_the_cpu(family):
    """Every method whose draws do not depend on the device, in float64."""
    batches = side_by_side(sequences(LENGTHS))
    methods = ("taylor", "wanda", "ablation", "magnitude")
    cpu = measure(family(), batches, Options(methods=methods))
    gpu = measure(family().to("cuda"), batches, Options(methods=methods))
    np.testing.assert_allclose(gpu.magnitude, cpu.magnitude, rtol=1e-12)
    for method in ("taylor", "wanda", "ablation", "bypass", "loss"):
        np.testing.assert_allclose(gpu.moments(method).mean, cpu.moments(method).mean, rtol=1e-6, atol=1e-7)
    assert gpu.data_hash == cpu.data_hash


def test_experts_on_the_gpu():
    """A row per expert of a fused tensor, as on the CPU."""
    cpu, gpu = mixtral(torch.float32), mixtral(torch.float32).to("cuda")
    options = Options(layer_importance=False)
    a, b = (measure(model, sequences(LENGTHS), options).moments("taylor") for model in (cpu, gpu))
    np.testing.assert_allclose(b.mean, a.mean, rtol=2e-3, atol=1e-5)


def test_curvature_on_the_gpu_predicts_its_noise():
    """Draws on the device: prediction and measurement still meet."""
    batches = side_by_side(sequences([14, 12, 13, 11] * 4)) * 30
    options = Options(methods=("curvature", "noise"), layer_importance=False, noise_scale=0.02)
    found = measure(qwen3(torch.float32).to("cuda"), batches, options)
    ratio = found.moments("curvature").mean / found.moments("noise").mean
    assert 0.8 < np.median(ratio) < 1.25


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU is there")
def test_a_model_over_two_gpus_scores_as_on_one():
    """Layers on two devices of one process (`device_map`): the same rows, the same sums."""
    from accelerate import dispatch_model

    places = {"model.embed_tokens": 0, "model.rotary_emb": 0, "model.norm": 1, "lm_head": 1}
    places |= {f"model.layers.{i}": int(i > 0) for i in range(3)}
    methods = ("taylor", "ablation")
    one = measure(qwen3().to("cuda:0"), sequences(LENGTHS), Options(methods=methods))
    two = measure(dispatch_model(qwen3(), places), sequences(LENGTHS), Options(methods=methods))
    for method in (*methods, "bypass", "loss"):
        np.testing.assert_allclose(two.moments(method).mean, one.moments(method).mean, rtol=1e-9, atol=1e-12)
