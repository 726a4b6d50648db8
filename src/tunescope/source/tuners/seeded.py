"""Numbers that PEFT draws from torch's generator by a seed in the config, drawn again exactly."""

import importlib.util
import math

import numpy as np
from numpy.typing import NDArray

WITHOUT_TORCH = "its seeded numbers need torch, which is not installed"


def torch_is_there() -> bool:
    """Whether torch can be imported; it is not imported here."""
    return importlib.util.find_spec("torch") is not None


def permutation(length: int, seed: int, count: int) -> NDArray[np.int64]:
    """The first `count` entries of torch's random permutation of `range(length)`."""
    import torch

    drawn = torch.randperm(length, generator=torch.Generator().manual_seed(seed))[:count]
    return np.asarray(drawn.numpy())


def kaiming_uniform_pair(
    first: tuple[int, int], second: tuple[int, int], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two matrices drawn one after the other from U(−b, b) with b = √(6/fan_in), in float32."""
    import torch

    generator = torch.Generator(device="cpu").manual_seed(seed)
    drawn = []
    for shape in (first, second):
        bound = math.sqrt(3.0) * (math.sqrt(2.0) / math.sqrt(shape[1]))
        drawn.append(torch.empty(shape).uniform_(-bound, bound, generator=generator).numpy())
    return drawn[0], drawn[1]


def normal(shape: tuple[int, ...], deviation: float, seed: int) -> NDArray[np.float32]:
    """Draws of N(0, deviation²) in float32."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return np.asarray(torch.normal(0.0, deviation, size=shape, generator=generator).numpy())
