"""Float64 arrays where the work is done: NumPy on the processor, torch on a GPU."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.errors import Exhausted, UsageError
from tunescope.linalg.gram import wide

DEVICES = "auto, cpu, cuda or cuda:N"
_NAME = re.compile(r"auto|cpu|cuda(?::(?P<index>\d{1,4}))?")


def resolve(device: str) -> str:
    """`cpu` or `cuda:N` for what `--device` says; `auto` is a GPU where torch finds one.

    `cuda` without a number is the GPU of this process. Raises `Exhausted` where the GPU that is asked for
    is not there, `UsageError` for other names.
    """
    named = _NAME.fullmatch(device)
    if named is None:
        raise UsageError("bad-device", f"there is no device {device!r}", expected=DEVICES, found=device)
    count = 0 if device == "cpu" else _gpus()
    if device == "cpu" or (device == "auto" and not count):
        return "cpu"
    index = int(named["index"]) if named["index"] else None
    if not count or (index is not None and index >= count):
        raise Exhausted("no-device", f"{device} was asked for, and torch finds {count or 'no'} GPU",
                        expected=f"cuda:0 to cuda:{count - 1}" if count else "a GPU", found=device,
                        fix="use --device cpu, or install a CUDA build of torch")  # fmt: skip
    return f"cuda:{_current() if index is None else index}"


def _gpus() -> int:
    try:
        import torch  # deferred: only a GPU needs it
    except ImportError:
        return 0
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _current() -> int:
    import torch  # deferred: only a GPU needs it

    return torch.cuda.current_device()


def float64(array: NDArray[Any], device: str = "cpu") -> Any:
    """The array in float64 on `device`, widened there so that only the narrow numbers travel."""
    narrow = wide(array)
    if device == "cpu":
        return narrow.astype(np.float64, copy=False)
    import torch  # deferred: only a GPU needs it

    return torch.from_numpy(np.array(narrow)).to(device).double()
