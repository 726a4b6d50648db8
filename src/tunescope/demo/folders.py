"""Writing of made-up adapters and models, as a training would have left them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from tunescope.writing import write_atomically, write_text

Matrix = NDArray[np.float64]

_DTYPES = {np.dtype(np.float32): "F32", np.dtype(ml_dtypes.bfloat16): "BF16"}


def generator(*key: object) -> np.random.Generator:
    """Draws that follow from the key alone, the same in every run."""
    return np.random.default_rng(list("/".join(map(str, key)).encode()))


def write_adapter(folder: Path, tensors: Mapping[str, NDArray[Any]], config: Mapping[str, Any]) -> None:
    """Write a PEFT folder."""
    _write(folder, "adapter", tensors, config)


def write_model(folder: Path, tensors: Mapping[str, NDArray[Any]], config: Mapping[str, Any]) -> None:
    """Write a folder of a whole model."""
    _write(folder, "", tensors, config)


def lora_config(rank: int, alpha: int, targets: Sequence[str]) -> dict[str, Any]:
    """What PEFT writes beside a plain LoRA of these modules."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "rank_pattern": {},
        "alpha_pattern": {},
        "modules_to_save": None,
        "target_modules": list(targets),
        "inference_mode": True,
    }


def _write(folder: Path, kind: str, tensors: Mapping[str, NDArray[Any]], config: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{kind}_" if kind else ""
    text = json.dumps(dict(config), indent=2) + "\n"
    write_text(folder / f"{stem}config.json", text)
    write_atomically(folder / f"{stem}model.safetensors", lambda out: out.write(_container(tensors)))


def _container(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """The safetensors layout: length of the header, header padded to eight bytes, data."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt", "made_by": "tunescope.demo"}}
    end, parts = 0, []
    for name in sorted(tensors):
        data, begin = tensors[name].tobytes(), end
        end += len(data)
        dtype, shape = _DTYPES[tensors[name].dtype], list(tensors[name].shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
        parts.append(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(parts)
