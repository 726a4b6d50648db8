"""How files of weights end."""

import os.path
from pathlib import Path

from tunescope.paths import resolved

# What torch saves; Lightning's litgpt writes `lit_model.pth.lora`.
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".lora")
WEIGHTS = (".safetensors", ".npz", ".gguf", *PICKLED)


def suffix_of(path: Path) -> str:
    """How a file of weights ends; of a link that is called otherwise, how the file ends that it leads to."""
    suffix = path.suffix.lower()
    # Asked of a path that cannot be, `Path.is_symlink` raises.
    return resolved(path).suffix.lower() if suffix not in WEIGHTS and os.path.islink(path) else suffix  # noqa: PTH114
