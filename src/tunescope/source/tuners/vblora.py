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
    a = next(module[p] for p in saved if p.startswith(_WHOLE[0])).shape
    b = next(module[p] for p in saved if p.startswith(_WHOLE[1])).shape
    length = bank.shape[1]
    return adapter.delta(
        module, "vblora", shape=(b[0] * length, a[1] * length), used=(*saved, bank.name), rank=a[0],
        open=partial(_factors, module, bank, int(adapter.config.get("topk", 2)), saved is _TOP),
    )  # fmt: skip


def _factors(module: Module, bank: LazyTensor, top: int, only_top: bool) -> Factored:
    vectors = exact(bank)
    mixes = [_saved_mix(module, side) if only_top else _mix(module[side], top) for side in _WHOLE]
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


def _saved_mix(module: Module, side: str) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The saved mix, whose last weight is left out because the weights sum to 1."""
    weights = exact(module[f"{side}_topk_weights"])
    last = 1 - weights.sum(-1, keepdims=True)
    return module[f"{side}_topk_indices"].read().astype(np.intp), np.concatenate([weights, last], axis=-1)


TUNER = Tuner(frozenset({*_WHOLE, *_TOP, _BANK}), read)
