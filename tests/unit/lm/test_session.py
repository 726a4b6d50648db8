"""The scoring session gives a model back exactly as it was."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from tunescope.lm.session import scoring_session


@pytest.fixture
def model():
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)))
    net.train()
    net[2].eval()
    net[0].weight.requires_grad_(False)
    net[0].bias.grad = torch.ones(2)
    return net


def _state(model):
    return (
        [m.training for m in model.modules()],
        [(p.requires_grad, p.grad) for p in model.parameters()],
        torch.get_rng_state().tolist(),
        random.getstate(),
        np.random.get_state()[1].tolist(),
    )


def test_everything_is_restored(model):
    """Modes, flags, gradients and random states survive the session."""
    before = _state(model)
    with scoring_session(model, seed=3) as training:
        assert training == ["", "0", "1"]
        assert not any(m.training for m in model.modules())
        assert all(p.requires_grad and p.grad is None for p in model.parameters())
        model(torch.rand(1, 2)).sum().backward()
        random.random(), np.random.rand()
    assert _state(model) == before


def test_restored_after_an_error(model):
    """An exception inside restores as well."""
    before = _state(model)

    def interrupted():
        with scoring_session(model):
            torch.rand(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert _state(model) == before


def test_the_seed_fixes_the_draws(model):
    """Two sessions with one seed draw the same numbers."""
    draws = []
    for _ in range(2):
        with scoring_session(model, seed=5):
            draws.append((torch.rand(1).item(), random.random(), np.random.rand()))
    assert draws[0] == draws[1]
