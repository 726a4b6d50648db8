"""Control-LoRA: a ControlNet as low-rank updates of its U-Net's weights, and whole weights beside them.

The factors are multiplied as they are [comfyanonymous/ComfyUI: comfy/controlnet.py, `ControlLoraOps`].
"""

from tunescope.address import parse
from tunescope.delta import Delta
from tunescope.source.files.tensors import Ledger
from tunescope.source.formats.pairs import Pair, collect, half_saved, pair_delta
from tunescope.source.weights import Format, Reading, Weights

_MARK = "lora_controlnet"


def _split(name: str) -> tuple[str, str] | None:
    module, _, part = name.rpartition(".")
    return (module, part) if part in ("up", "down") else None


def _recognises(weights: Weights) -> bool:
    return _MARK in weights.tensors


def _read(weights: Weights, ledger: Ledger, scale: float | None) -> Reading:
    deltas: list[Delta] = []
    for module, roles in collect(weights.tensors, _split).items():
        if len(roles) < 2:
            half_saved(module, roles, ledger)
            continue
        factor = 1.0 if scale is None else scale
        pair = Pair(parse(module), roles["down"], roles["up"], scale=factor)
        deltas += filter(None, [pair_delta(pair, ledger, weights.place)])
    ledger.left([_MARK], "mark of the format")
    ledger.left(ledger.unclaimed(), "the ControlNet's own weight, saved whole")
    return Reading(deltas)


CONTROL_LORA = Format("control-lora", _recognises, _read)
