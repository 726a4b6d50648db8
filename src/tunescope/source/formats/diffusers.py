"""LoRA files of diffusers, old (`…processor.to_q_lora.down.weight`) and new (`unet.….lora_A.weight`), and all
that have PEFT's factor names without its prefix and config."""

import math
import re
from collections.abc import Mapping
from typing import Any

from tunescope.address import parse
from tunescope.delta import Delta
from tunescope.documents import DocumentError, parse_json
from tunescope.source.files.tensors import LazyTensor, Ledger
from tunescope.source.formats.diffsynth import in_projections
from tunescope.source.formats.names import strip_frames, strip_wrappers
from tunescope.source.formats.pairs import (
    Pair,
    collect,
    half_saved,
    leave_aside,
    notice_scale,
    pair_delta,
    read_alpha,
)
from tunescope.source.formats.peft_config import check_lora_values
from tunescope.source.tuners.patterns import fits
from tunescope.source.weights import Format, Reading, Weights

_OLD = re.compile(
    r"^(?P<module>.+?)(?:\.processor)?\.(?P<projection>to_\w+?)_lora\.(?P<part>down|up)\.weight$",
    re.DOTALL,
)
_NEW = re.compile(
    r"^(?P<module>.+?)\.(?:lora(?:_linear_layer)?\.(?P<part>down|up)|lora_(?P<letter>[AB])(?:\.[^.]+)?)\.(?P<kind>weight|bias)$",
    re.DOTALL,
)
_BESIDE = re.compile(
    r"^(?P<module>.+?)\.(?P<kind>alpha|lora_magnitude_vector|dora_scale)(?:\.[^.]+)?$", re.DOTALL
)
_MARKS = (
    ".lora_A.",
    ".lora_B.",
    ".lora.down.",
    ".lora.up.",
    "_lora.down.",
    "_lora.up.",
    ".lora_linear_layer.",
)
METADATA = "lora_adapter_metadata"


def _split(name: str) -> tuple[str, str] | None:
    if found := _OLD.match(name):
        return _projection(found["module"], found["projection"]), found["part"]
    if found := _NEW.match(name):
        role = found["part"] or {"A": "down", "B": "up"}[found["letter"]]
        return found["module"], "bias" if found["kind"] == "bias" else role
    if found := _BESIDE.match(name):
        return found["module"], "alpha" if found["kind"] == "alpha" else "dora"
    return None


def _projection(module: str, projection: str) -> str:
    """The module behind an attention processor's own layer name."""
    if ".self_attn" in module or module.startswith("text_encoder"):
        return (
            f"{module}.{ {'to_out': 'out_proj'}.get(projection, projection.removeprefix('to_') + '_proj') }"
        )
    return f"{module}.{'to_out.0' if projection == 'to_out' else projection}"


def _recognises(weights: Weights) -> bool:
    # Without PEFT's own prefix no config belongs to the file: whoever wrote it had none.
    return any(
        _OLD.match(n)
        or (_NEW.match(n) and not strip_frames(n).startswith("base_model."))
        or ".lora.down." in n
        or ".lora_linear_layer." in n
        for n in weights.tensors
        if any(mark in n for mark in _MARKS)
    )


def _read(weights: Weights, ledger: Ledger, scale: float | None) -> Reading:
    config = _metadata_config(weights.metadata, ledger, weights.place)
    deltas: list[Delta] = []
    for module, roles in collect(weights.tensors, _split).items():
        if "down" in roles and "up" in roles:
            pair = _pair(module, roles, config, scale, ledger, weights.place)
            deltas += filter(None, [pair_delta(pair, ledger, weights.place)])
        elif "down" in roles or "up" in roles:
            half_saved(module, roles, ledger)
        leave_aside(roles, ledger)
    notice_scale(deltas, ledger)
    return Reading(in_projections(deltas, ledger), config)


def _pair(
    module: str,
    roles: Mapping[str, LazyTensor],
    config: Mapping[str, Any],
    scale: float | None,
    ledger: Ledger,
    file: str,
) -> Pair:
    rank = max(roles["down"].shape[0] if roles["down"].shape else 0, 1)
    alpha, stated = _stated(module, rank, config)
    beside: tuple[str, ...] = ()
    if "alpha" in roles and (alpha := read_alpha(roles["alpha"], ledger, file)) is not None:
        stated, beside = alpha / rank, (roles["alpha"].name,)
    return Pair(
        address=parse(strip_wrappers(module)),
        down=roles["down"],
        up=roles["up"],
        scale=stated if scale is None else scale,
        alpha=alpha,
        magnitude=roles.get("dora"),
        beside=beside,
    )


def _stated(module: str, rank: int, config: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Alpha and scale that the file's metadata states for a module, by PEFT's rule for patterns."""
    part, _, inner = module.partition(".")
    own = config.get(part)
    if not isinstance(own, dict) or not isinstance(own.get("lora_alpha"), int | float):
        return None, None
    alpha, r = float(own["lora_alpha"]), own.get("r", rank)
    for pattern, value in (own.get("alpha_pattern") or {}).items():
        if fits(pattern, inner):
            alpha = float(value)
            break
    for pattern, value in (own.get("rank_pattern") or {}).items():
        if fits(pattern, inner):
            r = value
            break
    return alpha, alpha / (math.sqrt(r) if own.get("use_rslora") else r)


def _metadata_config(metadata: Mapping[str, str], ledger: Ledger, file: str) -> dict[str, dict[str, Any]]:
    """The configs that diffusers keeps in the file's metadata, by part (`unet`, `transformer`, …)."""
    if METADATA not in metadata:
        return {}
    try:
        document = parse_json(metadata[METADATA])
    except DocumentError:
        document = None
    if not isinstance(document, dict):
        ledger.notice("bad-metadata", f"the file's {METADATA} is not a JSON object; alpha stays unknown")
        return {}
    configs: dict[str, dict[str, Any]] = {}
    for key, value in document.items():
        part, _, field = key.partition(".")
        configs.setdefault(part, {})[field] = value
    for part, config in configs.items():
        check_lora_values(config, f"{file} ({METADATA}, {part})")
    return configs


DIFFUSERS = Format("diffusers", _recognises, _read)
