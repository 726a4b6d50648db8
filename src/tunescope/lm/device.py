"""Which device a model is scored on, and what is said where its memory runs out."""

from collections.abc import Iterator
from contextlib import contextmanager

from tunescope.errors import Exhausted, Notice
from tunescope.linalg.device import resolve


def chosen_device(wanted: str) -> tuple[str, list[Notice]]:
    """The device that `--device` names; `auto` takes this process's GPU, or the CPU and says so.

    Raises `UsageError` for a name that is no device and `Exhausted` for a GPU that is not there.
    """
    device = resolve(wanted)
    if wanted == "auto" and device == "cpu":
        return device, [Notice("no-cuda", "no CUDA device is there; the work is done on the CPU")]
    return device, []


@contextmanager
def named_memory(
    fix: str = "a smaller --batch-size or --max-length, or --dtype bfloat16",
) -> Iterator[None]:
    """Memory of the device that ran out, as our own error with a `fix` that the command has."""
    # Deferred: which device is meant can be told without torch.
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise Exhausted(
            "out-of-memory",
            "the device ran out of memory",
            found=str(error).split(". ", 1)[0],
            fix=fix,
        ) from error
