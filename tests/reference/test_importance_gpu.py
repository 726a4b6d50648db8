"""On a GPU: the fused kernel against plain torch, and whole measurements against the CPU's."""

import numpy as np
import pytest
import torch

from tunescope.lm.loss import IGNORED, blocked_losses
from tunescope.questions.importance.graphs import LONGEST, Graphs, padded_length
from tunescope.questions.importance.measurement import Options, measure
from tunescope.questions.importance.reduction import places, reduce_blocked, reduce_into

from .importance_models import llama, mixtral, qwen3, sequences, side_by_side

if torch.cuda.is_available():
    from tunescope.lm.triton_loss import fused_losses

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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("vocabulary", [1, 17, 4096, 32001])
def test_the_fused_loss_is_the_loss(dtype, vocabulary):
    """Tails, ignored rows, logits of ±inf and NaN: the losses of float64 log-softmax."""
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(301, vocabulary, generator=generator).to(dtype).cuda()
    target = torch.randint(0, vocabulary, (301,), generator=generator).cuda()
    target[::7] = IGNORED
    logits[5, 0], logits[6], logits[8, -1] = float("-inf"), float("nan"), float("inf")
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    found = fused_losses(logits, target, IGNORED, wide)
    expected = blocked_losses(logits.double(), target, IGNORED, torch.float64)
    assert torch.equal(found.isnan(), expected.isnan())
    assert (found[::7] == 0).all()
    near = 1e-14 if dtype == torch.float64 else 4e-6
    torch.testing.assert_close(found.double(), expected, rtol=near, atol=near, equal_nan=True)


def test_a_label_outside_the_vocabulary_has_no_loss():
    """NaN, and not what lies behind the row in memory."""
    found = fused_losses(torch.zeros(2, 5).cuda(), torch.tensor([5, 4]).cuda(), IGNORED, torch.float32)
    assert found[0].isnan()
    assert found[1].item() == pytest.approx(np.log(5))


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


GRADIENT = ("taylor", "curvature", "fisher")


def _both_ways(monkeypatch, model, batches, **options):
    """One measurement with graphs and one without."""
    options = Options(layer_importance=False, **options)
    graphs = measure(model, batches, options)
    monkeypatch.setattr(Graphs, "for_model", classmethod(lambda *_: None))
    return graphs, measure(model, batches, options)


@pytest.mark.parametrize("methods", [GRADIENT, ("taylor",), ("fisher",)])
@pytest.mark.parametrize("family", [qwen3, llama])
def test_recorded_passes_give_the_sums_of_launched_ones(monkeypatch, family, methods):
    """Lengths that differ, padded to one graph: every score, error, loss and drawn label as without."""
    graphs, launched = _both_ways(monkeypatch, family().to("cuda"), sequences(LENGTHS * 3), methods=methods)
    assert any("11 of 12 sequences (92%)" in str(notice) for notice in graphs.notices), graphs.notices
    for method in (*methods, "loss") if "taylor" in methods else methods:
        one, other = graphs.moments(method), launched.moments(method)
        np.testing.assert_allclose(one.mean, other.mean, rtol=1e-9)
        np.testing.assert_allclose(one.stderr(), other.stderr(), rtol=1e-6)
    assert graphs.unreached == launched.unreached


def test_recorded_passes_in_bfloat16(monkeypatch):
    """In half precision the two ways differ by its rounding only."""
    model = qwen3(torch.bfloat16).to("cuda")
    graphs, launched = _both_ways(monkeypatch, model, sequences([64, 60, 33] * 4))
    one, other = graphs.moments("taylor").mean, launched.moments("taylor").mean
    assert np.abs(one - other).sum() < 0.01 * other.sum()
    assert any("11 of 12" in str(notice) for notice in graphs.notices), graphs.notices


def test_a_batch_of_several_records_its_labelled_passes(monkeypatch):
    """Side by side: taylor one by one from graphs, the drawn labels of the batch from Python."""
    batches = side_by_side(sequences(LENGTHS)) * 2
    graphs, launched = _both_ways(monkeypatch, qwen3().to("cuda"), batches, methods=GRADIENT)
    for method in GRADIENT:
        np.testing.assert_allclose(graphs.moments(method).mean, launched.moments(method).mean, rtol=1e-9)
    assert any("7 of 8" in str(notice) for notice in graphs.notices), graphs.notices


def test_models_that_cannot_be_recorded_score_all_the_same(monkeypatch):
    """A forward pass that reads its values on the host: refused by the recorder, scored from Python."""
    model = qwen3().to("cuda")
    layer = model.model.layers[1]
    layer.register_forward_pre_hook(lambda _m, args: float(args[0].detach().sum()) and None)
    graphs, launched = _both_ways(monkeypatch, model, sequences(LENGTHS), methods=GRADIENT)
    for method in GRADIENT:
        np.testing.assert_allclose(graphs.moments(method).mean, launched.moments(method).mean, rtol=1e-12)
    assert any("0 of 4" in str(n) and "not recorded" in str(n) for n in graphs.notices), graphs.notices


def test_a_model_that_sees_its_padding_is_not_recorded(monkeypatch):
    """Attention to what follows would reach the padding: the first padded sequence tells."""
    model = qwen3().to("cuda")
    for layer in model.model.layers:
        layer.self_attn.is_causal = False
    graphs, launched = _both_ways(monkeypatch, model, sequences([64, 30, 33]))
    np.testing.assert_allclose(graphs.moments("taylor").mean, launched.moments("taylor").mean, rtol=1e-12)
    assert any("not recorded" in str(notice) for notice in graphs.notices), graphs.notices


def test_experts_are_recorded_or_not_with_the_same_scores(monkeypatch):
    """A mixture of experts sends tokens by their values."""
    model = mixtral(torch.float32).to("cuda")
    graphs, launched = _both_ways(monkeypatch, model, sequences(LENGTHS))
    np.testing.assert_allclose(
        graphs.moments("taylor").mean, launched.moments("taylor").mean, rtol=1e-4, atol=1e-6
    )


def test_sequences_beyond_the_longest_graph_are_launched(monkeypatch):
    """Nothing is recorded where the GPU is the bottleneck anyway."""
    monkeypatch.setattr("tunescope.questions.importance.graphs.LONGEST", 10)
    found = measure(qwen3().to("cuda"), sequences(LENGTHS), Options(layer_importance=False))
    assert any("1 of 4 sequences" in str(notice) for notice in found.notices)
    assert padded_length(LONGEST, None) == LONGEST
