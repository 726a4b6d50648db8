"""LoRA adapters of llama.cpp: `blk.0.attn_q.weight.lora_a`, alpha in the file's metadata.

A is (r, d_in), B (d_out, r) [ggml-org/llama.cpp: convert_lora_to_gguf.py]; stacked experts have one more
dimension in front. Query and key rows of Llama models are in the order of llama.cpp, not of transformers.
"""

import math
import re

from tunescope.address import parse
from tunescope.delta import Delta
from tunescope.source.files.tensors import Ledger
from tunescope.source.formats.mlx import stacked_experts
from tunescope.source.formats.pairs import Pair, collect, half_saved, notice_scale, pair_delta
from tunescope.source.weights import Format, Reading, Weights

_KEY = re.compile(r"^(?P<module>.+?)(?:\.weight)?\.lora_(?P<side>[ab])$", re.DOTALL)
_ALPHA = "adapter.lora.alpha"


def _split(name: str) -> tuple[str, str] | None:
    found = _KEY.match(name)
    return None if found is None else (found["module"], {"a": "down", "b": "up"}[found["side"]])


def _recognises(weights: Weights) -> bool:
    said = "general.architecture" in weights.metadata or _ALPHA in weights.metadata
    return said and any(_KEY.match(name) for name in weights.tensors)


def _read(weights: Weights, ledger: Ledger, scale: float | None) -> Reading:
    alpha = _alpha(weights)
    deltas: list[Delta] = []
    for module, roles in collect(weights.tensors, _split).items():
        if "down" not in roles or "up" not in roles:
            half_saved(module, roles, ledger)
            continue
        rank = max(roles["down"].shape[-2] if len(roles["down"].shape) > 1 else 1, 1)
        stated = None if alpha is None else alpha / rank
        known = stated if scale is None else scale
        pair = Pair(parse(module), roles["down"], roles["up"], scale=known, alpha=alpha)
        if len(pair.up.shape) == 3:
            deltas += stacked_experts(pair, ledger, weights.place)
        else:
            deltas += filter(None, [pair_delta(pair, ledger, weights.place)])
    notice_scale(deltas, ledger)
    return Reading(deltas)


def _alpha(weights: Weights) -> float | None:
    try:
        alpha = float(weights.metadata.get(_ALPHA, "nan"))
    except ValueError:
        return None
    # llama.cpp takes an alpha of 0 for none.
    return alpha if math.isfinite(alpha) and alpha else None


GGUF = Format("gguf", _recognises, _read)
