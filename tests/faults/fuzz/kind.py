"""What a kind of input is, and the adapter that most of them start from."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from .mutations import Apply, bytewise

STEM = "base_model.model.model.layers.{}.self_attn.{}.lora_{}.weight"


@dataclass(frozen=True)
class Kind:
    """`make` writes a sound input into a folder and gives the file to damage; `use` reads it as users do."""

    make: Callable[[Path], Path]
    use: Callable[[Path], object]
    ways: Mapping[str, Apply] = field(default_factory=lambda: {"bytes": bytewise})
    # Reading one takes so many times as long as the others.
    slow: int = 1
    # Whether the entry point is given the file, so that its errors can name it.
    named: bool = True


def _pairs(dtype: Any = np.float32) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        STEM.format(layer, module, factor): rng.normal(size=shape).astype(dtype)
        for layer in range(2)
        for module in ("q_proj", "v_proj")
        for factor, shape in (("A", (2, 6)), ("B", (4, 2)))
    }


def _adapter(folder: Path, tensors: Mapping[str, Any] | None = None, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(save(dict(_pairs() if tensors is None else tensors)))
    said = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]} | config
    (folder / "adapter_config.json").write_text(json.dumps(said))
    return folder
