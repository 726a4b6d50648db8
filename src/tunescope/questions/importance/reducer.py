"""Every gradient reduced to its sums the moment it is complete, and freed: none is ever kept."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tunescope.lm.parameters import Parameters, Scored
from tunescope.lm.processes import local, summed
from tunescope.questions.importance.reduction import SUMS, places, reduce_into


class GradientReducer:
    """Hooks that turn each completed gradient into sums of |g·w|, g·w, g² and w²g² per row.

    As a context manager: every backward pass inside adds to `totals`, leaves no `.grad` behind, and works
    for any loss. A parameter used twice (tied embeddings) is reduced once, when both uses are in.

    >>> from tunescope.lm.parameters import parameters_of
    >>> layer = nn.Linear(2, 1, bias=False)
    >>> with GradientReducer(parameters_of(layer)) as reducer:
    ...     layer(torch.ones(1, 2)).sum().backward()
    ...     sums = reducer.take()
    >>> bool(torch.isclose(sums[0, 1], layer.weight.sum().double())), layer.weight.grad
    (True, None)
    """

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.reached: set[str] = set()
        self._handles: list[RemovableHandle] = []
        self._totals: dict[torch.device, Tensor] = {}
        for entry in parameters.scored:
            device = entry.parameter.device
            if device not in self._totals:
                shape = (len(parameters), places(device, len(parameters)), SUMS)
                self._totals[device] = torch.zeros(shape, dtype=torch.float64, device=device)

    def __enter__(self) -> Self:
        for entry in self.parameters.scored:
            self._handles.append(_register(entry.parameter, self._hook(entry)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _hook(self, entry: Scored) -> Callable[[nn.Parameter], None]:
        out = self._totals[entry.parameter.device][entry.first : entry.first + entry.groups]

        def reduce(parameter: nn.Parameter) -> None:
            assert parameter.grad is not None
            reduce_into(out, local(parameter.grad), entry.applied(local(parameter.detach())))
            parameter.grad = None
            self.reached.add(entry.name)

        return reduce

    def take(self) -> Tensor:
        """The sums since the last call, (rows, 4) in float64, still on the device; and start anew."""
        first, *others = [totals.sum(1) for totals in self._totals.values()]
        for totals in self._totals.values():
            totals.zero_()
        for other in others:
            # Rows of a model spread over several devices are zero everywhere but on their own.
            first += other.to(first.device)
        return summed(first) if self.parameters.sharded else first


def _register(parameter: nn.Parameter, hook: Callable[[nn.Parameter], None]) -> RemovableHandle:
    handle: RemovableHandle = parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]
    return handle
