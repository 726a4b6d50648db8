"""What fine-tuning changed, as a model can be moved along it: cells, gated branches, blended weights."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tunescope.address import Address, component_names
from tunescope.errors import BadInput, Notice

# Elements whose products are widened to float64 at a time.
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Cell:
    """One weight that was changed: where it is, how far it moved (‖ΔW‖_F/√d_out), how many numbers it has."""

    address: Address
    moved: float
    numel: int


@dataclass(frozen=True, eq=False)
class Branch:
    """A factored update beside its layer, `y + gate · B A x`: A (r, d_in), B (d_out, r) with the scale."""

    cell: int
    module: nn.Module
    A: Tensor
    B: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """`B A x` in the factors' own precision, whatever that of `x` is."""
        if isinstance(self.module, nn.Embedding):
            low = nn.functional.embedding(x, self.A.T)
        else:
            low = nn.functional.linear(x.to(self.A.dtype), self.A)
        return nn.functional.linear(low, self.B)


@dataclass(frozen=True, eq=False)
class Blend:
    """A dense update of a parameter, `W₀ + α·ΔW`, shared by its owners (module, attribute).

    `delta` has the parameter's own layout in float32 (float64 for float64 weights); its first axis is split
    evenly into `groups` cells, counted from `first`.
    """

    first: int
    groups: int
    owners: tuple[tuple[nn.Module, str], ...]
    delta: Tensor

    @property
    def weight(self) -> Tensor:
        """The base weight."""
        module, name = self.owners[0]
        return getattr(module, name)  # type: ignore[no-any-return]

    def contract(self, gradient: Tensor) -> Tensor:
        """⟨gradient, ΔW⟩ of every group, (groups,) in float64."""
        pairs = zip(gradient.reshape(self.groups, -1), self.delta.reshape(self.groups, -1), strict=True)
        return torch.stack([_dot(g, d) for g, d in pairs])


def _dot(a: Tensor, b: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64, device=a.device)
    for start in range(0, a.numel(), _BLOCK):
        part = slice(start, start + _BLOCK)
        total += torch.dot(a[part].double(), b[part].double())
    return total


@dataclass(eq=False)
class Changes:
    """All that fine-tuning changed in a model; `left` names changed tensors without a cell, and why."""

    cells: list[Cell] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)
    blends: list[Blend] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    unchanged: int = 0

    def names(self) -> list[str]:
        """The component name of every cell."""
        return component_names([cell.address for cell in self.cells])

    def branch(
        self, address: Address, module: nn.Module, factors: tuple[Tensor, Tensor], moved: float
    ) -> None:
        """Add a factored update, `factors` being A and B with the scale in B."""
        self.branches.append(Branch(len(self.cells), module, *factors))
        A, B = factors
        self.cells.append(Cell(address, moved, A.shape[1] * B.shape[0]))

    def blend(
        self, addresses: Sequence[Address], owners: Iterable[tuple[nn.Module, str]], delta: Tensor, d_out: int
    ) -> None:
        """Add a dense update whose first axis is split into one group for each address."""
        blend = Blend(len(self.cells), len(addresses), tuple(owners), delta)
        self.blends.append(blend)
        squares = blend.contract(delta)
        self.cells += [
            Cell(address, math.sqrt(float(square) / d_out), delta.numel() // blend.groups)
            for address, square in zip(addresses, squares, strict=True)
        ]


def wide(dtype: torch.dtype) -> torch.dtype:
    """The precision in which an update is applied: float64 for float64 weights, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def outputs_of(module: nn.Module, attribute: str, weight: Tensor, grouped: bool = False) -> int:
    """`d_out` of a parameter as its layer applies it; a vector scales or shifts as many outputs as it has."""
    if grouped:
        return int(weight.shape[2 if getattr(module, "is_transposed", False) else 1])
    if weight.dim() == 2 and attribute == "weight" and is_transposed(module):
        return int(weight.shape[1])
    return int(weight.shape[0]) if weight.dim() else 1


def is_transposed(module: nn.Module) -> bool:
    """Whether the layer stores its weight as (d_in, d_out): embeddings and GPT-2's Conv1D."""
    return isinstance(module, nn.Embedding) or type(module).__name__ == "Conv1D"


def require_finite(delta: Tensor, name: str, file: str | None = None) -> None:
    """Refuse an update that holds a NaN or an infinity: every sum it entered would be one too."""
    if bool(torch.isfinite(delta).all()):
        return
    broken = int((~torch.isfinite(delta)).sum())
    raise BadInput(
        "non-finite-update",
        "the update holds numbers that are not finite, so no loss can be attributed",
        file=file,
        tensor=name,
        expected="finite weights in the base and in the tuned model",
        found=f"{broken} of {delta.numel()} are NaN or infinite",
        fix="take a checkpoint from before the training diverged",
    )
