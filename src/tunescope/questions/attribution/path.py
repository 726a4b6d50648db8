"""A model moved between its base and its tuned weights, and what each cell does to the loss on the way."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tunescope.lm.batches import Batch
from tunescope.lm.forward import Forward, vocabulary_of
from tunescope.lm.session import scoring_session
from tunescope.questions.attribution.cells import Blend, Branch, Changes, wide


class _MixedSequences(Exception):
    """A branch saw an input in which the sequences of the batch cannot be told apart."""


class Path:
    """W(α) = W₀ + α·ΔW with one α per cell; made by `opened_path`, which also takes it down.

    Where every cell is a gated branch, a whole batch goes through in one backward pass: each sequence has
    its own gates. A blended weight has one gradient for the whole batch, so sequences go one by one.
    """

    def __init__(self, model: nn.Module, changes: Changes) -> None:
        self._model, self._changes = Forward.of(model), changes
        self.dtype = str(next(p.dtype for p in model.parameters() if p.is_floating_point())).split(".")[-1]
        self._together = not changes.blends
        self._device = self._model.device
        self._alphas = torch.zeros(len(changes.cells), dtype=torch.float64)
        self._gates: tuple[Tensor, ...] = ()
        self._shape: tuple[int, ...] = ()
        self._found = torch.zeros(len(changes.cells), dtype=torch.float64, device=self._device)
        self._blended: list[tuple[Blend, nn.Parameter, Tensor]] = []

    @property
    def epsilon(self) -> float:
        """The relative rounding error of the model's own precision."""
        return float(torch.finfo(getattr(torch, self.dtype)).eps)

    @property
    def vocabulary(self) -> int | None:
        """How many tokens the model embeds, where it says so."""
        return vocabulary_of(self._model.model)

    @property
    def moved(self) -> NDArray[np.float64]:
        """‖ΔW‖_F/√d_out of every cell."""
        return np.array([cell.moved for cell in self._changes.cells])

    def place(self, alphas: Tensor | float) -> None:
        """Move to a point: one α for all cells, or one per cell, (cells,)."""
        point = torch.as_tensor(alphas, dtype=torch.float64).expand(len(self._alphas))
        self._alphas = point.clone()
        for blend, parameter, base in self._blended:
            part = self._alphas[blend.first : blend.first + blend.groups].to(base.device, blend.delta.dtype)
            factor = part.view(-1, *[1] * (base.dim() - 1)) if blend.groups > 1 else part[0]
            parameter.data = torch.addcmul(base.to(blend.delta.dtype), factor, blend.delta)

    @torch.no_grad()
    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Summed loss in nats and number of scored tokens of every sequence, both (batch,) in float64."""
        found = [self._forward(part) for part in self._parts(batch)]
        return torch.cat([nats for nats, _ in found]).cpu(), torch.cat([count for _, count in found]).cpu()

    def derivatives(self, batch: Batch) -> Tensor:
        """d(summed loss of each sequence)/dα of every cell at this point, (batch, cells) in float64."""
        if self._together and _padded_right(batch):
            try:
                return self._backward(batch)
            except _MixedSequences:
                self._together = False
        return torch.cat([self._backward(part) for part in batch.sequences()])

    def _parts(self, batch: Batch) -> Iterator[Batch]:
        # Gates are alike for all sequences here, so a batch stays whole unless padding moves its positions.
        return iter((batch,)) if _padded_right(batch) else batch.sequences()

    def _forward(self, batch: Batch, gates: Tensor | None = None) -> tuple[Tensor, Tensor]:
        batch = batch.on(self._device)
        chosen = self._alphas[:, None] if gates is None else gates
        self._gates, self._shape = chosen.unbind(0), tuple(batch.input_ids.shape)
        return self._model.nats(batch)

    def _backward(self, batch: Batch) -> Tensor:
        gates = self._alphas[:, None].repeat(1, len(batch)).to(self._device).requires_grad_()
        self._found.zero_()
        total = self._forward(batch, gates)[0].sum()
        if total.requires_grad:
            total.backward()  # type: ignore[no-untyped-call]
        own = torch.zeros_like(gates) if gates.grad is None else gates.grad
        return (own.T + self._found[None]).cpu()

    def add_branch(self, branch: Branch) -> Callable[[nn.Module, tuple[Any, ...], Any], Tensor]:
        """The forward hook that adds a branch, gated, to its layer's output."""

        def add(_: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            x, gate = arguments[0], self._gates[branch.cell]
            if len(gate) > 1 and tuple(x.shape[:2]) != self._shape:
                raise _MixedSequences
            update = branch(x)
            factor = gate.to(update.device, update.dtype).view(-1, *[1] * (update.dim() - 1))
            return (output + factor * update).to(output.dtype)

        return add

    def add_blend(self, blend: Blend, parameter: nn.Parameter, base: Tensor) -> None:
        """Take charge of a parameter: its value follows α, its gradient is contracted with ΔW and freed."""
        self._blended.append((blend, parameter, base))
        cells = slice(blend.first, blend.first + blend.groups)

        def contract(parameter: nn.Parameter) -> None:
            assert parameter.grad is not None
            self._found[cells] += blend.contract(parameter.grad).to(self._device)
            parameter.grad = None

        parameter.register_post_accumulate_grad_hook(contract)  # type: ignore[no-untyped-call]


def _padded_right(batch: Batch) -> bool:
    return bool((batch.mask[:, 1:] <= batch.mask[:, :-1]).all())


@contextmanager
def opened_path(model: nn.Module, changes: Changes, seed: int = 0) -> Iterator[Path]:
    """The path through a model that holds the base weights; the model is given back as it was."""
    path = Path(model, changes)
    with ExitStack() as stack:
        stack.enter_context(scoring_session(model, seed))
        _keep_unpacked(model, stack)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for branch in changes.branches:
            handle = branch.module.register_forward_hook(path.add_branch(branch))
            stack.callback(handle.remove)
        for blend in changes.blends:
            base = blend.weight
            for module, _ in blend.owners:
                _widen(module, stack)
            parameter = nn.Parameter(base.detach().to(wide(base.dtype)))
            for module, name in blend.owners:
                _replace(module, name, parameter, stack)
            path.add_blend(blend, parameter, base.detach())
        path.place(0.0)
        yield path


def _keep_unpacked(model: nn.Module, stack: ExitStack) -> None:
    """Stop bitsandbytes from repacking 4-bit weights on a CPU: no gradient would pass them any more."""
    modules: list[Any] = list(model.modules())
    for module in modules:
        if getattr(module, "support_avx512bf16_for_cpu", False):
            stack.callback(setattr, module, "support_avx512bf16_for_cpu", True)
            module.support_avx512bf16_for_cpu = False


def _replace(module: nn.Module, name: str, parameter: nn.Parameter, stack: ExitStack) -> None:
    """Put another parameter in a module's place for it until the stack is unwound."""
    stack.callback(module._parameters.__setitem__, name, module._parameters[name])
    module._parameters[name] = parameter


def _widen(module: nn.Module, stack: ExitStack) -> None:
    """Let a layer of low precision compute in float32, as W₀ + αΔW would round ΔW away in its own dtype."""
    own = {name: p for name, p in module.named_parameters(recurse=False) if p.is_floating_point()}
    low = {name: p for name, p in own.items() if p.dtype != wide(p.dtype)}
    if not low:
        return
    narrow = next(iter(low.values())).dtype
    for name, parameter in low.items():
        widened = nn.Parameter(parameter.detach().to(wide(parameter.dtype)), requires_grad=False)
        _replace(module, name, widened, stack)
    before = module.register_forward_pre_hook(
        lambda _, args, kwargs: (_cast(args, torch.float32), _cast(kwargs, torch.float32)), with_kwargs=True
    )
    after = module.register_forward_hook(lambda *call: _cast(call[2], narrow))
    stack.callback(before.remove)
    stack.callback(after.remove)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, tuple | list):
        return type(value)(_cast(item, dtype) for item in value)
    if isinstance(value, dict):
        return {key: _cast(item, dtype) for key, item in value.items()}
    return value
