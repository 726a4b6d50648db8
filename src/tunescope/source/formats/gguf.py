"""LoRA adapters of llama.cpp: `blk.0.attn_q.weight.lora_a`, alpha in the file's metadata.

A is (r, d_in), B (d_out, r) [ggml-org/llama.cpp: convert_lora_to_gguf.py]; stacked experts have one more
dimension in front.
"""

import math
import re
from collections.abc import Mapping

from tunescope.address import parse
from tunescope.delta import Delta
from tunescope.source.files.tensors import Ledger
from tunescope.source.formats.gguf_names import ROTATED, transformers_name
from tunescope.source.formats.mlx import stacked_experts
from tunescope.source.formats.pairs import Pair, collect, half_saved, notice_scale, pair_delta
from tunescope.source.formats.rotary import head_of, notice_kept, splits, with_halves
from tunescope.source.weights import Format, Reading, Weights

_KEY = re.compile(r"^(?P<module>.+?)(?:\.weight)?\.lora_(?P<side>[ab])$", re.DOTALL)
_ALPHA, _ARCHITECTURE = "adapter.lora.alpha", "general.architecture"
_ROTATED_MODULES = (".attn_q", ".attn_k")


def _split(name: str) -> tuple[str, str] | None:
    found = _KEY.match(name)
    return None if found is None else (found["module"], {"a": "down", "b": "up"}[found["side"]])


def _recognises(weights: Weights) -> bool:
    said = _ARCHITECTURE in weights.metadata or _ALPHA in weights.metadata
    return said and any(_KEY.match(name) for name in weights.tensors)


def _read(weights: Weights, ledger: Ledger, scale: float | None) -> Reading:
    alpha = _number(weights.metadata, _ALPHA)
    architecture = weights.metadata.get(_ARCHITECTURE, "")
    deltas: list[Delta] = []
    kept: list[str] = []
    for module, roles in collect(weights.tensors, _split).items():
        if "down" not in roles or "up" not in roles:
            half_saved(module, roles, ledger)
            continue
        rank = max(roles["down"].shape[-2] if len(roles["down"].shape) > 1 else 1, 1)
        # llama.cpp takes an alpha of 0 for none.
        stated = alpha / rank if alpha else None
        known = stated if scale is None else scale
        address = parse(transformers_name(module, architecture))
        pair = Pair(address, roles["down"], roles["up"], scale=known, alpha=alpha or None)
        if len(pair.up.shape) == 3:
            deltas += stacked_experts(pair, ledger, weights.place)
            continue
        made = pair_delta(pair, ledger, weights.place)
        if made is not None and architecture in ROTATED and module.endswith(_ROTATED_MODULES):
            size = _head_size(weights.metadata, architecture, made.d_out, key=module.endswith("_k"))
            if size is None and weights.base is not None:
                size = splits(made.d_out, head_of(weights.base().config))
            made, kept = (made, [*kept, module]) if size is None else (with_halves(made, size), kept)
        deltas += filter(None, [made])
    notice_scale(deltas, ledger)
    notice_kept(
        kept, ledger, slug="rows-of-llama-cpp", whose="llama.cpp's", other="other spellings",
        why="the file does not state the size of a head",
    )  # fmt: skip
    return Reading(deltas)


def _number(metadata: Mapping[str, str], key: str) -> float | None:
    try:
        found = float(metadata.get(key, "nan"))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _head_size(metadata: Mapping[str, str], architecture: str, rows: int, *, key: bool) -> int | None:
    """Rows of one attention head, by what the file states of the model; `None` where that does not fit."""

    def stated(name: str) -> float | None:
        return _number(metadata, f"{architecture}.{name}")

    heads = stated("attention.head_count")
    own = (stated("attention.head_count_kv") or heads) if key else heads
    width = stated("embedding_length")
    by_rows, by_width = rows / own if own else None, width / heads if width and heads else None
    sizes = (stated("attention.key_length"), by_rows, by_width, stated("rope.dimension_count"))
    size = next((size for size in sizes if size), None)
    return splits(rows, size)


GGUF = Format("gguf", _recognises, _read)
