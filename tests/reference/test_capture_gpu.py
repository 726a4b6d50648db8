"""On a GPU: the moments' kernel against float64 on the CPU, and replayed statistics against launched ones."""

import numpy as np
import pytest
import torch
from torch import nn

from tunescope.training.gathered import Gathered
from tunescope.training.motion import Motion
from tunescope.training.replay import Replay
from tunescope.training.statistics import delta_moments, moments
from tunescope.training.trainable import trainable

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is there")


class Adapted(nn.Module):
    """A linear layer's LoRA pair, named and scaled as PEFT does."""

    def __init__(self, inside: int, outside: int, rank: int = 4) -> None:
        super().__init__()
        self.lora_A = nn.ModuleDict({"default": nn.Linear(inside, rank, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(rank, outside, bias=False)})
        self.scaling, self.r = {"default": 2.0}, {"default": rank}


class Model(nn.Module):
    """Pairs of three shapes, full weights and biases."""

    def __init__(self, rank: int = 4) -> None:
        super().__init__()
        shapes = [(40, 24, 4), (40, 24, 4), (24, 72, 2), (3000, 1700, rank), (3000, 1700, rank)]
        self.layers = nn.ModuleList(
            [nn.ModuleDict({"self_attn": nn.ModuleDict({"q_proj": Adapted(*shape)})}) for shape in shapes]
        )
        self.norm, self.head = nn.LayerNorm(33), nn.Linear(33, 5)


def _moved(model: nn.Module, by: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by * torch.randn_like(parameter))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (3, 1023), (5, 70_001), (2, 1 << 20)])
def test_the_kernel_gives_the_moments(dtype, shape):
    """Every size and type, twice the same bits; what Adam's first step gives, |Δ| all one value, too."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=generator).to(dtype)
    for now in (start + torch.randn(shape, generator=generator).to(dtype), start + 2**-6):
        expected = delta_moments(now.double() - start.double())
        found = [moments(now.cuda(), start.cuda()).cpu() for _ in range(2)]
        assert torch.equal(*found)
        torch.testing.assert_close(found[0], expected, rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rank", [3, 4, 16, 24, 40])
def test_replayed_statistics_are_the_launched_ones(rank, dtype, zero):
    """At every later place of the weights, with B from zero or not, and as measured on the CPU."""
    torch.manual_seed(0)
    model = Model(rank).to("cuda", dtype)
    if zero:
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data.zero_()
    parts = trainable(model)
    start = {name: parameter.detach().clone() for name, parameter in parts.parameters.items()}
    motion = Motion(parts, start)
    replay = Replay.of(motion)
    assert replay is not None
    for _ in range(3):
        _moved(model, 1e-3)
        reading = replay.launch()
        np.testing.assert_allclose(reading.values, motion.measure(), rtol=1e-11)
        assert reading.seconds > 0
    host = Model(rank).to(dtype)
    host.load_state_dict({name: value.cpu() for name, value in model.state_dict().items()})
    on_cpu = Motion(trainable(host), {name: value.cpu() for name, value in start.items()}).measure()
    np.testing.assert_allclose(reading.values, on_cpu, rtol=1e-9)


def test_a_change_of_gauge_alone_is_measured_the_long_way():
    """B and A rescaled against one another leave ΔW at zero: the replay says what QRs of its copies say."""
    torch.manual_seed(0)
    model = Model().cuda()
    parts = trainable(model)
    motion = Motion(parts, {name: p.detach().clone() for name, p in parts.parameters.items()})
    replay = Replay.of(motion)
    assert replay is not None
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora" in name:
                parameter.mul_(1.5 if "lora_A" in name else 1 / 1.5)
    reading = replay.launch()
    expected = motion.measure()
    np.testing.assert_array_equal(reading.values, expected)
    assert (reading.values[:, -1] >= 0).all()


def test_a_weight_that_was_put_elsewhere_ends_the_replay():
    """A graph reads the places where it was recorded, so it is asked whether they still hold."""
    model = Model().cuda()
    parts = trainable(model)
    replay = Replay.of(Motion(parts, {n: p.detach().clone() for n, p in parts.parameters.items()}))
    assert replay is not None
    assert replay.holds()
    model.head.weight.data = model.head.weight.data.clone()
    assert not replay.holds()


def test_a_model_on_the_host_is_not_recorded():
    """Nor one whose start is too large for the device."""
    parts = trainable(Model())
    assert Replay.of(Motion(parts, {n: p.detach().clone() for n, p in parts.parameters.items()})) is None


def test_shapes_and_ranks_are_measured_at_once():
    """Two ranks of a model are two kernels; one too large for a kernel's registers is measured by groups."""
    small, large = (
        Gathered.of(Motion(parts, dict(parts.parameters)))
        for parts in (trainable(Model(rank).cuda()) for rank in (32, 33))
    )
    assert small is not None
    assert large is None
