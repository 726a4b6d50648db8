"""Several processes, one replica of the model each: only the measured numbers travel."""

from typing import Any

import torch
from torch import distributed


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
