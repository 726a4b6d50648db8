"""The trainable weights as they were at step zero, kept on disk because a resumed run no longer has them."""

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from tunescope.errors import BadInput, Missing

FILE = "capture.start.safetensors"


def save_start(folder: Path, parameters: Mapping[str, Tensor]) -> None:
    """Write the parameters' present values, atomically."""
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in parameters.items()}
    temporary = folder / f".{FILE}.{os.getpid()}.part"
    try:
        save_file(tensors, temporary)
        temporary.replace(folder / FILE)
    finally:
        temporary.unlink(missing_ok=True)


def load_start(folder: Path, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The values at step zero of these parameters.

    Raises `Missing` where they were never written and `BadInput` where they belong to another model.
    """
    path = folder / FILE
    if not path.is_file():
        raise Missing("capture-no-start", "the weights of step zero are not there", file=path)
    tensors: dict[str, Tensor] = load_file(path)
    for name, parameter in parameters.items():
        found = tuple(tensors[name].shape) if name in tensors else None
        if found != tuple(parameter.shape):
            raise BadInput(
                "capture-other-start",
                "the weights of step zero are another model's",
                file=path,
                tensor=name,
                expected=tuple(parameter.shape),
                found=found,
            )
    return tensors
