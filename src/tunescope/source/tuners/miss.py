"""MiSS: ΔW[:, j] = D[j mod r, :], one block D (r, d_out) repeated along the input [Kang & Yin 2024].

`mini` saves D (r, m) and repeats it along the output as well; `bat` multiplies blocks of the base by those of
D (d_out/r, r, r), and needs it. The file does not say d_in.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from tunescope.delta import Delta, Factored
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.tuners.adapter import Adapter, Module, Tuner, floats
from tunescope.source.tuners.widths import input_widths

# `init_weights` of the form that multiplies W.
BAT = "bat"


def read(adapter: Adapter) -> Iterator[Delta]:
    """One delta for each module whose input width is known."""
    kind = adapter.config.get("init_weights")
    modules = list(adapter.complete("miss_block"))
    if kind == BAT:
        for module in modules:
            adapter.sizes(block=(module["miss_block"], "blocks r r"))
            adapter.needs(module, "MiSS: the block-affine form needs the base")
        return
    for module in modules:
        adapter.sizes(block=(module["miss_block"], "r width"))
    outputs = {} if kind == "mini" else {m.name: m["miss_block"].shape[1] for m in modules}
    inferred = {name: (outputs[name], width) for name, width in input_widths(outputs).items()}
    shapes = {**inferred, **adapter.shapes}
    for module in modules:
        if module.name not in shapes:
            adapter.needs(module, "MiSS: the input width is not in the file; needs the base's shapes")
        else:
            yield _delta(adapter, module, shapes[module.name])


def _delta(adapter: Adapter, module: Module, shape: tuple[int, int]) -> Delta:
    block = module["miss_block"]
    known = module.name in adapter.shapes
    return adapter.delta(
        module, "miss", shape=shape, used=("miss_block",), open=partial(_factors, block, shape),
        rank=block.shape[0],
        status="ok" if known else f"input width {shape[1]} follows from the other modules",
    )  # fmt: skip


def _factors(block: LazyTensor, shape: tuple[int, int]) -> Factored:
    D = floats(block)
    rank, width = D.shape
    B = np.tile(D, (1, shape[0] // width)).T
    A = np.tile(np.eye(rank, dtype=D.dtype), (1, -(-shape[1] // rank)))[:, : shape[1]]
    return Factored(B, A)


TUNER = Tuner(frozenset({"miss_block"}), read)
