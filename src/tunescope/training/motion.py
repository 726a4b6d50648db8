"""The motion of all trainable weights since the start, measured in stacked groups with one transfer."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tunescope.training.statistics import BLOCK, delta_moments, difference, low_rank_norms, moments
from tunescope.training.trainable import Matrix, Module, Trainable, as_float

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
        self._groups = [
            _group(members, trainable, start, total <= ON_DEVICE) for members in _grouped(trainable)
        ]

    def measure(self) -> NDArray[np.float64]:
        """One row a matrix, in the order of `trainable.matrices`: mean, variance, |mean|, |variance|, ‖ΔW‖_F.

        A norm is NaN where the module's ΔW does not follow from its factors alone.
        """
        with torch.no_grad():
            results = [(group.rows, group.measure(self.trainable.parameters)) for group in self._groups]
        by_device: dict[torch.device, list[tuple[list[int], Tensor]]] = defaultdict(list)
        for rows, values in results:
            by_device[values.device].append((rows, values))
        out = np.zeros((len(self.trainable.matrices), COLUMNS))
        for entries in by_device.values():
            order = [row for rows, _ in entries for row in rows]
            out[order] = torch.cat([values for _, values in entries]).cpu().numpy()
        return out


class _WeightGroup:
    """Weights, biases and norms of one shape: `rows` are their places in the result."""

    def __init__(self, rows: list[int], matrices: list[Matrix], start: Tensor) -> None:
        self.rows, self._matrices, self._start = rows, matrices, start

    def measure(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The statistics `(n, 5)`."""
        now = _stacked(self._matrices, parameters)
        stats = moments(now, self._start)
        # Σ Δ² = n (var + mean²), both terms non-negative: nothing cancels.
        norm = (now.shape[1] * (stats[:, 1] + stats[:, 0].square())).sqrt()
        return torch.cat([stats, norm[:, None]], dim=1)


class _PairGroup:
    """LoRA modules of one shape: first all factors A, then all factors B."""

    def __init__(
        self, rows: list[int], modules: list[Module], start_a: Tensor, start_b: Tensor, rank: int
    ) -> None:
        self.rows, self._start_a, self._start_b, self._rank = rows, start_a, start_b, rank
        self._matrices_a = [module.matrices[0] for module in modules]
        self._matrices_b = [module.matrices[1] for module in modules]
        scales = [np.nan if module.scale is None else abs(module.scale) for module in modules]
        self._scales = torch.tensor(scales, dtype=torch.float64).to(start_a.device)

    def measure(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The statistics `(2n, 5)`; both factors of a module carry its norm."""
        now_a = _stacked(self._matrices_a, parameters).double()
        start_b = self._start_b.to(now_a.device).double()
        delta_a = now_a - self._start_a.to(now_a.device).double()
        delta_b = difference(_stacked(self._matrices_b, parameters), start_b)
        n, rank = len(now_a), self._rank
        norms = low_rank_norms(
            now_a.view(n, rank, -1),
            delta_a.view(n, rank, -1),
            delta_b.view(n, -1, rank),
            start_b.view(n, -1, rank),
        )
        norms = norms * self._scales.to(norms.device)
        stats = torch.cat([delta_moments(delta_a), delta_moments(delta_b)])
        return torch.cat([stats, norms.repeat(2)[:, None]], dim=1)


Members = list[tuple[list[int], Module]]


def _grouped(trainable: Trainable) -> Iterator[Members]:
    """Modules that can be stacked, with the rows of their matrices, in groups of bounded size."""
    groups: dict[object, Members] = defaultdict(list)
    row = 0
    for module in trainable.modules:
        tensors = [trainable.parameters[matrix.parameter] for matrix in module.matrices]
        views = [matrix.view(t) for matrix, t in zip(module.matrices, tensors, strict=True)]
        shapes = tuple(tuple(view.shape) for view in views)
        rows = list(range(row, row + len(views)))
        groups[(shapes, tensors[0].dtype, tensors[0].device)].append((rows, module))
        row += len(views)
    for (shapes, *_), members in groups.items():  # type: ignore[misc]
        size = max(1, BLOCK // max(1, sum(int(np.prod(shape)) for shape in shapes)))
        for first in range(0, len(members), size):
            yield members[first : first + size]


def _group(
    members: Members, trainable: Trainable, start: Mapping[str, Tensor], on_device: bool
) -> _WeightGroup | _PairGroup:
    modules = [module for _, module in members]
    stacks = []
    for position in range(len(modules[0].matrices)):
        matrices = [module.matrices[position] for module in modules]
        target = _device(trainable.parameters[matrices[0].parameter]) if on_device else torch.device("cpu")
        # A copy, for a stack of one would share its memory with the weight that is about to move.
        stacks.append(_stacked(matrices, start).to(target, copy=True))
    rows = [rows[position] for position in range(len(stacks)) for rows, _ in members]
    if len(stacks) == 1:
        return _WeightGroup(rows, [module.matrices[0] for module in modules], stacks[0])
    first = modules[0].matrices[0]
    return _PairGroup(rows, modules, stacks[0], stacks[1], first.view(start[first.parameter]).shape[0])


def _stacked(matrices: Sequence[Matrix], tensors: Mapping[str, Tensor]) -> Tensor:
    """The matrices, flattened, as one array `(n, numel)` on a device that has float64."""
    views = [matrix.view(as_float(tensors[matrix.parameter])) for matrix in matrices]
    several = len(views) > 1
    stack = torch.stack([view.reshape(-1) for view in views]) if several else views[0].reshape(1, -1)
    return stack.to(_device(stack))


def _device(tensor: Tensor) -> torch.device:
    """Apple's GPUs have no float64: their tensors are measured on the host."""
    return torch.device("cpu") if tensor.device.type == "mps" else tensor.device
