"""Norms that multiply by 1 + v are known by what they do."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from tunescope.lm.norms import weight_offsets
from tunescope.lm.parameters import parameters_of


class Norm(nn.Module):
    """Root-mean-square norm that multiplies by `shift` + v, whatever it is called."""

    def __init__(self, shift, bias=False, name="scale"):
        super().__init__()
        self.shift, self.name = shift, name
        self.register_parameter(name, nn.Parameter(torch.randn(6)))
        self.bias = nn.Parameter(torch.randn(6)) if bias else None

    def forward(self, x):
        normed = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)
        return (
            normed * (self.shift + getattr(self, self.name).float()) + (0 if self.bias is None else self.bias)
        ).to(x)


class Shifted(nn.LayerNorm):
    """LayerNorm with 1 + v."""

    def forward(self, x):
        return functional.layer_norm(x, self.normalized_shape, self.weight + 1, self.bias, self.eps)


class InFront(Norm):
    """A norm of what is multiplied by `shift` + v, so that a change of the whole of v changes nothing."""

    def forward(self, x):
        scaled = x.float() * (self.shift + self.scale.float())
        return (scaled * torch.rsqrt(scaled.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x)


class Gated(nn.Module):
    """A norm that needs a second input."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6))

    def forward(self, x, gate):
        return x * (1 + self.weight) * gate


class Added(nn.Module):
    """No product: a vector that is added."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6))

    def forward(self, x):
        return 1 + self.weight + x


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_only_what_multiplies_by_a_constant_plus_v_has_an_offset(dtype):
    model = nn.ModuleDict(
        {
            "gemma": Norm(1.0),
            "biased": Norm(1.0, bias=True, name="g"),
            "plain": Norm(0.0),
            "shifted": Shifted(6),
            "layer": nn.LayerNorm(6),
            "in_front": InFront(1.0),
            "plain_in_front": InFront(0.0),
            "gated": Gated(),
            "added": Added(),
            "linear": nn.Linear(6, 6),
            "table": nn.Embedding(6, 6),
        }
    ).to(dtype)
    assert weight_offsets(model) == {
        "gemma.scale": 1.0, "biased.g": 1.0, "shifted.weight": 1.0, "in_front.scale": 1.0,
    }  # fmt: skip


def test_the_applied_weights_are_those_of_the_function():
    model = nn.Sequential(Norm(1.0).bfloat16())
    (entry,) = parameters_of(model).scored
    stored = entry.part(0)
    assert torch.equal(entry.applied(stored), 1 + stored.float())
    assert entry.applied(stored).dtype == torch.float32


def test_modules_that_differ_in_a_number_are_each_asked():
    model = nn.ModuleList([Norm(1), Norm(0), Norm(1), Norm(0.5)])
    assert weight_offsets(model) == {"0.scale": 1.0, "2.scale": 1.0, "3.scale": 0.5}


def test_modules_alike_are_asked_once(monkeypatch):
    asked = []
    monkeypatch.setattr("tunescope.lm.norms._offset", lambda module, *_: asked.append(module) or 1.0)
    assert len(weight_offsets(nn.ModuleList([Norm(1) for _ in range(4)] + [Norm(0)]))) == 5
    assert len(asked) == 2
