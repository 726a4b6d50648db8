"""Adapters of every PEFT method but LoRA, sound ones, whose tensors change their shapes, types and values."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from tunescope.questions.norms.study import norms

from . import packing
from .kind import Kind, _adapter
from .mutations import bytewise, json_values

_MODULES = (
    "base_model.model.model.layers.0.self_attn.q_proj",
    "base_model.model.model.layers.0.self_attn.v_proj",
)
_OUT, _IN = 4, 6

Shapes = Mapping[str, tuple[int, ...]]

# Shapes of a layer's parameters, and of what all layers share, for a layer of 4×6 at rank 2.
OWN: dict[str, Shapes] = {
    "ADALORA": {"lora_A": (2, 6), "lora_B": (4, 2), "lora_E": (2, 1), "ranknum": ()},
    "BEFT": {"beft_bias": (1, 4)},
    "C3A": {"c3a_kernel": (2, 3, 2)},
    "DELORA": {"delora_A": (2, 6), "delora_B": (4, 2), "delora_lambda": (1,), "delora_w_norm": (6,)},
    "FOURIERFT": {"fourierft_spectrum": (5,)},
    "GRALORA": {
        "gralora_A": (2, 3, 2), "gralora_B": (2, 2, 2),
        "gralora_A_general": (1, 6), "gralora_B_general": (4, 1),
    },
    "LOHA": {
        "hada_w1_a": (4, 2), "hada_w1_b": (2, 6), "hada_w2_a": (4, 2), "hada_w2_b": (2, 6),
    },
    "LOKR": {"lokr_w1": (2, 2), "lokr_w2_a": (2, 2), "lokr_w2_b": (2, 3)},
    "MISS": {"miss_block": (2, 4)},
    "PVERA": {"pvera_lambda_b": (4,), "pvera_lambda_d": (4,)},
    "RANDLORA": {"randlora_lambda": (2, 2), "randlora_gamma": (2, 4)},
    "SHIRA": {"shira_indices": (2, 20), "shira_weight": (20,)},
    "SUPERTUNING": {
        "supertuning_indices": (5,), "supertuning_values": (5,),
        "supertuning_lora_A": (2, 6), "supertuning_lora_B": (4, 2),
    },
    "TINYLORA": {"tinylora_A": (2, 6), "tinylora_B": (4, 2), "tinylora_P": (3, 2, 2)},
    "UNILORA": {
        "unilora_indices_A": (2, 6), "unilora_indices_B": (4, 2),
        "unilora_scales_A": (2, 6), "unilora_scales_B": (4, 2),
    },
    "VBLORA": {"vblora_logits_A": (2, 3, 5), "vblora_logits_B": (2, 2, 5)},
    "VERA": {"vera_lambda_b": (4,), "vera_lambda_d": (2,)},
    "WAVEFT": {"waveft_spectrum": (5,)},
}  # fmt: skip
# With a Tucker core, with the top k alone, with both matrices whole.
VARIANTS: dict[str, Shapes] = {
    "LOHA": {
        "hada_t1": (2, 2, 1, 3), "hada_w1_a": (2, 4), "hada_w1_b": (2, 2),
        "hada_t2": (2, 2, 1, 3), "hada_w2_a": (2, 4), "hada_w2_b": (2, 2),
    },
    "LOKR": {"lokr_w1_a": (2, 1), "lokr_w1_b": (1, 2), "lokr_t2": (2, 2, 1, 3), "lokr_w2_a": (2, 2),
             "lokr_w2_b": (2, 1)},
    "VBLORA": {
        "vblora_logits_A_topk_indices": (2, 3, 2), "vblora_logits_A_topk_weights": (2, 3, 1),
        "vblora_logits_B_topk_indices": (2, 2, 2), "vblora_logits_B_topk_weights": (2, 2, 1),
    },
}  # fmt: skip
SHARED: dict[str, Shapes] = {
    "PVERA": {"pvera_A": (4, 6), "pvera_B": (4, 2)},
    "RANDLORA": {"randlora_A": (2, 1, 4), "randlora_B": (6, 3, 2)},
    "TINYLORA": {"tinylora_v": (3,)},
    "UNILORA": {"unilora_theta_d": (9,)},
    "VBLORA": {"vblora_vector_bank": (5, 2)},
    "VERA": {"vera_A": (2, 6), "vera_B": (4, 2)},
}
_STATED: dict[str, dict[str, Any]] = {
    "ADALORA": {"r": 2, "lora_alpha": 4, "init_r": 3},
    "DELORA": {"r": 2},
    "FOURIERFT": {"n_frequency": 5, "scaling": 2.0, "random_loc_seed": 3},
    "GRALORA": {"r": 2, "alpha": 4, "hybrid_r": 1},
    "LOHA": {"r": 2, "alpha": 4, "rank_pattern": {"q_proj": 2}},
    "LOKR": {"r": 2, "alpha": 4, "alpha_pattern": {"q_proj": 3}},
    "MISS": {"r": 2},
    "PVERA": {"r": 2, "projection_prng_key": 0},
    "RANDLORA": {"r": 2, "randlora_alpha": 4},
    "SHIRA": {"r": 2},
    "SUPERTUNING": {"r": 2, "lora_alpha": 4},
    "TINYLORA": {"projection_seed": 42, "weight_tying": 0.0},
    "UNILORA": {"r": 2},
    "VBLORA": {"r": 2, "topk": 2},
    "VERA": {"r": 2, "projection_prng_key": 0},
    "WAVEFT": {"n_frequency": 5, "scaling": 2.0},
}


def _array(name: str, shape: tuple[int, ...]) -> Any:
    if "indices" in name:
        return (np.arange(int(np.prod(shape))) % 4).reshape(shape).astype(np.int64)
    return np.full(shape, 0.5, np.float32)


def _sound(method: str, own: Shapes, **config: Any) -> Callable[[Path], Path]:
    """Two layers of a method beside their base, whose shapes some methods need."""

    def make(folder: Path) -> Path:
        base = folder / "base"
        base.mkdir()
        weights = {f"{m.removeprefix('base_model.model.')}.weight": np.ones((_OUT, _IN)) for m in _MODULES}
        (base / "model.safetensors").write_bytes(save(weights))
        names = {f"{module}.{name}": shape for module in _MODULES for name, shape in own.items()}
        names |= {f"base_model.{name}": shape for name, shape in SHARED.get(method, {}).items()}
        tensors = {name: _array(name, shape) for name, shape in names.items()}
        path = _adapter(folder, tensors) / "adapter_model.safetensors"
        said = {
            "peft_type": method,
            "base_model_name_or_path": str(base),
            **_STATED.get(method, {}),
            **config,
        }
        path.with_name("adapter_config.json").write_text(json.dumps(said))
        return path

    return make


def _config_of(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    return lambda folder: make(folder).with_name("adapter_config.json")


def _measure(path: Path) -> object:
    return norms(path.parent)


_WAYS = {"shapes": packing.other_tensors, "header": packing.safetensors_header, "floats": packing.floats}
_JSON = {"bytes": bytewise, "values": json_values}
_MAKES = {f"peft_{method.lower()}": _sound(method, own) for method, own in OWN.items()}
_MAKES |= {
    f"peft_{method.lower()}_other": _sound(
        method, own, **({"save_only_topk_weights": True} if method == "VBLORA" else {})
    )
    for method, own in VARIANTS.items()
}
METHODS = {name: Kind(make, _measure, _WAYS, slow=3) for name, make in _MAKES.items()}
METHODS |= {
    f"{name}_config": Kind(_config_of(make), _measure, _JSON, slow=6) for name, make in _MAKES.items()
}
