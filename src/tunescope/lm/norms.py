"""Weights that a layer applies as 1 + v (Gemma's norms), found by what the layer does and not by its name."""

from collections.abc import Hashable, Iterator

import torch
from torch import Tensor, nn

# What a module raises that is no function of one (batch, seq, features) tensor.
_NOT_THIS_WAY = (RuntimeError, TypeError, ValueError, IndexError, AttributeError)
# What every module carries; parameters are replaced when it is called.
_PARAMETERS = ("_parameters", "_non_persistent_buffers_set")
_SCALARS = (bool, int, float, str, tuple)
_ROWS = 4
_NEAR = 1e-3


def weight_offsets(model: nn.Module) -> dict[str, float]:
    """Names of one-dimensional parameters v that their module applies as c + v, and c.

    Each such module is called on a few random rows x with v = 0, 1 and 2, everything else of it at zero:
    where its output is (c + v) ⊙ n(x), the three outputs give c. Where it is n((c + v) ⊙ x), how two halves
    of the output change when v grows in one gives it. Nothing of the model is changed.
    """
    found: dict[str, float] = {}
    known: dict[Hashable, float] = {}
    for path, module in model.named_modules():
        for name, parameter in _own_vectors(module):
            alike = (*_make(module), name, parameter.shape)
            if alike not in known:
                known[alike] = _offset(module, name, parameter)
            if abs(known[alike]) > _NEAR:
                found[f"{path}.{name}" if path else name] = round(known[alike], 3)
    return found


def _make(module: nn.Module) -> tuple[type[nn.Module], Hashable, int | None]:
    """What a module's output follows from beside its parameters: alike in modules that do the same."""
    own = {name: value for name, value in vars(module).items() if name not in _PARAMETERS}
    plain = {name: value for name, value in own.items() if value is None or isinstance(value, _SCALARS)}
    others = any(value for name, value in own.items() if name not in plain)
    return (type(module), tuple(sorted(plain.items())), id(module) if others else None)


def _own_vectors(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The vectors of a module that holds nothing but vectors of one length."""
    own = list(module.named_parameters(recurse=False))
    lengths = {parameter.shape for _, parameter in own}
    if next(module.children(), None) is None and len(lengths) == 1 and len(next(iter(lengths))) == 1:
        yield from ((n, p) for n, p in own if p.is_floating_point() and not p.is_meta and p.numel())


@torch.no_grad()
def _offset(module: nn.Module, name: str, parameter: nn.Parameter) -> float:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((1, _ROWS, parameter.shape[0]), generator=generator).to(parameter.device)
    rest = {n: torch.zeros_like(x[0, 0]) for n, _ in module.named_parameters(recurse=False)}
    every = torch.ones_like(x[0, 0])
    half = torch.arange(len(every), device=x.device) % 2
    try:
        zero, one, two, more, most = (
            _called(module, rest | {name: v}, x)
            for v in (0 * every, every, 2 * every, every + half, every + 2 * half)
        )
    except _NOT_THIS_WAY:
        return 0.0
    return _behind(zero, one, two) or _in_front(one, more, most, half.bool())


def _behind(zero: Tensor, one: Tensor, two: Tensor) -> float:
    """The c of (c + v) ⊙ n(x), from its outputs at v = 0, 1 and 2."""
    slope = one - zero
    size = float(slope.abs().max())
    if not 0 < size < float("inf") or float((two - one - slope).abs().max()) > _NEAR * size:
        return 0.0
    offset = float((zero * slope).sum() / slope.square().sum())
    return offset if float((zero - offset * slope).abs().max()) <= _NEAR * size else 0.0


def _in_front(one: Tensor, more: Tensor, most: Tensor, half: Tensor) -> float:
    """The c of n((c + v) ⊙ x), from its outputs at v = 1, and at 2 and 3 in one half of the places."""
    grown = []
    for after in (more, most):
        ratio = after / one
        # Only of rows that are scaled as a whole does the quotient of the halves say anything.
        quotient = ratio[..., half] / ratio[..., ~half][..., :1]
        grown.append(float(quotient.mean()) if quotient.numel() else 1.0)
        flat = all(
            bool((r - r[..., :1]).abs().max() <= _NEAR) for r in (ratio[..., ~half], quotient) if r.numel()
        )
        if not flat:
            return 0.0
    once, twice = grown[0] - 1, grown[1] - 1
    return 1 / once - 1 if once > _NEAR and abs(twice - 2 * once) <= _NEAR * once else 0.0


def _called(module: nn.Module, values: dict[str, Tensor], x: Tensor) -> Tensor:
    output = torch.func.functional_call(module, values, (x,))
    if not isinstance(output, Tensor) or output.shape != x.shape:
        raise ValueError("the module is no map of rows to rows")
    return output.double()
