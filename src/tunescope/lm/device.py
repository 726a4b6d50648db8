"""Which device a model is scored on."""

from tunescope.errors import Notice
from tunescope.linalg.device import resolve


def chosen_device(wanted: str) -> tuple[str, list[Notice]]:
    """The device that `--device` names; `auto` takes this process's GPU, or the CPU and says so.

    Raises `UsageError` for a name that is no device and `Exhausted` for a GPU that is not there.
    """
    device = resolve(wanted)
    if wanted == "auto" and device == "cpu":
        return device, [Notice("no-cuda", "no CUDA device is there; the work is done on the CPU")]
    return device, []
