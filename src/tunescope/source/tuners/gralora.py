"""GraLoRA: block (K, n) of ΔW is its own low-rank product, s = alpha/(r + hybrid_r) [Jung et al. 2025].

With k blocks along each side and r/k ranks for each block, input block n saves A[n] (d_in/k, r) and output
block K saves B[K] (r, d_out/k); block (K, n) uses the columns K·r/k… of A[n] and the rows n·r/k… of B[K].
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from tunescope.delta import Array, Delta, Factored
from tunescope.source.tuners.adapter import Adapter, Module, Tuner, floats


def read(adapter: Adapter) -> Iterator[Delta]:
    """One delta for each adapted module."""
    hybrid = ("gralora_A_general", "gralora_B_general") if adapter.config.get("hybrid_r") else ()
    for module in adapter.complete("gralora_A", "gralora_B", *hybrid):
        yield _delta(adapter, module, hybrid)


def _delta(adapter: Adapter, module: Module, hybrid: tuple[str, ...]) -> Delta:
    A, B = module["gralora_A"], module["gralora_B"]
    sizes = adapter.sizes(A=(A, "k width r"), B=(B, "k r height"))
    a, b, k = A.shape, B.shape, sizes["k"]
    if sizes["r"] % k:
        adapter.refuse(A, f"a rank that {k} blocks share", sizes["r"])
    if hybrid:
        general = (module[name] for name in hybrid)
        wide, high = ((t, axes) for t, axes in zip(general, ("h d_in", "d_out h"), strict=True))
        around = adapter.sizes(A_general=wide, B_general=high)
        if (around["d_in"], around["d_out"]) != (k * sizes["width"], k * sizes["height"]):
            adapter.refuse(wide[0], f"{k * sizes['height']}×{k * sizes['width']} as the blocks have", around)
    stated = int(adapter.config.get("r", 32)), int(adapter.config.get("hybrid_r", 0))
    alpha = float(adapter.config.get("alpha", 64))
    adapter.rank_differs(module.name, stated[0], a[2])
    scale = alpha / sum(stated)
    return adapter.delta(
        module, "gralora", shape=(b[0] * b[2], a[0] * a[1]), used=("gralora_A", "gralora_B", *hybrid),
        open=partial(_factors, module, bool(hybrid), scale), scale=scale, rank=a[2] + stated[1], alpha=alpha,
    )  # fmt: skip


def _factors(module: Module, hybrid: bool, scale: float) -> Factored:
    B, A = _blocks(floats(module["gralora_A"]), floats(module["gralora_B"]))
    if hybrid:
        B = np.concatenate([B, floats(module["gralora_B_general"])], axis=1)
        A = np.concatenate([A, floats(module["gralora_A_general"])], axis=0)
    return Factored(B, A, scale)


def _blocks(a: Array, b: Array) -> tuple[Array, Array]:
    """The blocks laid out as one factorisation of rank k·r."""
    k, width, rank = a.shape
    height, part = b.shape[2], rank // k
    B = np.zeros((k * height, k * rank), dtype=b.dtype)
    A = np.zeros((k * rank, k * width), dtype=a.dtype)
    for out in range(k):
        B[out * height : (out + 1) * height, out * rank : (out + 1) * rank] = b[out].T
        for into in range(k):
            row = out * rank + into * part
            columns = slice(into * width, (into + 1) * width)
            A[row : row + part, columns] = a[into, :, out * part : (out + 1) * part].T
    return B, A


TUNER = Tuner(frozenset({"gralora_A", "gralora_B", "gralora_A_general", "gralora_B_general"}), read)
