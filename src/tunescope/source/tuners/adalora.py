"""AdaLoRA: ΔW = s·B diag(E) A / (n + 1e-5), n the initial rank [Zhang et al. 2023; PEFT adalora/layer.py]."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from tunescope.delta import Delta, Factored
from tunescope.source.files.tensors import LazyTensor, require_float
from tunescope.source.tuners.adapter import Adapter, Module, Tuner, exact, floats


def read(adapter: Adapter) -> Iterator[Delta]:
    """One delta for each module that kept a rank above 0."""
    for module in adapter.modules.values():
        if not any(t.numel for t in module.tensors.values()):
            adapter.ledger.left((t.name for t in module.tensors.values()), "pruned to rank 0: no change")
        elif adapter.whole(module, "lora_A", "lora_B", "lora_E"):
            yield _delta(adapter, module)
        if "ranknum" in module:
            adapter.ledger.left([module["ranknum"].name], "the initial rank, which is part of the scale")


def _delta(adapter: Adapter, module: Module) -> Delta:
    a, b, e = module["lora_A"], module["lora_B"], module["lora_E"]
    rank = adapter.sizes(A=(a, "r d_in"), B=(b, "d_out r"))["r"]
    if e.numel != rank:
        adapter.refuse(e, f"E of {rank} values, as A and B have ranks", e.shape)
    alpha = float(adapter.config.get("lora_alpha", 8))
    # PEFT divides by the rank at the start, which pruning does not change.
    scale = (alpha if alpha > 0 else float(a.shape[0])) / (_initial_rank(adapter, module) + 1e-5)
    return adapter.delta(
        module, "adalora", shape=(b.shape[0], a.shape[1]), used=("lora_A", "lora_B", "lora_E"),
        open=partial(_factors, a, b, e, scale), scale=scale, rank=a.shape[0], alpha=alpha,
    )  # fmt: skip


def _initial_rank(adapter: Adapter, module: Module) -> float:
    if "ranknum" in module:
        saved = module["ranknum"]
        require_float(saved, adapter.file)
        values = exact(saved).reshape(-1) if saved.supported else np.zeros(0)
        if values.size != 1 or not 0 <= values[0] < np.inf:
            adapter.refuse(saved, "one number of ranks", values[:4])
        return float(values[0])
    return float(adapter.config.get("init_r", 12))


def _factors(a: LazyTensor, b: LazyTensor, e: LazyTensor, scale: float) -> Factored:
    return Factored(floats(b), exact(a) * exact(e).reshape(-1, 1), scale)


TUNER = Tuner(frozenset({"lora_A", "lora_B", "lora_E", "ranknum"}), read)
