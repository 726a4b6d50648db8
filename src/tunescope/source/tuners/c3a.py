"""C3A: ΔW is block circulant, ΔW[m·b+i, n·b+j] = w[m, n, (j−i) mod b]/d_in [Chen et al. 2025; PEFT c3a]."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from tunescope.delta import Delta, Dense
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.tuners.adapter import Adapter, Module, Tuner, floats


def read(adapter: Adapter) -> Iterator[Delta]:
    """One delta for each adapted module."""
    for module in adapter.complete("c3a_kernel"):
        yield _delta(adapter, module)


def _delta(adapter: Adapter, module: Module) -> Delta:
    kernel = module["c3a_kernel"]
    sizes = adapter.sizes(kernel=(kernel, "m n b"))
    rows, columns, block = sizes["m"], sizes["n"], sizes["b"]
    scale = 1.0 / (columns * block)
    return adapter.delta(
        module, "c3a", shape=(rows * block, columns * block), used=("c3a_kernel",),
        open=partial(_circulant, kernel, scale), scale=scale,
    )  # fmt: skip


def _circulant(kernel: LazyTensor, scale: float) -> Dense:
    rows, columns, block = kernel.shape
    step = np.arange(block)
    blocks = floats(kernel)[:, :, (step[None, :] - step[:, None]) % block]
    return Dense(blocks.transpose(0, 2, 1, 3).reshape(rows * block, columns * block), scale)


TUNER = Tuner(frozenset({"c3a_kernel"}), read)
