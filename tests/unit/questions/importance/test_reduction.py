"""The four sums of a gradient and its weight."""

import os
import subprocess
import sys

import pytest
import torch

from tunescope.questions.importance.reduction import places, reduce_into


def _exact(g, w):
    g, w = g.double(), w.double()
    p = g * w
    return torch.stack([p.abs().sum(), p.sum(), g.square().sum(), p.square().sum()])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_sums_are_exact(dtype):
    """More elements than one block, every type, against float64."""
    generator = torch.Generator().manual_seed(0)
    g = torch.randn(300, 301, generator=generator).to(dtype)
    w = torch.randn(300, 301, generator=generator).to(dtype)
    out = torch.zeros(1, 1, 4, dtype=torch.float64)
    reduce_into(out, g, w)
    scale = _exact(g, w)
    scale[1] = scale[0]
    assert ((out[0, 0] - _exact(g, w)).abs() / scale).max() < 1e-8


def test_half_precision_squares_do_not_underflow():
    """float16 gradients of 1e-5 have squares that float16 cannot hold; the sums hold them."""
    g = torch.full((1000,), 1e-5, dtype=torch.float16)
    out = torch.zeros(1, 1, 4, dtype=torch.float64)
    reduce_into(out, g, torch.ones(1000, dtype=torch.float16))
    assert out[0, 0, 2].item() == pytest.approx(1000 * float(g[0]) ** 2, rel=1e-6)


def test_groups_split_the_first_axis():
    """Experts are summed apart, and calls add up."""
    g, w = torch.randn(3, 5, 7), torch.randn(3, 5, 7)
    out = torch.zeros(3, 1, 4, dtype=torch.float64)
    for _ in range(2):
        reduce_into(out, g, w)
    expected = 2 * torch.stack([_exact(g[i], w[i]) for i in range(3)])
    torch.testing.assert_close(out[:, 0], expected, rtol=1e-6, atol=1e-6)


def test_strided_and_sparse_gradients():
    """A transposed gradient and the sparse one of an embedding are summed like any other."""
    w = torch.randn(4, 6)
    g = torch.randn(6, 4).t()
    out = torch.zeros(2, 1, 4, dtype=torch.float64)
    reduce_into(out[:1], g, w)
    torch.testing.assert_close(out[0, 0], _exact(g, w), rtol=1e-6, atol=1e-6)
    reduce_into(out[1:], torch.eye(4, 6).to_sparse(), w)
    torch.testing.assert_close(out[1, 0], _exact(torch.eye(4, 6), w), rtol=1e-6, atol=1e-6)


def test_places_fit_into_their_budget():
    """One place on the CPU; on a GPU fewer for each row where rows are many."""
    assert places(torch.device("cpu"), 10) == 1
    assert places(torch.device("cuda"), 400) == 1056
    assert places(torch.device("cuda"), 50_000) * 50_000 * 32 <= 64 << 20


def test_the_engine_needs_no_frames():
    """The engine imports where polars is not installed, as on a machine that only scores."""
    code = (
        "import sys; sys.modules['polars'] = None; sys.modules['matplotlib'] = None\n"
        "import tunescope.questions.importance.measurement, tunescope.questions.importance.reducer"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONWARNINGS": "ignore"})
