"""LoKr: ΔW = s·w1 ⊗ w2, s = alpha/r, each of w1, w2 whole or low-rank [Yeh et al. 2024]."""

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

Matrix = NDArray[np.float64]
_PARTS = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")


def read(adapter: Adapter) -> Iterator[Delta]:
    """One delta for each adapted module; a convolution counts d_in·k·k columns."""
    for module in adapter.modules.values():
        if any(p in module for p in _PARTS) and adapter.whole(
            module, *_required(module, "1"), *_required(module, "2")
        ):
            yield _delta(adapter, module)


def _required(module: Module, which: str) -> list[str]:
    whole = f"lokr_w{which}"
    low = [f"{whole}_a", f"{whole}_b"]
    core = ["lokr_t2"] if which == "2" and "lokr_t2" in module else []
    return [*low, *core] if core or any(p in module for p in low) else [whole]


def _delta(adapter: Adapter, module: Module) -> Delta:
    (rows, columns), (inner_rows, inner_columns) = (_sizes(adapter, module, which) for which in "12")
    shape = rows * inner_rows, columns * inner_columns
    stated = int(adapter.for_module("rank_pattern", module.name, adapter.config.get("r", 8)))
    alpha = float(adapter.for_module("alpha_pattern", module.name, adapter.config.get("alpha", 8)))
    low = next((module[p] for p in ("lokr_w2_b", "lokr_w1_b") if p in module), None)
    rank = stated if low is None else low.shape[0]
    adapter.rank_differs(module.name, stated, rank)
    return adapter.delta(
        module, "lokr", shape=shape, used=[p for p in _PARTS if p in module],
        open=partial(_update, module, shape, alpha / stated), scale=alpha / stated, rank=rank, alpha=alpha,
    )  # fmt: skip


def _sizes(adapter: Adapter, module: Module, which: str) -> tuple[int, int]:
    if f"lokr_w{which}" in module:
        whole = module[f"lokr_w{which}"]
        if len(whole.shape) < 2:
            adapter.refuse(whole, "a matrix or a kernel", whole.shape)
        return whole.shape[0], int(np.prod(whole.shape[1:]))
    a, b = module[f"lokr_w{which}_a"], module[f"lokr_w{which}_b"]
    if which == "2" and "lokr_t2" in module:
        core = module["lokr_t2"]
        sizes = adapter.sizes(t2=(core, kernel_axes("p q", core)), w2_a=(a, "p rows"), w2_b=(b, "q columns"))
        return sizes["rows"], sizes["columns"] * math.prod(core.shape[2:])
    sizes = adapter.sizes(a=(a, "rows r"), b=(b, "r columns"))
    return sizes["rows"], sizes["columns"]


def _update(module: Module, shape: tuple[int, int], scale: float) -> Update:
    if "lokr_w2" in module and len(module["lokr_w2"].shape) == 3:
        # PEFT pairs the axes of a one-dimensional convolution from the right; its order is kept.
        product = np.kron(_whole(module, "1"), exact(module["lokr_w2"]))
        return Dense(product.reshape(shape), scale)
    (a1, b1), (a2, b2) = _pair(module, "1"), _pair(module, "2")
    if cheaper_factored(a1.shape[1] * a2.shape[1], shape):
        return Factored(np.kron(a1, a2), np.kron(b1, b2), scale)
    return Dense(np.kron(a1 @ b1, a2 @ b2), scale)


def _whole(module: Module, which: str) -> Matrix:
    a, b = _pair(module, which)
    return np.asarray(a @ b)


def _pair(module: Module, which: str) -> tuple[Matrix, Matrix]:
    """Left and right factor; a matrix that is saved whole is split with an identity on its shorter side."""
    if f"lokr_w{which}" in module:
        whole = exact(module[f"lokr_w{which}"])
        whole = whole.reshape(whole.shape[0], -1)
        rows, columns = whole.shape
        return (np.eye(rows), whole) if rows < columns else (whole, np.eye(columns))
    a, b = exact(module[f"lokr_w{which}_a"]), exact(module[f"lokr_w{which}_b"])
    if which == "2" and "lokr_t2" in module:
        return a.T, mixed(exact(module["lokr_t2"]), b)
    return a, b


TUNER = Tuner(frozenset(_PARTS), read)
