"""DiffSynth-Studio's adapters of MiniMax-H3: q, k and v head by head, as the model's own shards have them.

All others train on weights that were brought into the order of q, k, v as they were loaded. Names and shapes
are the same; what tells DiffSynth is the adapter's name in the keys
[huggingface/diffusers: loaders/lora_conversion_utils.py (MiniMax-H3 → diffusers)].
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from tunescope.delta import Array, Delta, Factored, Update
from tunescope.source.files.tensors import Ledger
from tunescope.words import counted

_FUSED = re.compile(
    r"^(?:(?:model\.)?diffusion_model\.|pipe\.dit\.)?(?:token_refiner\.)?blocks\.\d+\.attn\.qkv_proj\.lora_A\.default\."
)
# Rows of one head in every published part of the model.
_HEAD = 128


def in_projections(deltas: Sequence[Delta], ledger: Ledger) -> list[Delta]:
    """The updates, those whose rows stand head by head in the order of q, k, v."""
    by_head = [d for d in deltas if _FUSED.match(d.tensors[0]) and d.d_out % (3 * _HEAD) == 0]
    if by_head:
        are = counted(len(by_head), "fused projection is", "fused projections are")
        text = (
            f"{are} read as DiffSynth stores them, head by head (heads of {_HEAD}), and brought into the "
            "order of q, k, v, in which all other adapters of MiniMax-H3 are"
        )
        ledger.notice("rows-of-diffsynth", text, by_head[0].tensors[0])
    return [replace(d, open=partial(_opened, d)) if d in by_head else d for d in deltas]


def _opened(delta: Delta) -> Update:
    update = delta.open()
    assert isinstance(update, Factored)
    return replace(update, B=_projections(update.B))


def _projections(rows: Array) -> Array:
    heads, rank = rows.shape[0] // (3 * _HEAD), rows.shape[1]
    found: Array = rows.reshape(heads, 3, _HEAD, rank).swapaxes(0, 1).reshape(rows.shape)
    return found
