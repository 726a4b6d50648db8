"""BEFT: the bias b of a linear layer becomes b + δ, δ stored as (1, d_out) [PEFT tuners/beft/layer.py]."""

from collections.abc import Iterator
from functools import partial

from tunescope.address import parse
from tunescope.delta import Delta, Dense
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.tuners.adapter import Adapter, Tuner, floats

_BIAS = "beft_bias"


def read(adapter: Adapter) -> Iterator[Delta]:
    """One delta for the bias of each adapted module, (d_out, 1)."""
    for module in adapter.complete(_BIAS):
        bias = module[_BIAS]
        adapter.sizes(bias=(bias, "one d_out" if len(bias.shape) == 2 else "d_out"))
        if len(bias.shape) == 2 and bias.shape[0] != 1:
            adapter.refuse(bias, "one row", tuple(bias.shape))
        yield adapter.delta(
            module, "beft", shape=(bias.numel, 1), used=(_BIAS,), open=partial(_column, bias),
            address=parse(f"{module.name}.bias"),
        )  # fmt: skip


def _column(bias: LazyTensor) -> Dense:
    return Dense(floats(bias).reshape(-1, 1))


TUNER = Tuner(frozenset({_BIAS}), read)
