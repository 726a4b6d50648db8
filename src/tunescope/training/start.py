"""The trainable weights as they were at step zero, kept on disk because a resumed run no longer has them."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tunescope.errors import BadInput, Missing
from tunescope.source.files.container import read_safetensors
from tunescope.training.modes import follow_umask
from tunescope.training.recording import START
from tunescope.writing import write_by_name


def save_start(folder: Path, parameters: Mapping[str, Tensor]) -> None:
    """Write the parameters' present values, atomically."""
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in parameters.items()}

    def save(place: Path) -> None:
        save_file(tensors, place)
        follow_umask(place)

    write_by_name(folder / START, save)


def load_start(folder: Path, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The values at step zero of these parameters.

    Raises `Missing` where they were never written and `BadInput` where they are damaged or another model's.
    """
    path = folder / START
    if not path.is_file():
        raise Missing(
            "capture-no-start",
            "the weights of step zero are not there",
            file=path,
            fix=f"name the folder of the run; its file {START} must lie there",
        )
    # A damaged file is named here: the library has one error for all.
    read_safetensors(path)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise BadInput(
            "header-entry", "the weights of step zero cannot be read", file=path,
            expected="tensors of dtypes that safetensors knows", found=error,
            fix="remove the run's folder to train it anew",
        ) from error  # fmt: skip
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
                fix="remove the run's folder to train it anew",
            )
    return tensors
