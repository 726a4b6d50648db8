"""Several processes: one replica of the model each, or one model sharded over all; only sums travel."""

from typing import Any

import torch
from torch import Tensor, distributed, nn


def world() -> tuple[int, int]:
    """This process's rank and how many there are; (0, 1) outside a process group."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def gathered(value: Any) -> list[Any]:
    """The value of every process, in rank order, on every process."""
    _, size = world()
    if size == 1:
        return [value]
    values: list[Any] = [None] * size
    distributed.all_gather_object(values, value)
    return values


def is_sharded(model: nn.Module) -> bool:
    """Whether any parameter is split over processes (FSDP2's `DTensor`)."""
    return any(local(parameter) is not parameter for parameter in model.parameters())


def local(tensor: Tensor) -> Tensor:
    """This process's part of a sharded tensor; any other tensor itself."""
    if not distributed.is_available() or not distributed.is_initialized():
        return tensor
    # Deferred: not part of every build of torch.
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def summed(tensor: Tensor) -> Tensor:
    """The sum over all processes, in place, where there are several."""
    if world()[1] > 1:
        distributed.all_reduce(tensor)
    return tensor


def join_group() -> bool:
    """Join the process group that `torchrun` describes, if it started this process; whether it did.

    Gloo carries the numbers: they are few, and lie in host memory.
    """
    if (
        not distributed.is_available()
        or distributed.is_initialized()
        or not distributed.is_torchelastic_launched()
    ):
        return False
    if torch.cuda.is_available():
        rank = int(torch.distributed.get_node_local_rank(0))
        torch.cuda.set_device(rank % torch.cuda.device_count())
    distributed.init_process_group("gloo")
    return True
