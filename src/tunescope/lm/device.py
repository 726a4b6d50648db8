"""Which device the gradients are computed on."""

import torch

from tunescope.errors import Notice, UsageError


def chosen_device(wanted: str) -> tuple[str, list[Notice]]:
    """The device that `--device` names; `auto` takes this process's GPU, or the CPU and says so.

    Raises `UsageError` for a name that is no device.
    """
    if wanted != "auto":
        return _known(wanted), []
    if torch.cuda.is_available():
        return f"cuda:{torch.cuda.current_device()}", []
    return "cpu", [Notice("no-cuda", "no CUDA device is there; the gradients are computed on the CPU")]


def _known(device: str) -> str:
    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = "meta"
    if kind == "meta":
        expected = "auto, cpu, cuda or cuda:N"
        raise UsageError("bad-device", f"there is no device {device!r}", expected=expected, found=device)
    return device
