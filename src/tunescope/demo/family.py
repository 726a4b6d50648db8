"""A made-up base model, two adapters that found the same directions, one that never trained, and a merge."""

import math
from pathlib import Path

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from tunescope.demo.folders import Matrix, generator, lora_config, write_adapter, write_model

LAYERS, WIDTH, HEADS, KEY_HEADS, HEAD, MLP, VOCABULARY = 12, 96, 6, 2, 16, 256, 64
RANK, ALPHA = 8, 16
SHAPES = {
    "self_attn.q_proj": (HEADS * HEAD, WIDTH),
    "self_attn.k_proj": (KEY_HEADS * HEAD, WIDTH),
    "self_attn.v_proj": (KEY_HEADS * HEAD, WIDTH),
    "self_attn.o_proj": (WIDTH, HEADS * HEAD),
    "mlp.gate_proj": (MLP, WIDTH),
    "mlp.up_proj": (MLP, WIDTH),
    "mlp.down_proj": (WIDTH, MLP),
}
# The layers that moved most, how many times as far as the others, and the modules that moved further still.
HOT_LAYERS, HOT = (4, 5, 6, 7), 3.0
LEADING, LEAD = ("self_attn.v_proj", "self_attn.o_proj"), 1.6
SHARED_DIRECTIONS, SHARED_COSINE = 3, 0.9
SEEDS = ("seed-0", "seed-1")
UNTRAINED = "untrained"
# Of ‖ΔW‖ to ‖W‖ where nothing is hot.
_SMALL = 0.02


def made_family(folder: str | Path) -> dict[str, Path]:
    """Write `base`, the adapters `seed-0`, `seed-1` and `untrained`, and `merged`; return where they lie.

    The base has 12 layers of width 96 in bfloat16 and was never trained. Both seeds move layers 4 to 7
    three times as far as the others, and share their three leading directions of every weight, inputs and
    outputs, at a cosine of 0.9. `untrained` is as PEFT begins: B is zero. `merged` is the base with `seed-0`
    added once, rounded to bfloat16. What is written is the same every time (7 MB).

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     list(made_family(folder))
    ['base', 'seed-0', 'seed-1', 'untrained', 'merged']
    """
    root = Path(folder)
    adapters = {name: root / "adapters" / name for name in (*SEEDS, UNTRAINED)}
    paths = {"base": root / "base", **adapters, "merged": root / "merged"}
    weights = _base()
    write_model(paths["base"], weights, _model_config())
    config = lora_config(RANK, ALPHA, [module.split(".")[1] for module in SHAPES])
    for name, path in adapters.items():
        write_adapter(path, _adapter(name), config)
    write_model(paths["merged"], _merged(weights), _model_config())
    return paths


def _names(layer: int) -> list[tuple[str, str]]:
    return [(module, f"model.layers.{layer}.{module}") for module in SHAPES]


def _base() -> dict[str, NDArray[np.generic]]:
    vocabulary = generator("base", "embeddings").normal(size=(VOCABULARY, WIDTH))
    found = {"model.embed_tokens.weight": vocabulary, "model.norm.weight": np.ones(WIDTH)}
    for layer in range(LAYERS):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            found[f"model.layers.{layer}.{norm}.weight"] = np.ones(WIDTH)
        for module, name in _names(layer):
            found[f"{name}.weight"] = _weight(layer, module)
    return {name: values.astype(ml_dtypes.bfloat16) for name, values in found.items()}


def _weight(layer: int, module: str) -> Matrix:
    d_out, d_in = SHAPES[module]
    return generator("base", layer, module).normal(scale=d_in**-0.5, size=(d_out, d_in))


def _change(seed: str, layer: int, module: str) -> tuple[Matrix, Matrix]:
    """A and B of one weight: its size is that of the weight times what the layer and the module ask for."""
    d_out, d_in = SHAPES[module]
    values = np.exp(-np.arange(RANK) / 2.5)
    size = _SMALL * math.sqrt(d_out) * math.exp(generator(seed, layer, module, "size").normal(scale=0.12))
    size *= (HOT if layer in HOT_LAYERS else 1.0) * (LEAD if module in LEADING else 1.0)
    values *= size / np.linalg.norm(values) / (ALPHA / RANK)
    root = np.sqrt(values)[:, None]
    outputs, inputs = (
        _directions(seed, layer, module, side, d) for side, d in (("out", d_out), ("in", d_in))
    )
    mixing = np.linalg.qr(generator(seed, layer, module, "mixing").normal(size=(RANK, RANK)))[0]
    return mixing.T @ (root * inputs.T), (root * outputs.T).T @ mixing


def _directions(seed: str, layer: int, module: str, side: str, d: int) -> Matrix:
    """Orthonormal (d, r); the leading ones lean towards those that both seeds found."""
    common = np.linalg.qr(generator("common", layer, module, side).normal(size=(d, SHARED_DIRECTIONS)))[0]
    own = generator(seed, layer, module, side).normal(size=(d, RANK))
    own = np.linalg.qr(own - common @ (common.T @ own))[0]
    # Two vectors that lean to a third by a cosine of √c each have a cosine of c.
    lead = math.sqrt(SHARED_COSINE) * common + math.sqrt(1 - SHARED_COSINE) * own[:, :SHARED_DIRECTIONS]
    return np.concatenate([lead, own[:, SHARED_DIRECTIONS:]], axis=1)


def _adapter(name: str) -> dict[str, NDArray[np.float32]]:
    found = {}
    for layer in range(LAYERS):
        for module, place in _names(layer):
            a, b = _begun(layer, module) if name == UNTRAINED else _change(name, layer, module)
            for factor, matrix in (("A", a), ("B", b)):
                found[f"base_model.model.{place}.lora_{factor}.weight"] = matrix.astype(np.float32)
    return found


def _begun(layer: int, module: str) -> tuple[Matrix, Matrix]:
    """As PEFT begins: A uniform, B zero."""
    d_out, d_in = SHAPES[module]
    bound = d_in**-0.5
    return generator(UNTRAINED, layer, module).uniform(-bound, bound, size=(RANK, d_in)), np.zeros(
        (d_out, RANK)
    )


def _merged(weights: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    merged = dict(weights)
    for layer in range(LAYERS):
        for module, place in _names(layer):
            a, b = (factor.astype(np.float32) for factor in _change(SEEDS[0], layer, module))
            name = f"{place}.weight"
            whole = weights[name].astype(np.float32) + ALPHA / RANK * (b @ a)
            merged[name] = whole.astype(ml_dtypes.bfloat16)
    return merged


def _model_config() -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": WIDTH,
        "intermediate_size": MLP,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "head_dim": HEAD,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": True,
        "dtype": "bfloat16",
    }
