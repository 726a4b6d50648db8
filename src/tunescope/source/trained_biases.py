"""Biases that a LoRA adapter changes beside its weights: those of lora_B, which a merge adds to the layer's.

b' = b + s·β with the scale s of the layer's ΔW, where b is the bias that was trained whole if the adapter
saved one [PEFT tuners/lora/layer.py, `lora_bias`].
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from tunescope.delta import Delta, Dense, Update
from tunescope.source.base_weights import with_base_weights
from tunescope.source.files.tensors import LazyTensor, is_float
from tunescope.source.tuners.adapter import floats
from tunescope.source.whole import WholeModel

_END = ".bias"


def trained_biases(
    deltas: Sequence[Delta], tensors: Mapping[str, LazyTensor], saved: Sequence[Delta], base: WholeModel
) -> list[Delta]:
    """`saved` and the biases of lora_B; one delta for a bias that both change.

    A layer whose base has no bias has no row: there is nothing that they could be merged into.
    """
    of_factors = with_base_weights(list(_of_factors(deltas, tensors)), base)
    whole = {delta.address: delta for delta in saved}
    for delta in of_factors:
        if delta.base is None:
            continue
        before = whole.get(delta.address)
        whole[delta.address] = delta if before is None else _both(before, delta)
    return list(whole.values())


def _of_factors(deltas: Sequence[Delta], tensors: Mapping[str, LazyTensor]) -> Iterator[Delta]:
    for delta in deltas:
        for name in delta.tensors:
            bias = tensors.get(name.removesuffix(".weight") + _END)
            if ".lora_B" not in name or bias is None or not is_float(bias) or bias.shape != (delta.d_out,):
                continue
            place = replace(delta.address, module_type=delta.address.module_type + _END)
            yield Delta(
                place, "", delta.method, delta.d_out, 1, None, delta.alpha, delta.scale, (bias.name,),
                partial(_column, bias, delta.scale),
            )  # fmt: skip


def _column(bias: LazyTensor, scale: float | None) -> Dense:
    return Dense(floats(bias).reshape(-1, 1), scale)


def _both(saved: Delta, added: Delta) -> Delta:
    names = (*saved.tensors, *added.tensors)
    return replace(added, tensors=names, scale=1.0, open=partial(_sum, saved, added))


def _sum(saved: Delta, added: Delta) -> Update:
    return Dense(saved.open().dense() + added.open().dense())
