"""RandLoRA: ΔW = s·Σ_j B_j Λ_j A Γ_j, random bases shared by all, s = alpha/r [Albert et al. 2025].

A belongs to the shorter side. The file says the shorter side's length, not the longer one nor which side it
is; a module whose shorter side equals the longest of all is square.
"""

from collections.abc import Iterator
from functools import partial

from tunescope.delta import Delta, Factored
from tunescope.source.tuners.adapter import Adapter, Module, Tuner, exact

_PARTS = ("randlora_lambda", "randlora_gamma")
_BASES = ("randlora_A", "randlora_B")


def read(adapter: Adapter) -> Iterator[Delta]:
    """One delta for each module whose shape is known."""
    for module in adapter.complete(*_PARTS):
        bases = module if all(p in module for p in _BASES) else adapter.shared
        if not all(p in bases for p in _BASES):
            adapter.needs(module, "RandLoRA: the random bases were not saved")
            continue
        if not adapter.whole(bases, *_BASES):
            continue
        _check(adapter, module, bases)
        shape = _shape(adapter, module, bases)
        if shape is None:
            adapter.needs(module, "RandLoRA: the layer's shape is not in the file; needs the base's shapes")
        else:
            yield _delta(adapter, module, bases, shape)
    copies = (t.name for p, t in adapter.shared.tensors.items() if p in _BASES)
    adapter.ledger.left(copies, "copy of the random bases that the modules hold")


def _check(adapter: Adapter, module: Module, bases: Module) -> None:
    weights, gains = (module[name] for name in _PARTS)
    A, B = (bases[name] for name in _BASES)
    sizes = adapter.sizes(
        **{
            "lambda": (weights, "r c"),
            "gamma": (gains, "c d"),
            "A": (A, "r one width"),
            "B": (B, "height n r"),
        }
    )
    fits = sizes["one"] in (1, sizes["n"]) and sizes["c"] <= sizes["n"] and sizes["d"] <= sizes["width"]
    if not fits:
        adapter.refuse(gains, f"at most {sizes['n']} bases of at most {sizes['width']}", gains.shape)


def _shape(adapter: Adapter, module: Module, bases: Module) -> tuple[int, int] | None:
    shorter, longest = module["randlora_gamma"].shape[1], bases["randlora_B"].shape[0]
    if module.name in adapter.shapes:
        shape = adapter.shapes[module.name]
        if max(shape) > longest or min(shape) > shorter:
            adapter.refuse(module["randlora_gamma"], f"bases for a layer of {shape}", (longest, shorter))
        return shape
    return (shorter, shorter) if shorter == longest else None


def _delta(adapter: Adapter, module: Module, bases: Module, shape: tuple[int, int]) -> Delta:
    rank, alpha = int(adapter.config.get("r", 32)), float(adapter.config.get("randlora_alpha", 640))
    adapter.rank_differs(module.name, rank, module["randlora_lambda"].shape[0])
    used = (*_PARTS, bases["randlora_A"].name, bases["randlora_B"].name)
    return adapter.delta(
        module, "randlora", shape=shape, used=used, scale=alpha / rank,
        open=partial(_factors, module, bases, shape, alpha / rank),
        rank=min(shape), alpha=alpha,
    )  # fmt: skip


def _factors(module: Module, bases: Module, shape: tuple[int, int], scale: float) -> Factored:
    weights, gains = exact(module["randlora_lambda"]), exact(module["randlora_gamma"])
    count, shorter = gains.shape
    A = exact(bases["randlora_A"])[:, :count, :shorter]
    B = exact(bases["randlora_B"])[: max(shape), :count]
    A = (weights[:, :, None] * A * gains[None]).reshape(-1, shorter)
    B = B.reshape(B.shape[0], -1)
    # PEFT flattens A by (rank, basis) and B by (basis, rank); the product follows it.
    return Factored(B, A, scale) if shape[1] == shorter else Factored(A.T, B.T, scale)


TUNER = Tuner(frozenset({*_PARTS, *_BASES}), read)
