"""Cosines between updates, against NumPy on the products multiplied out."""

import numpy as np
import pytest

from tunescope.address import parse
from tunescope.delta import Delta, Factored
from tunescope.measure.between import between


def deltas(size: float, seed: int) -> tuple[list[Delta], np.ndarray]:
    """Two updates with factors of this size, and both products, scaled up, in one vector."""
    random, found, flat = np.random.default_rng(seed), [], []
    for layer in range(2):
        B, A = ((size * random.standard_normal(s)).astype(np.float32) for s in ((24, 4), (4, 40)))
        name = f"model.layers.{layer}.self_attn.q_proj"
        update = Factored(B, A, 1.0)
        found.append(
            Delta(parse(name), name, "lora", 24, 40, 4, None, 1.0, (), open=lambda update=update: update)
        )
        flat.append(((B.astype(float) / size) @ (A.astype(float) / size)).ravel())
    return found, np.concatenate(flat)


@pytest.mark.parametrize("size", [1e-42, 1e-38, 1e-20, 1.0, 1e18])
def test_the_cosine_of_tiny_and_of_huge_updates_is_that_of_numpy(size: float) -> None:
    (one, u), (other, v) = deltas(size, 0), deltas(size, 1)
    found = between([("a", one), ("b", other)]).cosine[0, 1]
    assert found == pytest.approx(u @ v / np.linalg.norm(u) / np.linalg.norm(v), abs=1e-6)
