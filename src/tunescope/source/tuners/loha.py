"""LoHa: ΔW = s·(w1a w1b) ∘ (w2a w2b), s = alpha/r [Hyeon-Woo et al. 2022; PEFT loha/layer.py].

The Hadamard product of two rank-r matrices has rank at most r²: its factors are the row-wise products of
the left factors and the column-wise products of the right ones (Khatri-Rao).
"""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Delta, Dense, Factored, Update
from tunescope.source.tuners.adapter import (
    Adapter,
    Module,
    Tuner,
    cheaper_factored,
    exact,
    kernel_axes,
    mixed,
)

_PAIRS = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
_CORES = ("hada_t1", "hada_t2")
Pair = tuple[NDArray[np.float64], NDArray[np.float64]]


def read(adapter: Adapter) -> Iterator[Delta]:
    """One delta for each adapted module; a convolution counts d_in·k·k columns."""
    for module in adapter.complete(*_PAIRS):
        # A Tucker core belongs to both matrices.
        if not any(core in module for core in _CORES) or adapter.whole(module, *_CORES):
            yield _delta(adapter, module)


def _delta(adapter: Adapter, module: Module) -> Delta:
    shape = _shape(adapter, module)
    rank = module["hada_w1_b"].shape[0]
    stated = int(adapter.for_module("rank_pattern", module.name, adapter.config.get("r", 8)))
    alpha = float(adapter.for_module("alpha_pattern", module.name, adapter.config.get("alpha", 8)))
    adapter.rank_differs(module.name, stated, rank)
    used = [*_PAIRS, *(core for core in _CORES if core in module)]
    return adapter.delta(
        module, "loha", shape=shape, used=used, open=partial(_update, module, shape, alpha / stated),
        scale=alpha / stated, rank=rank, alpha=alpha,
    )  # fmt: skip


def _shape(adapter: Adapter, module: Module) -> tuple[int, int]:
    """(d_out, d_in) of the matrices, the columns of a Tucker core's kernel included."""
    a1, b1, a2, b2 = (module[name] for name in _PAIRS)
    if "hada_t1" not in module:
        sizes = adapter.sizes(
            w1_a=(a1, "d_out r"), w1_b=(b1, "r d_in"), w2_a=(a2, "d_out s"), w2_b=(b2, "s d_in")
        )
        return sizes["d_out"], sizes["d_in"]
    t1, t2 = (module[core] for core in _CORES)
    sizes = adapter.sizes(
        t1=(t1, kernel_axes("p q", t1)), w1_a=(a1, "p d_out"), w1_b=(b1, "q d_in"),
        t2=(t2, kernel_axes("u v", t2)), w2_a=(a2, "u d_out"), w2_b=(b2, "v d_in"),
    )  # fmt: skip
    return sizes["d_out"], sizes["d_in"] * math.prod(t1.shape[2:])


def _update(module: Module, shape: tuple[int, int], scale: float) -> Update:
    (a1, b1), (a2, b2) = _pair(module, "1"), _pair(module, "2")
    rank = a1.shape[1] * a2.shape[1]
    if cheaper_factored(rank, shape):
        B = (a1[:, :, None] * a2[:, None, :]).reshape(-1, rank)
        A = (b1[:, None, :] * b2[None, :, :]).reshape(rank, -1)
        return Factored(B, A, scale)
    return Dense((a1 @ b1) * (a2 @ b2), scale)


def _pair(module: Module, which: str) -> Pair:
    """Left and right factor of one of the two matrices; with a Tucker core, the core goes to the right."""
    a, b = exact(module[f"hada_w{which}_a"]), exact(module[f"hada_w{which}_b"])
    if f"hada_t{which}" not in module:
        return a, b
    return a.T, mixed(exact(module[f"hada_t{which}"]), b)


TUNER = Tuner(frozenset({*_PAIRS, *_CORES}), read)
