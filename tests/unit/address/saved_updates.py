"""Adapters whose files differ by the names of their modules alone."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def saved(file: Path, names: list[str]) -> Path:
    """The same updates under the names given, as ComfyUI (dotted) or kohya (flat) saves them."""
    rng = np.random.default_rng(0)
    tensors = {}
    for name in names:
        tensors[f"{name}.lora_down.weight"] = rng.normal(size=(2, 6)).astype(np.float32)
        tensors[f"{name}.lora_up.weight"] = rng.normal(size=(4, 2)).astype(np.float32)
        tensors[f"{name}.alpha"] = np.array(2, np.float32)
    save_file(tensors, file)
    return file
