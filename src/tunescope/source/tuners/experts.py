"""Fused mixture-of-experts parameters (`target_parameters`): one delta for each expert.

A is saved as (E·r, d_in), expert after expert; B as (d_out, r·E), with the experts fastest; before PEFT 0.19
for some models with the sides exchanged. Where several parameters of one module are adapted, the keys nest
`base_layer` once for each parameter wrapped later, and do not name the parameter: the innermost is the one
that the module defines first.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from typing import Protocol

from tunescope.address import Address, parse
from tunescope.delta import Array, Delta, Factored
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.tuners.adapter import Adapter, Module, floats
from tunescope.source.tuners.expert_sides import UNKNOWN_SIDES, sides_exchanged
from tunescope.source.tuners.patterns import fits_whole

# The order in which the models define the parameters of their experts modules.
_DEFINED = ("gate_up_proj", "gate_proj", "up_proj", "w1", "v1", "wi", "w3", "down_proj", "w2", "wo")


class Terms(Protocol):
    """Method, rank, alpha, scale and status of one module."""

    @property
    def method(self) -> str: ...
    @property
    def rank(self) -> int: ...
    @property
    def alpha(self) -> float: ...
    @property
    def scale(self) -> float: ...
    @property
    def status(self) -> str: ...


def targets_parameters(adapter: Adapter, module: Module) -> bool:
    """Whether this module's tensors adapt a parameter named in `target_parameters`.

    A bare parameter name there may belong to any module, so a module that `target_modules` means is none.
    """
    name = _unwrapped(module.name)
    return bool(_targets(adapter, name)) and not _is_target_module(adapter.config.get("target_modules"), name)


def _is_target_module(targets: str | list[str] | None, name: str) -> bool:
    """PEFT's rule: a string is a regular expression for the whole name, a list holds ends of names."""
    if isinstance(targets, str):
        return fits_whole(targets, name)
    return any(_ends_with(name, target) for target in targets or [])


def _ends_with(name: str, end: str) -> bool:
    return not end or name == end or name.endswith(f".{end}")


def _unwrapped(name: str) -> str:
    return name.replace(".base_layer", "")


def _targets(adapter: Adapter, name: str, bare: bool = True) -> list[str]:
    """Parameters of the module `name` that the config targets, in the order PEFT wraps them.

    Without `bare` those alone that it names together with their module.
    """
    targets = list(dict.fromkeys(adapter.config.get("target_parameters") or []))
    owned = [t.rpartition(".") for t in targets]
    names = list(dict.fromkeys(p for owner, _, p in owned if _ends_with(name, owner) and (owner or bare)))
    known = all(n in _DEFINED for n in names)
    return sorted(names, key=_DEFINED.index) if known else names


def _names(adapter: Adapter, module: Module) -> tuple[list[str], int]:
    """The adapted parameters of a module, in that order, and how many its keys nest."""
    owner = _unwrapped(module.name)
    depths = sum(_unwrapped(m) == owner for m in adapter.modules)
    # A bare name may be another module's: of a router beside experts its own alone count.
    found = (_targets(adapter, owner), _targets(adapter, owner, bare=False))
    return next((names for names in found if len(names) == depths), []), depths


def _parameter(adapter: Adapter, module: Module) -> str:
    """The parameter that one nesting depth means."""
    (names, depths), depth = _names(adapter, module), module.name.count(".base_layer")
    return names[depths - 1 - depth] if names else f"parameter_{depths - depth}"


def _notice_order(adapter: Adapter, module: Module, parameter: str) -> None:
    """Say where the order of the parameters is that of the config, because no model's is known."""
    names, _ = _names(adapter, module)
    if parameter in names and len(names) > 1 and not all(n in _DEFINED for n in names):
        adapter.ledger.notice(
            "unnamed-parameters",
            f"the file does not say which of {', '.join(names)} of {_unwrapped(module.name)} is which; "
            "the order of target_parameters was taken",
            module.name,
        )


def _sizes(adapter: Adapter, owner: str) -> dict[str, tuple[int, int]]:
    """Width of A and height of B for each adapted parameter of a module; a `weight` goes by the module."""
    sizes = {}
    for name, module in adapter.modules.items():
        if _unwrapped(name) == owner and "lora_A" in module and "lora_B" in module:
            a, b = module["lora_A"].shape, module["lora_B"].shape
            if len(a) == len(b) == 2:
                parameter = _parameter(adapter, module)
                own = owner.rpartition(".")[2] if parameter == "weight" else parameter
                sizes[own] = (a[1], b[0])
    return sizes


def expert_deltas(
    adapter: Adapter, module: Module, terms: Callable[[Adapter, str], Terms]
) -> Iterator[Delta]:
    """One delta for each expert, its address naming the parameter and the expert."""
    parameter, owner = _parameter(adapter, module), _unwrapped(module.name)
    _notice_order(adapter, module, parameter)
    t = terms(adapter, f"{owner}.{parameter}")
    a, b = module["lora_A"], module["lora_B"]
    fits = len(a.shape) == len(b.shape) == 2 and a.shape[0] == b.shape[1]
    adapter.require(module, fits, "lora_A", "lora_B", expected="A (experts·r, d_in) and B (d_out, r·experts)")
    experts = max(a.shape[0] // t.rank, 1) if a.shape[0] % t.rank == 0 else 1
    rank = a.shape[0] // experts
    adapter.rank_differs(f"{owner}.{parameter}", t.rank, rank)
    exchanged = sides_exchanged(adapter, _sizes(adapter, owner)) if experts > 1 else False
    if exchanged is None:
        adapter.sides_unknown(module)
    status = t.status if exchanged is not None or t.status != "ok" else UNKNOWN_SIDES
    shape = (a.shape[1], b.shape[0]) if exchanged else (b.shape[0], a.shape[1])
    for expert in range(experts):
        yield adapter.delta(
            module, t.method, shape=shape, used=("lora_A", "lora_B"),
            open=partial(_expert, a, b, expert, experts, t.scale, bool(exchanged)),
            address=_address(owner, parameter, expert if experts > 1 else None),
            scale=t.scale, rank=rank, alpha=t.alpha, status=status,
        )  # fmt: skip


def _address(owner: str, parameter: str, expert: int | None) -> Address:
    named = parse(owner if parameter == "weight" else f"{owner}.{parameter}")
    return replace(named, expert=expert) if expert is not None else named


def _expert(
    a: LazyTensor, b: LazyTensor, expert: int, experts: int, scale: float, exchanged: bool
) -> Factored:
    rank = a.shape[0] // experts
    A, B = _stacks(a, b)
    down, up = A[expert * rank : (expert + 1) * rank], B[:, expert::experts]
    return Factored(down.T, up.T, scale) if exchanged else Factored(up, down, scale)


# The experts of one module are opened one after the other, and each needs the whole stack read.
@lru_cache(maxsize=2)
def _stacks(a: LazyTensor, b: LazyTensor) -> tuple[Array, Array]:
    return floats(a), floats(b)
