"""VB-LoRA: ΔW = B A, each piece of A and B a softmax mix of top-k vectors of one bank [Li et al. 2024]."""

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Delta, Factored
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.tuners.adapter import Adapter, Module, Tuner, exact

_WHOLE = ("vblora_logits_A", "vblora_logits_B")
_TOP = tuple(f"{side}_topk_{part}" for side in _WHOLE for part in ("indices", "weights"))
_BANK = "vblora_vector_bank"


def read(adapter: Adapter) -> Iterator[Delta]:
    """One delta for each adapted module, from whole logits or from the saved top k."""
    indices = [name for name in _TOP if name.endswith("indices")]
    saved = _TOP if adapter.config.get("save_only_topk_weights") else _WHOLE
    for module in adapter.complete(*saved, indices=indices):
        if adapter.whole(adapter.shared, _BANK):
            yield _delta(adapter, module, adapter.shared[_BANK], saved)


def _delta(adapter: Adapter, module: Module, bank: LazyTensor, saved: tuple[str, ...]) -> Delta:
    sizes = _sizes(adapter, module, bank, saved is _TOP)
    length = sizes["length"]
    return adapter.delta(
        module, "vblora", shape=(sizes["m"] * length, sizes["n"] * length), used=(*saved, bank.name),
        rank=sizes["r"],
        open=partial(_factors, adapter, module, bank, int(adapter.config.get("topk", 2)), saved is _TOP),
    )  # fmt: skip


def _sizes(adapter: Adapter, module: Module, bank: LazyTensor, only_top: bool) -> dict[str, int]:
    if not only_top:
        a, b = (module[name] for name in _WHOLE)
        return adapter.sizes(bank=(bank, "v length"), logits_A=(a, "r n v"), logits_B=(b, "m r v"))
    ia, wa, ib, wb = (module[name] for name in _TOP)
    sizes = adapter.sizes(
        bank=(bank, "v length"), indices_A=(ia, "r n k"), weights_A=(wa, "r n k_less_1"),
        indices_B=(ib, "m r k"), weights_B=(wb, "m r k_less_1"),
    )  # fmt: skip
    if sizes["k"] != sizes["k_less_1"] + 1:
        adapter.refuse(wa, f"{sizes['k'] - 1} weights, one less than indices", wa.shape)
    return sizes


def _factors(adapter: Adapter, module: Module, bank: LazyTensor, top: int, only_top: bool) -> Factored:
    vectors = exact(bank)
    mixes = [
        _saved_mix(adapter, module, side, len(vectors)) if only_top else _mix(module[side], top)
        for side in _WHOLE
    ]
    a, b = ((weights[..., None] * vectors[indices]).sum(-2) for indices, weights in mixes)
    A = a.reshape(a.shape[0], -1)
    B = b.transpose(0, 2, 1).reshape(-1, b.shape[1])
    return Factored(B, A)


def _mix(tensor: LazyTensor, top: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    logits = exact(tensor)
    indices = np.argsort(-logits, axis=-1, kind="stable")[..., :top]
    chosen = np.take_along_axis(logits, indices, axis=-1)
    weights = np.exp(chosen - chosen.max(-1, keepdims=True))
    return indices, weights / weights.sum(-1, keepdims=True)


def _saved_mix(
    adapter: Adapter, module: Module, side: str, vectors: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The saved mix, whose last weight is left out because the weights sum to 1."""
    weights = exact(module[f"{side}_topk_weights"])
    last = 1 - weights.sum(-1, keepdims=True)
    return adapter.positions(module[f"{side}_topk_indices"], vectors), np.concatenate(
        [weights, last], axis=-1
    )


TUNER = Tuner(frozenset({*_WHOLE, *_TOP, _BANK}), read)
