"""An integral ends when its cells have converged, or when only noise is left; nodes are paid for once."""

import numpy as np
import pytest
import torch

from tunescope.lm.batches import checked
from tunescope.questions.attribution.integral import integrate
from tunescope.questions.attribution.quadrature import nodes, place, sizes, weights

BATCHES = list(checked([{"input_ids": [[1, 2]], "labels": [[1, 2]]}] * 4))


class Known:
    """A path whose cells have the derivatives that are given as functions of α."""

    def __init__(self, *cells, noise=0.0, epsilon=2.0**-23, level=3.0):
        self.cells, self.noise, self.epsilon, self.level = cells, noise, epsilon, level
        self.moved = np.ones(len(cells))
        self.evaluated = []
        self._random = np.random.default_rng(0)
        grid = np.linspace(0, 1, 20_001)
        self._change = [np.trapezoid([cell(a) for a in grid], grid) for cell in cells]

    def place(self, alpha):
        self.alpha = float(alpha)

    def losses(self, batch):
        loss = self.level + (sum(self._change) if self.alpha else 0.0)
        return torch.tensor([loss], dtype=torch.float64), torch.ones(1, dtype=torch.float64)

    def derivatives(self, batch):
        self.evaluated.append(self.alpha)
        exact = np.array([cell(self.alpha) for cell in self.cells])
        return torch.tensor((exact + self.noise * self._random.standard_normal(len(exact)))[None])


@pytest.mark.parametrize("size", [1, 3, 5, 9, 17, 33, 65])
def test_a_set_of_nodes_is_exact_for_polynomials_of_its_size_and_holds_the_set_before(size):
    points, w = np.array([place(node) for node in nodes(size)]), weights(size)
    for degree in range(size + 1):
        assert w @ points**degree == pytest.approx(1 / (degree + 1), rel=1e-12)
    if size > 1:
        before = max(n for n in sizes(size - 1))
        assert set(nodes(before)) < set(nodes(size))
        assert len(nodes(size)) == size


def test_every_node_is_evaluated_once():
    path = Known(lambda a: -np.exp(3 * a), lambda a: np.sin(9 * a))
    found = integrate(path, BATCHES, nodes=3)
    assert found.stopped == "converged"
    assert found.nodes > 3
    assert sorted(path.evaluated) == sorted([place(node) for node in nodes(found.nodes)] * len(BATCHES))


def test_cells_that_cancel_do_not_pass_for_converged():
    """Two cells wave against each other: their sum is right from the first set on, they are not."""

    def wave(alpha):
        return np.cos(20 * alpha)

    path = Known(lambda a: -1 + wave(a), lambda a: -1 - wave(a))
    found = integrate(path, BATCHES, nodes=9)
    assert abs(found.history[3].residual) < 1e-3
    assert found.stopped == "converged"
    assert found.nodes > 9
    exact = -1 + np.sin(20) / 20
    assert found.parts[:, 0] == pytest.approx(exact, abs=0.02)
    assert integrate(path, BATCHES, nodes=9, most=9).stopped == "most_nodes"


def test_noise_of_low_precision_ends_it_early_and_is_named():
    cells = [lambda a: -0.02 * np.exp(a)] * 6
    found = integrate(Known(*cells, noise=0.05, epsilon=2.0**-8), BATCHES, nodes=9)
    assert found.stopped == "noise_floor"
    assert not found.converged
    assert found.nodes < 65


def test_what_is_too_large_for_rounding_is_no_noise():
    found = integrate(Known(*[lambda a: -0.02 * np.exp(a)] * 6, noise=0.05), BATCHES, nodes=9)
    assert found.stopped == "most_nodes"
    assert found.nodes == 65
