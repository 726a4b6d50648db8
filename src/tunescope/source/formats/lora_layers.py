"""LoRA layers as training libraries save them, without a config: loralib, litgpt, NeMo, XLabs.

The scale is not in such a file; of litgpt's and Megatron-Bridge's it lies beside it. Fused projections of
loralib and litgpt come as one pair for several parts.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tunescope.address import parse
from tunescope.delta import Delta, Factored
from tunescope.source.files.tensors import LazyTensor, Ledger, require_float
from tunescope.source.formats import litgpt, megatron
from tunescope.source.formats.leftovers import leave_heads
from tunescope.source.formats.names import strip_wrappers
from tunescope.source.formats.pairs import (
    Pair,
    collect,
    half_saved,
    leave_aside,
    notice_scale,
    pair_delta,
)
from tunescope.source.tuners.adapter import floats
from tunescope.source.tuners.merged import on_diagonal
from tunescope.source.weights import Format, Reading, Weights


@dataclass(frozen=True, slots=True)
class Spelling:
    """How one library names a LoRA's two factors, and where that is public."""

    pattern: re.Pattern[str]
    source: str


_SPELLINGS = (
    Spelling(
        re.compile(
            r"^(?P<module>.+)\.adapter(?:\.adapter(?P<part>_\w+))?\.linear_(?P<side>in|out)\.weight$",
            re.DOTALL,
        ),
        "NVIDIA-NeMo/Megatron-Bridge: src/megatron/bridge/peft/lora.py, canonical_lora.py",
    ),
    Spelling(
        re.compile(
            r"^(?P<module>.+)\.adapter_layer\.(?P<nemo>lora_\w+_adapter(?:\.[a-z]+_adapter)?)\."
            r"linear_(?P<side>in|out)\.weight$",
            re.DOTALL,
        ),
        "NVIDIA/NeMo: nemo/collections/nlp/modules/common/megatron/adapters/parallel_adapters.py",
    ),
    Spelling(re.compile(r"^(?P<module>.+)\.lora_(?P<side>[AB])$", re.DOTALL),
             "microsoft/LoRA: loralib/layers.py; Lightning-AI/litgpt: litgpt/lora.py"),
    Spelling(re.compile(r"^(?P<module>.+\.processor\.\w+_lora\d?)\.(?P<side>down|up)\.weight$", re.DOTALL),
             "XLabs-AI/x-flux: src/flux/modules/layers.py"),
)  # fmt: skip
_BESIDE = re.compile(r"^(?P<module>.+?)(?:\.adapter)?\.(?P<kind>(?:weight_)?magnitude|bias)$", re.DOTALL)
_DOWN = ("in", "A", "down")
PARTS_UNKNOWN = "the adapted parts of a fused weight; which parts they are is not in the file"


def _split(name: str) -> tuple[str, str] | None:
    for spelling in _SPELLINGS:
        if found := spelling.pattern.match(name):
            groups = found.groupdict()
            part = (groups.get("part") or "").replace("_", ".", 1)
            part = part or (f".{_in_nemo(groups['nemo'])}" if groups.get("nemo") else "")
            return found["module"] + part, "down" if found["side"] in _DOWN else "up"
    if found := _BESIDE.match(name):
        return found["module"], "bias" if found["kind"] == "bias" else "dora"
    return None


def _in_nemo(adapter: str) -> str:
    """The module that an adapter of NeMo 1 stands beside, with the part of it where it is for one alone."""
    whole, _, part = adapter.partition(".")
    name = _NEMO.get(whole.replace("unfused_", ""), whole)
    return f"{name}.{part.removesuffix('_adapter')}" if part else name


_NEMO = {
    "lora_kqv_adapter": "linear_qkv", "lora_q_adapter": "linear_q", "lora_kv_adapter": "linear_kv",
    "lora_dense_attention_adapter": "linear_proj",
    "lora_hto4h_adapter": "linear_fc1", "lora_4htoh_adapter": "linear_fc2",
}  # fmt: skip


def _recognises(weights: Weights) -> bool:
    return any(s.pattern.match(name) for name in weights.tensors for s in _SPELLINGS)


def _read(weights: Weights, ledger: Ledger, scale: float | None) -> Reading:
    deltas: list[Delta] = []
    beside = (litgpt.stated(weights) or megatron.stated(weights)) if scale is None else None
    for module, roles in collect(weights.tensors, _split).items():
        if "down" in roles and "up" in roles:
            alpha = beside.alpha if beside and roles["up"].shape[-1:] == (beside.rank,) else None
            known = scale if beside is None or alpha is None else alpha / beside.rank
            made = _delta(module, roles, known, ledger, weights.place)
            deltas += [] if made is None else [replace(made, alpha=alpha)]
        elif "down" in roles or "up" in roles:
            half_saved(module, roles, ledger)
        leave_aside(roles, ledger)
    leave_heads(ledger)
    notice_scale(deltas, ledger)
    return Reading(deltas)


def _delta(
    module: str, roles: Mapping[str, LazyTensor], scale: float | None, ledger: Ledger, file: str
) -> Delta | None:
    down, up = roles["down"], roles["up"]
    address = parse(strip_wrappers(module))
    parts = _parts(down, up)
    if parts is None:
        turned = _turned(down, up)
        pair = Pair(address, down, up, transposed=turned, scale=scale, magnitude=roles.get("dora"))
        return pair_delta(pair, ledger, file)
    for tensor in (down, up):
        require_float(tensor, file)
    names = (down.name, up.name)
    ledger.used(names)
    return Delta(
        address, "", "lora", up.shape[0], down.shape[1], down.shape[0], None, scale, names,
        partial(_merged, down, up, parts, scale), PARTS_UNKNOWN,
    )  # fmt: skip


def _turned(down: LazyTensor, up: LazyTensor) -> bool:
    """Whether the factors are stored the other way round, (d_in, r) and (r, d_out)."""
    if len(down.shape) != 2 or len(up.shape) != 2 or down.shape[0] == up.shape[1]:
        return False
    return down.shape[1] == up.shape[0] and down.shape[1] <= min(down.shape[0], up.shape[1])


def _parts(down: LazyTensor, up: LazyTensor) -> Sequence[int] | None:
    """Rows of B for each adapted part of a fused projection; `None` for an ordinary pair.

    The parts are alike but where keys and values have fewer heads: then queries are as wide as the input.
    """
    if len(down.shape) != 2 or len(up.shape) != 2 or not (down.supported and up.supported):
        return None
    rank, rows, d_in = up.shape[1], up.shape[0], down.shape[1]
    if not rank or down.shape[0] <= rank or down.shape[0] % rank or _turned(down, up):
        return None
    count = down.shape[0] // rank
    if rows == count * d_in or (rows % count == 0 and rows <= d_in):
        return (rows // count,) * count
    if rows > d_in and (rows - d_in) % (count - 1) == 0:
        return (d_in, *((rows - d_in) // (count - 1),) * (count - 1))
    return (rows // count,) * count if rows % count == 0 else None


def _merged(down: LazyTensor, up: LazyTensor, rows: Sequence[int], scale: float | None) -> Factored:
    return Factored(on_diagonal(floats(up), rows, [True] * len(rows)), floats(down), scale)


LORA_LAYERS = Format("lora-layers", _recognises, _read)
