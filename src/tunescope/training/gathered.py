"""All matrices of a motion in two flat arrays on one GPU, measured by as many kernels as there are ranks."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tunescope.training.motion import Motion, PairGroup, WeightGroup
from tunescope.training.statistics import CANCELLATION

# The largest Gram matrix that one program of the kernel holds; larger ranks are measured group by group.
LARGEST_RANK = 32


@dataclass(frozen=True, eq=False)
class _Pairs:
    """LoRA modules of one rank: places of their sides (see `gram_terms`), their rows, and their scales.

    A before B: `sides (2, n, 4)` and `rows (2, n)` of one group, flattened over both where groups are joined.
    """

    rank: int
    from_zero: bool
    sides: Tensor
    rows: Tensor
    scales: Tensor


class Gathered:
    """What `Motion.launch` measures, by kernels that span all shapes: a few launches instead of a hundred.

    The motion's groups keep their starts, and the copies of the last measurement, as views of its arrays.
    """

    def __init__(self, motion: Motion) -> None:
        stacks = [stack for group in motion.groups for stack in group.stacks]
        starts = [start for group in motion.groups for start in group.starts]
        self.rows = [row for group in motion.groups for row in group.rows]
        self._tensors = [tensor for stack in stacks for tensor in stack.tensors]
        self._start = torch.cat([start.reshape(-1) for start in starts])
        self._now = torch.empty_like(self._start)
        ends = torch.tensor([tensor.numel() for tensor in self._tensors]).cumsum(0).tolist()
        begins = [0, *ends[:-1]]
        self._views = [
            self._now[begin:end].view(tensor.shape)
            for begin, end, tensor in zip(begins, ends, self._tensors, strict=True)
        ]
        lengths = [end - begin for begin, end in zip(begins, ends, strict=True)]
        self._longest = max(lengths)
        self._places = torch.tensor([begins, lengths], device=self._now.device).T.contiguous()
        # Read where they lie; those that do not lie in one piece are copied first.
        both = list(zip(self._views, self._tensors, strict=True))
        self._apart = [(view, tensor) for view, tensor in both if not tensor.is_contiguous()]
        lying = [tensor if tensor.is_contiguous() else view for view, tensor in both]
        self._table = torch.tensor([tensor.data_ptr() for tensor in lying], device=self._now.device)
        self._pairs = self._lay(motion.groups, begins)

    @classmethod
    def of(cls, motion: Motion) -> "Gathered | None":
        """The gathered form of a motion whose weights and starts lie on one GPU in one type, or None."""
        starts = [start for group in motion.groups for start in group.starts]
        tensors = [tensor for group in motion.groups for stack in group.stacks for tensor in stack.tensors]
        alike = len({(tensor.dtype, tensor.device) for tensor in [*starts, *tensors]}) == 1
        ranks = [group.rank for group in motion.groups if isinstance(group, PairGroup)]
        if not alike or not all(tensor.numel() for tensor in tensors) or max(ranks, default=0) > LARGEST_RANK:
            return None
        try:
            # Deferred: triton comes with CUDA builds of torch only.
            from tunescope.training import triton_moments  # noqa: F401
        except ImportError:
            return None
        return cls(motion)

    def launch(self) -> list[tuple[list[int], Tensor]]:
        """The rows of `Motion.launch`; a norm whose terms cancel is below zero."""
        from tunescope.training.triton_moments import ragged_moments, write_pair_norms

        with torch.no_grad():
            for view, tensor in self._apart:
                view.copy_(tensor)
            out = ragged_moments(self._table, self._start, self._places, self._longest, self._now)
            for pairs in self._pairs:
                write_pair_norms(
                    out,
                    self._now,
                    self._start,
                    pairs.sides,
                    pairs.rows,
                    pairs.scales,
                    pairs.rank,
                    pairs.from_zero,
                    CANCELLATION,
                )
            return [(self.rows, out)]

    def _lay(self, groups: Sequence[WeightGroup | PairGroup], begins: Sequence[int]) -> list[_Pairs]:
        """Let the groups share the arrays; returns the pairs of each rank."""
        alike: dict[tuple[int, bool], list[_Pairs]] = defaultdict(list)
        first = 0
        for group in groups:
            group.copies = _alike(self._now, group.starts, begins[first])
            group.starts = _alike(self._start, group.starts, begins[first])
            if isinstance(group, PairGroup):
                alike[group.rank, group.from_zero].append(_pairs(group, first, begins))
            first += len(group.rows)
        return [_joined(members) for members in alike.values()]


def _alike(array: Tensor, stacks: Sequence[Tensor], begin: int) -> tuple[Tensor, ...]:
    """Views of a flat array from `begin` on, shaped as these stacks."""
    sizes = [stack.numel() for stack in stacks]
    pieces = torch.split(array[begin : begin + sum(sizes)], sizes)
    return tuple(piece.view(stack.shape) for piece, stack in zip(pieces, stacks, strict=True))


def _pairs(group: PairGroup, first: int, begins: Sequence[int]) -> _Pairs:
    """The pairs of one group, whose rows begin at row `first` of the arrays."""
    device, count = group.scales.device, len(group.scales)
    numel = [start.shape[1] for start in group.starts]
    places = torch.tensor(begins[first : first + 2 * count], device=device).view(2, count)
    steps = torch.tensor([[numel[0] // group.rank, 1, 0], [numel[1] // group.rank, group.rank, 1]])
    sides = torch.cat([places[..., None], steps.to(device)[:, None].expand(2, count, 3)], dim=2)
    rows = torch.arange(first, first + 2 * count, device=device).view(2, count)
    return _Pairs(group.rank, group.from_zero, sides, rows, group.scales)


def _joined(members: Sequence[_Pairs]) -> _Pairs:
    """Pairs of one rank, all A before all B."""
    sides, rows = (torch.cat([getattr(m, name) for m in members], dim=1) for name in ("sides", "rows"))
    scales = torch.cat([member.scales for member in members])
    return _Pairs(members[0].rank, members[0].from_zero, sides.flatten(0, 1), rows.flatten(), scales)
