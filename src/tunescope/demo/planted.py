"""An adapter of the shipped model whose change was chosen, not learned: a map with a known answer."""

import math
from pathlib import Path

import numpy as np

from tunescope.demo.folders import Matrix, generator, lora_config, write_adapter

LAYERS, RANK, ALPHA = 10, 16, 32
# The shapes (d_out, d_in) of the shipped model's attention.
SHAPES = {"q_proj": (192, 192), "k_proj": (64, 192), "v_proj": (64, 192), "o_proj": (192, 192)}
# The layers that move further than the others, and how many times as far.
BAND, TIMES = (4, 5, 6), 3.0
# ‖ΔW‖_F/√d_out of the other layers: about what a run of the demonstration ends at.
_SIZE = 0.02


def planted_adapter(folder: str | Path) -> Path:
    """Write a PEFT folder of rank 16 in which layers 4 to 6 move three times as far as the others; its place.

    It was never trained: size, spectrum and random directions of every ΔW are chosen here, and are the same
    every time. Beside trained adapters it is the case with a known answer.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sorted(path.name for path in planted_adapter(folder).iterdir())
    ['adapter_config.json', 'adapter_model.safetensors']
    """
    tensors = {}
    for layer in range(LAYERS):
        for module in SHAPES:
            for factor, matrix in zip("AB", _factors(layer, module), strict=True):
                name = f"base_model.model.model.layers.{layer}.self_attn.{module}.lora_{factor}.weight"
                tensors[name] = matrix.astype("<f4")
    write_adapter(Path(folder), tensors, lora_config(RANK, ALPHA, list(SHAPES)))
    return Path(folder)


def planted_norm(layer: int, module: str) -> float:
    """‖ΔW‖_F/√d_out that `planted_adapter` gives this matrix (the unit of the weights).

    >>> planted_norm(5, "v_proj") > 2 * planted_norm(8, "v_proj")
    True
    """
    scatter = generator("planted", layer, module, "size").normal(scale=0.08)
    return _SIZE * (TIMES if layer in BAND else 1.0) * math.exp(scatter)


def _factors(layer: int, module: str) -> tuple[Matrix, Matrix]:
    """A (r, d_in) and B (d_out, r) with orthonormal directions and singular values that fall by e^(-0.4)."""
    d_out, d_in = SHAPES[module]
    values = np.exp(-0.4 * np.arange(RANK))
    values *= planted_norm(layer, module) * math.sqrt(d_out) / np.linalg.norm(values) / (ALPHA / RANK)
    sides = [
        np.linalg.qr(generator("planted", layer, module, side).normal(size=(d, RANK)))[0]
        for side, d in (("inputs", d_in), ("outputs", d_out))
    ]
    return sides[0].T, sides[1] * values
