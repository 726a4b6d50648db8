"""The motion of all trainable weights since the start, measured in stacked groups with one transfer."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tunescope.training.statistics import (
    BLOCK,
    delta_moments,
    difference,
    is_recording,
    low_rank_norms,
    moments,
)
from tunescope.training.trainable import Matrix, Module, Trainable

# Statistics of one matrix: mean, variance, abs_mean, abs_variance, delta_frobenius_norm.
COLUMNS = 5

# A start that is larger stays in the host's memory and is read block by block.
ON_DEVICE = 1 << 30


class Motion:
    """Δ = now - start of every trainable matrix, and ‖ΔW‖_F of every module.

    `start` holds the parameters' values at the start under their names. It is copied once, in stacks of
    equally shaped matrices, to the device where the parameters lie.
    """

    def __init__(self, trainable: Trainable, start: Mapping[str, Tensor]) -> None:
        self.trainable = trainable
        total = sum(tensor.numel() * tensor.element_size() for tensor in start.values())
        self.start_on_device = total <= ON_DEVICE
        self.groups = [
            _group(members, trainable, start, self.start_on_device) for members in _grouped(trainable)
        ]

    def measure(self) -> NDArray[np.float64]:
        """One row a matrix, in the order of `trainable.matrices`: mean, variance, |mean|, |variance|, ‖ΔW‖_F.

        A norm is NaN where the module's ΔW does not follow from its factors alone.
        """
        out = np.zeros((len(self.trainable.matrices), COLUMNS))
        for order, values in self.launch():
            out[order] = values.cpu().numpy()
        return out

    def launch(self, recorded: bool = False) -> list[tuple[list[int], Tensor]]:
        """The rows `measure` gives, unordered: their places and values, (n, 5), for every device.

        `recorded`: of the weights that were last copied while a CUDA graph was recorded or replayed.
        """
        by_device: dict[torch.device, list[tuple[list[int], Tensor]]] = defaultdict(list)
        with torch.no_grad():
            for group in self.groups:
                values = group.statistics(*group.copies) if recorded else group.measure()
                by_device[values.device].append((group.rows, values))
            return [
                ([row for rows, _ in entries for row in rows], torch.cat([values for _, values in entries]))
                for entries in by_device.values()
            ]


class WeightGroup:
    """Weights, biases and norms of one shape: `rows` are their places in the result."""

    def __init__(self, rows: list[int], stacks: tuple["Stack"], starts: tuple[Tensor]) -> None:
        self.rows, self.stacks = rows, stacks
        self.starts: tuple[Tensor, ...] = starts
        self.copies: tuple[Tensor, ...] = ()

    def measure(self) -> Tensor:
        """The statistics `(n, 5)`."""
        now = self.stacks[0].read()
        if is_recording():
            self.copies = (now,)
        return self.statistics(now)

    def statistics(self, now: Tensor) -> Tensor:
        """The statistics of these weights."""
        stats = moments(now, self.starts[0])
        return torch.cat([stats, _norms_of_moments(stats, now.shape[1])[:, None]], dim=1)


class PairGroup:
    """LoRA modules of one shape: first all factors A, then all factors B.

    `from_zero`: whether all B started at zero. `scales (n,)` on the device of the starts.
    """

    def __init__(
        self,
        rows: list[int],
        stacks: tuple["Stack", "Stack"],
        starts: tuple[Tensor, Tensor],
        modules: list[Module],
    ) -> None:
        self.rows, self.rank = rows, stacks[0].matrix_rows
        self.stacks = stacks
        self.starts: tuple[Tensor, ...] = starts
        self.copies: tuple[Tensor, ...] = ()
        self.from_zero = not bool(starts[1].any())
        scales = [np.nan if module.scale is None else abs(module.scale) for module in modules]
        self.scales = torch.tensor(scales, dtype=torch.float64).to(starts[0].device)

    def measure(self) -> Tensor:
        """The statistics `(2n, 5)`; both factors of a module carry its norm."""
        now_a, now_b = (stack.read() for stack in self.stacks)
        if is_recording():
            self.copies = now_a, now_b
        return self.statistics(now_a, now_b)

    def statistics(self, now_a: Tensor, now_b: Tensor) -> Tensor:
        """The statistics of these factors."""
        n, rank = len(now_a), self.rank
        start_a, start_b = self.starts
        wide_a, delta_b = now_a.double(), difference(now_b, start_b)
        if now_a.is_cuda:
            stats = torch.cat([moments(now_a, start_a), moments(now_b, start_b)])
        else:
            stats = torch.cat([delta_moments(difference(wide_a, start_a)), delta_moments(delta_b)])
        if self.from_zero:
            norms = low_rank_norms(wide_a.view(n, rank, -1), None, delta_b.view(n, -1, rank), None)
        else:
            delta_a = difference(now_a, start_a).view(n, rank, -1)
            wide_b = start_b.to(now_a.device).double().view(n, -1, rank)
            norms = low_rank_norms(wide_a.view(n, rank, -1), delta_a, delta_b.view(n, -1, rank), wide_b)
        norms = norms * self.scales.to(now_a.device)
        return torch.cat([stats, norms.repeat(2)[:, None]], dim=1)


class Stack:
    """Equally shaped matrices that are read as one array `(n, numel)`."""

    def __init__(self, matrices: Sequence[Matrix], tensors: Mapping[str, Tensor]) -> None:
        self._matrices = matrices
        self._tensors = [tensors[matrix.parameter] for matrix in matrices]

    @property
    def tensors(self) -> list[Tensor]:
        """The matrices where they lie."""
        # Views cost more than the arithmetic on small matrices; only slices of experts need them.
        if self._matrices[0].experts > 1:
            return [m.view(t) for m, t in zip(self._matrices, self._tensors, strict=True)]
        return list(self._tensors)

    @property
    def matrix_rows(self) -> int:
        """Rows of each matrix."""
        return int(self._matrices[0].view(self._tensors[0]).shape[0])

    @property
    def device(self) -> torch.device:
        """Where the array is measured: Apple's GPUs have no float64, so theirs on the host."""
        device = self._tensors[0].device
        return torch.device("cpu") if device.type == "mps" else device

    def read(self) -> Tensor:
        """The matrices' present values, flattened."""
        tensors = self.tensors
        stack = torch.stack(tensors) if len(tensors) > 1 or is_recording() else tensors[0].detach()[None]
        stack = stack.reshape(len(tensors), -1)
        return (stack.float() if stack.element_size() == 1 else stack).to(self.device)


Members = list[tuple[list[int], Module]]


def _norms_of_moments(stats: Tensor, count: int) -> Tensor:
    """‖Δ‖ of rows of `count` values from their moments: Σ Δ² = n (var + mean²), where nothing cancels."""
    return (count * (stats[:, 1] + stats[:, 0].square())).sqrt()


def _grouped(trainable: Trainable) -> Iterator[Members]:
    """Modules that can be stacked, with the rows of their matrices, in groups of bounded size."""
    groups: dict[Hashable, Members] = defaultdict(list)
    row = 0
    for module in trainable.modules:
        tensors = [trainable.parameters[matrix.parameter] for matrix in module.matrices]
        shapes = tuple(tuple(tensor.shape) for tensor in tensors)
        rows = list(range(row, row + len(tensors)))
        key = (shapes, module.matrices[0].experts, tensors[0].dtype, tensors[0].device)
        groups[key].append((rows, module))
        row += len(tensors)
    for members in groups.values():
        module = members[0][1]
        numel = sum(trainable.parameters[m.parameter].numel() // m.experts for m in module.matrices)
        size = max(1, BLOCK // max(1, numel))
        for first in range(0, len(members), size):
            yield members[first : first + size]


def _group(
    members: Members, trainable: Trainable, start: Mapping[str, Tensor], on_device: bool
) -> WeightGroup | PairGroup:
    modules = [module for _, module in members]
    now, starts = [], []
    for position in range(len(modules[0].matrices)):
        matrices = [module.matrices[position] for module in modules]
        stack = Stack(matrices, trainable.parameters)
        target = stack.device if on_device else torch.device("cpu")
        now.append(stack)
        # A copy, for a stack of one would share its memory with the weight that is about to move.
        with torch.no_grad():
            starts.append(Stack(matrices, start).read().to(target, copy=True))
    rows = [rows[position] for position in range(len(now)) for rows, _ in members]
    if len(now) == 1:
        return WeightGroup(rows, (now[0],), (starts[0],))
    return PairGroup(rows, (now[0], now[1]), (starts[0], starts[1]), modules)
