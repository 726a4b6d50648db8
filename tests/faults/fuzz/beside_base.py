"""Adapters that are exact only beside their base: PEFT's merges, rotations, experts, tokens trained alone."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from tunescope.questions.norms.study import norms

from . import packing
from .kind import Kind, _adapter, _pairs
from .mutations import bytewise, json_values

_WAYS = {
    "bytes": bytewise, "header": packing.safetensors_header, "shapes": packing.other_tensors,
    "floats": packing.floats,
}  # fmt: skip
_JSON = {"bytes": bytewise, "values": json_values}
_PREFIX = "base_model.model."
# Of PEFT's methods one of each way to change W, by their names in the tests against PEFT's merge.
_MERGED = (
    "dora", "ia3", "oft", "boft", "hra", "road", "deft", "frod", "glora", "hira", "osf", "peanut", "psoft",
    "miss, bat", "lora, all biases", "lora, bias of B", "beft", "c3a, all biases",
)  # fmt: skip


def _by_peft(method: str, file: str) -> Callable[[Path], Path]:
    """An adapter that PEFT saved beside the model that it was made of; one of its files."""

    def make(folder: Path) -> Path:
        # Deferred: it needs torch and PEFT.
        from tests.reference.test_peft_with_base import trained

        trained(method, folder)
        return folder / "adapter" / file

    return make


def _ones(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    return {name: np.full(shape, 0.5, np.float32) for name, shape in shapes.items()}


def _beside(
    base: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Any], **config: Any
) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "base").mkdir()
        weights = {name: np.ones(shape, np.float32) for name, shape in base.items()}
        (folder / "base" / "model.safetensors").write_bytes(save(weights))
        return _adapter(folder / "adapter", tensors, **config) / "adapter_model.safetensors"

    return make


_LAYERS: dict[str, tuple[int, ...]] = {
    f"model.layers.{i}.self_attn.{m}.weight": (4, 6) for i in range(2) for m in ("q_proj", "v_proj")
}
_TABLE = {"model.embed_tokens.weight": (9, 6), "lm_head.weight": (9, 6), "model.norm.weight": (6,)}
_TOKENS = _pairs() | _ones(
    {
        f"{_PREFIX}model.embed_tokens.token_adapter.trainable_tokens_delta": (2, 6),
        f"{_PREFIX}lm_head.modules_to_save.weight": (9, 6),
        f"{_PREFIX}model.norm.weight": (6,),
    }
)
_EMBEDDED = _ones(
    {
        f"{_PREFIX}model.embed_tokens.lora_embedding_A": (2, 9),
        f"{_PREFIX}model.embed_tokens.lora_embedding_B": (6, 2),
        f"{_PREFIX}model.conv.lora_A.weight": (2, 3, 3, 3),
        f"{_PREFIX}model.conv.lora_B.weight": (4, 2, 1, 1),
        f"{_PREFIX}lm_head.lora_A.weight": (2, 6),
        f"{_PREFIX}lm_head.lora_B.weight": (9, 2),
        f"{_PREFIX}lm_head.base_layer.weight": (9, 6),
    }
)
_EXPERTS = _ones(
    {
        f"{_PREFIX}model.layers.0.mlp.experts.base_layer.lora_A.weight": (6, 6),
        f"{_PREFIX}model.layers.0.mlp.experts.base_layer.lora_B.weight": (8, 6),
        f"{_PREFIX}model.layers.0.mlp.experts.lora_A.weight": (6, 4),
        f"{_PREFIX}model.layers.0.mlp.experts.lora_B.weight": (6, 6),
    }
)
_FUSED = {
    "model.layers.0.mlp.experts.gate_up_proj": (3, 8, 6),
    "model.layers.0.mlp.experts.down_proj": (3, 6, 4),
}
_OWN = {
    "tokens": _beside(_LAYERS | _TABLE, _TOKENS, trainable_token_indices=[3, 7], modules_to_save=["lm_head"]),
    "embedding": _beside(
        _TABLE | {"model.conv.weight": (4, 3, 3, 3)},
        _EMBEDDED,
        target_modules=["embed_tokens", "conv", "lm_head"],
    ),
    "experts": _beside(
        _FUSED,
        _EXPERTS,
        target_modules=[],
        target_parameters=[f"mlp.experts.{name}" for name in ("gate_up_proj", "down_proj")],
    ),
}


def _rotated(name: str) -> Callable[[Path], Path]:
    """A file of LyCORIS whose ΔW multiplies W, beside the model that it is for."""

    def make(folder: Path) -> Path:
        # Deferred: it names what LyCORIS merges, and reads it.
        from tests.reference.test_lycoris import MERGED, base_weight, beside

        shape, parameters, _ = MERGED[name]
        beside(folder, base_weight(*shape), parameters)
        return folder / "x.safetensors"

    return make


def _control(folder: Path) -> Path:
    from tests.unit.source.formats.test_control_lora import control_lora

    control_lora(folder / "x.safetensors")
    return folder / "x.safetensors"


def _measure(path: Path) -> object:
    return norms(path.parent, base=path.parents[1] / "base")


def _measure_file(path: Path) -> object:
    return norms(path, base=path.parent / "base")


def _config(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    return lambda folder: make(folder).with_name("adapter_config.json")


def _named(method: str) -> str:
    return method.replace(", ", "_").replace(" ", "_")


BESIDE_BASE = {
    f"merged_{_named(method)}": Kind(_by_peft(method, "adapter_model.safetensors"), _measure, _WAYS, slow=16)
    for method in _MERGED
}
BESIDE_BASE |= {
    f"merged_{_named(method)}_config": Kind(_by_peft(method, "adapter_config.json"), _measure, _JSON, slow=16)
    for method in _MERGED
}
BESIDE_BASE |= {f"beside_{name}": Kind(make, _measure, _WAYS, slow=3) for name, make in _OWN.items()}
BESIDE_BASE |= {
    f"beside_{name}_config": Kind(_config(make), _measure, _JSON, slow=3) for name, make in _OWN.items()
}
BESIDE_BASE |= {
    f"lycoris_{_named(name)}": Kind(_rotated(name), _measure_file, _WAYS, slow=2)
    for name in ("oft, bounded and rescaled", "boft", "glora", "dora of outputs", "loha with dora of inputs")
}
BESIDE_BASE["control_lora"] = Kind(_control, norms, _WAYS)
