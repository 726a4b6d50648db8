"""Float64 arrays where the work is done: NumPy on the processor, torch on a GPU."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.errors import Exhausted, UsageError
from tunescope.linalg.gram import wide

DEVICES = ("cpu", "cuda", "auto")


def resolve(device: str) -> str:
    """`cpu` or `cuda`; `auto` is `cuda` where torch finds one.

    Raises `Exhausted` where `cuda` is asked for and there is none, `UsageError` for other names.
    """
    if device not in DEVICES:
        raise UsageError("bad-device", "unknown device", expected=", ".join(DEVICES), found=device)
    if device == "cpu":
        return "cpu"
    found = _cuda_available()
    if device == "cuda" and not found:
        raise Exhausted("no-device", "CUDA was asked for, and torch finds no GPU",
                        fix="use --device cpu, or install a CUDA build of torch")  # fmt: skip
    return "cuda" if found else "cpu"


def _cuda_available() -> bool:
    try:
        import torch  # deferred: only a GPU needs it
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def float64(array: NDArray[Any], device: str = "cpu") -> Any:
    """The array in float64 on `device`, widened there so that only the narrow numbers travel."""
    narrow = wide(array)
    if device == "cpu":
        return narrow.astype(np.float64, copy=False)
    import torch  # deferred: only a GPU needs it

    return torch.from_numpy(np.array(narrow)).to(device).double()
