"""The batched statistics against NumPy on the same numbers, in float64."""

import numpy as np
import pytest
import torch

from tunescope.training import statistics
from tunescope.training.statistics import low_rank_norms, moments


def by_numpy(now, start):
    delta = now.double().numpy() - start.double().numpy()
    size = np.abs(delta)
    return np.stack([delta.mean(1), delta.var(1), size.mean(1), size.var(1)], axis=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("block", [1 << 24, 100])
def test_moments_equal_numpys(dtype, block, monkeypatch):
    monkeypatch.setattr(statistics, "BLOCK", block)
    torch.manual_seed(0)
    start = torch.randn(3, 401).to(dtype)
    now = (start.double() + 1e-3 * torch.randn(3, 401)).to(dtype)
    np.testing.assert_allclose(moments(now, start), by_numpy(now, start), rtol=1e-10, atol=1e-18)


def test_variance_of_equal_steps_is_not_noise():
    """After one step of Adam every weight has moved by the learning rate, up or down."""
    start = torch.rand(2, 1000, dtype=torch.float64)
    signs = torch.where(torch.rand(2, 1000) < 0.5, -1.0, 1.0).double()
    result = moments(start + 2.0**-12 * signs, start)
    np.testing.assert_allclose(result, by_numpy(start + 2.0**-12 * signs, start), rtol=1e-10, atol=1e-30)


def test_a_tensor_without_elements_has_not_moved():
    assert moments(torch.empty(2, 0), torch.empty(2, 0)).tolist() == [[0.0] * 4] * 2


@pytest.mark.parametrize("step", [1.0, 1e-3, 1e-7])
def test_low_rank_norm_equals_the_dense_one_even_where_hardly_anything_moved(step):
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    A0, B0 = random(4, 3, 50), random(4, 40, 3)
    delta_A, delta_B = step * random(4, 3, 50), step * random(4, 40, 3)
    dense = torch.linalg.matrix_norm(delta_B @ (A0 + delta_A) + B0 @ delta_A)
    result = low_rank_norms(A0 + delta_A, delta_A, delta_B, B0)
    np.testing.assert_allclose(result, dense, rtol=1e-10)


@pytest.mark.parametrize("size", [1e-3, 1e-6, 1e-9])
def test_the_norm_does_not_cancel_where_the_gauge_has_changed(size):
    """B A - B₀ A₀ of factors that a rotation turned, beside which the motion is small."""
    torch.manual_seed(0)
    B0, A0 = torch.randn(3, 40, 4, dtype=torch.float64), torch.randn(3, 4, 30, dtype=torch.float64)
    Q = torch.linalg.qr(torch.randn(3, 4, 4, dtype=torch.float64)).Q
    moved = size * torch.randn_like(B0)
    B, A = (B0 + moved) @ Q, Q.mT @ A0
    found = low_rank_norms(A, A - A0, B - B0, B0)
    torch.testing.assert_close(found, torch.linalg.matrix_norm(moved @ A0), rtol=1e-13 / size, atol=0)
