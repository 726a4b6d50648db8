"""Made-up LoRA adapters whose norms, spectra and overlaps are known because they are built from them."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tunescope.demo.folders import Matrix, generator, lora_config, write_adapter

LAYERS, RANK, ALPHA = 26, 8, 16
# The shapes (d_out, d_in) of Gemma 2 2B, divided by sixteen.
SHAPES = {
    "self_attn.q_proj": (128, 144),
    "self_attn.k_proj": (64, 144),
    "self_attn.v_proj": (64, 144),
    "self_attn.o_proj": (144, 128),
    "mlp.gate_proj": (576, 144),
    "mlp.up_proj": (576, 144),
    "mlp.down_proj": (144, 576),
}
SHARED_DIRECTIONS, SHARED_COSINE = 3, 0.9
DECAY = 2.5


@dataclass(frozen=True)
class Profile:
    """How strongly an adapter moves each depth: a bump at `peak` (relative depth) on a floor.

    `related` names the adapter that it shares leading input directions with.
    """

    size: float
    peak: float
    width: float
    attention: float
    related: str | None = None


ADAPTERS = {
    "cpp": Profile(size=0.9, peak=0.62, width=0.22, attention=1.1),
    "python": Profile(size=0.7, peak=0.55, width=0.25, attention=1.0, related="cpp"),
    "chat": Profile(size=0.5, peak=0.88, width=0.15, attention=0.6),
}


def made_norm(adapter: str, layer: int, module: str) -> float:
    """‖ΔW‖_F that `made_adapters` gives this matrix (no unit, about 0.1 to 2).

    >>> round(made_norm("cpp", 16, "self_attn.v_proj"), 3) > round(made_norm("cpp", 0, "self_attn.v_proj"), 3)
    True
    """
    profile = ADAPTERS[adapter]
    depth = layer / (LAYERS - 1)
    bump = math.exp(-(((depth - profile.peak) / profile.width) ** 2) / 2)
    kind = profile.attention if module.startswith("self_attn") else 1.3
    jitter = generator(adapter, layer, module, "norm").normal(scale=0.1)
    d_out, d_in = SHAPES[module]
    return profile.size * (0.25 + bump) * kind * math.sqrt(min(d_out, d_in) / 144) * math.exp(jitter)


def made_adapters(folder: str | Path) -> dict[str, Path]:
    """Write three PEFT LoRA folders (`cpp`, `python`, `chat`) and return where they lie.

    Each has 26 layers of the seven projections of a Gemma-2-like model, rank 8, scale alpha/r = 2, in
    float32 (2.6 MB): ΔW = 2·B·A has the norm `made_norm` and singular values that fall by e^(-1/2.5) from
    one to the next. `python` shares the first three input directions of `cpp` at a cosine of 0.9 and
    none of the others. Seeds are fixed: what is written is the same every time.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sorted(path.name for path in made_adapters(folder)["cpp"].iterdir())
    ['adapter_config.json', 'adapter_model.safetensors']
    """
    paths = {name: Path(folder) / name for name in ADAPTERS}
    config = lora_config(RANK, ALPHA, [module.split(".")[1] for module in SHAPES])
    for name, path in paths.items():
        write_adapter(path, _tensors(name), config)
    return paths


def _directions(rng: np.random.Generator, rows: int) -> Matrix:
    return np.linalg.qr(rng.normal(size=(rows, RANK)))[0]


def _inputs(adapter: str, layer: int, module: str) -> Matrix:
    """Orthonormal input directions (d_in, r); the leading ones lean towards those of the related adapter."""
    own = _directions(generator(adapter, layer, module, "inputs"), SHAPES[module][1])
    related = ADAPTERS[adapter].related
    if related is None:
        return own
    theirs = _inputs(related, layer, module)
    own = np.linalg.qr(own - theirs @ (theirs.T @ own))[0]
    lead = SHARED_COSINE * theirs[:, :SHARED_DIRECTIONS]
    lead += math.sqrt(1 - SHARED_COSINE**2) * own[:, :SHARED_DIRECTIONS]
    return np.concatenate([lead, own[:, SHARED_DIRECTIONS:]], axis=1)


def _factors(adapter: str, layer: int, module: str) -> tuple[Matrix, Matrix]:
    """A (r, d_in) and B (d_out, r), mixed by a rotation so that no row of them is a singular vector."""
    values = np.exp(-np.arange(RANK) / DECAY)
    values *= made_norm(adapter, layer, module) / np.linalg.norm(values) / (ALPHA / RANK)
    rng = generator(adapter, layer, module, "outputs")
    outputs, mixing = _directions(rng, SHAPES[module][0]), _directions(rng, RANK)
    root = np.sqrt(values)[:, None]
    return mixing.T @ (root * _inputs(adapter, layer, module).T), (root * outputs.T).T @ mixing


def _tensors(adapter: str) -> dict[str, NDArray[np.float32]]:
    found = {}
    for layer in range(LAYERS):
        for module in SHAPES:
            for factor, matrix in zip("AB", _factors(adapter, layer, module), strict=True):
                name = f"base_model.model.model.layers.{layer}.{module}.lora_{factor}.weight"
                found[name] = matrix.astype("<f4")
    return found
