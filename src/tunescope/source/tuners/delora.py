"""DeLoRA: ΔW = B diag(λ/(r·‖A_i‖‖B^i‖)) A diag(w), w the base's column norms [Bini et al. 2025]."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from tunescope.delta import Delta, Factored
from tunescope.source.tuners.adapter import Adapter, Module, Tuner, exact

_PARTS = ("delora_A", "delora_B", "delora_lambda", "delora_w_norm")


def read(adapter: Adapter) -> Iterator[Delta]:
    """One delta for each adapted module."""
    for module in adapter.complete(*_PARTS):
        yield _delta(adapter, module)


def _delta(adapter: Adapter, module: Module) -> Delta:
    A, B, norms, strength = (module[p] for p in ("delora_A", "delora_B", "delora_w_norm", "delora_lambda"))
    sizes = adapter.sizes(A=(A, "r d_in"), B=(B, "d_out r"), w_norm=(norms, "d_in"))
    if strength.shape not in ((), (1,), (sizes["r"],)):
        adapter.refuse(strength, f"one λ, or {sizes['r']}", strength.shape)
    stated = int(adapter.for_module("rank_pattern", module.name, adapter.config.get("r", 8)))
    adapter.rank_differs(module.name, stated, sizes["r"])
    return adapter.delta(
        module,
        "delora",
        shape=(sizes["d_out"], sizes["d_in"]),
        used=_PARTS,
        open=partial(_factors, module, stated),
        rank=sizes["r"],
    )


def _factors(module: Module, rank: int) -> Factored:
    A, B = exact(module["delora_A"]), exact(module["delora_B"])
    # PEFT keeps the norms away from 0.
    lengths = np.maximum(np.linalg.norm(A, axis=1), 1e-4) * np.maximum(np.linalg.norm(B, axis=0), 1e-4)
    diagonal = exact(module["delora_lambda"]) / rank / lengths
    return Factored(B * diagonal, A * exact(module["delora_w_norm"]))


TUNER = Tuner(frozenset(_PARTS), read)
