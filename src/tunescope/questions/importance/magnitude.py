"""`magnitude` and `wanda`: scores from the weights alone and from weights with their inputs."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tunescope.errors import BadInput
from tunescope.lm.batches import Batch
from tunescope.lm.parameters import Parameters
from tunescope.lm.processes import local, summed
from tunescope.questions.importance.setting import Array, Samples, Setting
from tunescope.words import counted


def magnitudes(parameters: Parameters) -> Array:
    """Σ|w| of every row, summed in float64; `BadInput` where weights are not finite."""
    found = torch.zeros(len(parameters), dtype=torch.float64)
    for entry in parameters.scored:
        for group in range(entry.groups):
            found[entry.first + group] = (
                entry.applied(local(entry.part(group))).abs().sum(dtype=torch.float64)
            )
    found = summed(found) if parameters.sharded else found
    if not found.isfinite().all():
        broken = [row.name for row, good in zip(parameters.rows, found.isfinite(), strict=True) if not good]
        raise BadInput(
            "not-finite",
            f"{counted(len(broken), 'tensor holds', 'tensors hold')} NaN or infinity",
            tensor=broken[0],
            expected="finite weights",
            found=", ".join(broken[:3]),
            fix="take a checkpoint from before the training diverged",
        )
    return found.numpy()


class Wanda:
    """Samples of Σ|w|·‖x‖ per sequence, NaN for what is no linear layer [Sun et al. 2023, arXiv 2306.11695].

    ‖x‖ is the root mean square of an input feature over the tokens of the sequence, so that the score
    depends neither on the length of a sequence nor on how many there are.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        rows = {id(entry.parameter): entry.first for entry in setting.parameters.scored}
        self._linear = [
            (module, rows[id(module.weight)], _per_input(module))
            for module in setting.model.modules()
            if _is_linear(module) and id(module.weight) in rows
        ]

    def __call__(self, batch: Batch) -> Iterator[Samples]:
        for row, count in enumerate(self.setting.scored_tokens(batch)):
            if count:
                values = self._sequence(batch.sequence(row)).cpu().numpy()
                yield Samples("wanda", [batch.first + row], [1.0], values[None])

    def _sequence(self, batch: Batch) -> Tensor:
        tokens = int(batch.mask.sum())
        values = torch.full((len(self.setting.parameters),), torch.nan, dtype=torch.float64)
        values = values.to(self.setting.device)
        with torch.no_grad(), ExitStack() as stack:
            seen: dict[int, Tensor] = {}
            for module, row, _ in self._linear:
                stack.enter_context(_watched(module, row, seen))
            self.setting.logits(batch)
            for _, row, columns in self._linear:
                # An expert that no token was sent to has seen nothing: its inputs are zero.
                squares = seen.get(row, torch.zeros_like(columns))
                values[row] = (columns * (squares / tokens).sqrt()).sum().to(values.device)
        return values


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _per_input(module: nn.Module) -> Tensor:
    """Σ|w| over the outputs of every input feature, (d_in,)."""
    outputs = 1 if type(module).__name__ == "Conv1D" else 0
    weight: Tensor = module.weight.detach()  # type: ignore[operator]
    return weight.abs().sum(outputs, dtype=torch.float64)


@contextmanager
def _watched(module: nn.Module, row: int, seen: dict[int, Tensor]) -> Iterator[None]:
    def hook(module: nn.Module, inputs: Any) -> None:
        del module
        squares = inputs[0].detach().flatten(0, -2).double().square().sum(0)
        seen[row] = seen[row] + squares if row in seen else squares

    handle = module.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
