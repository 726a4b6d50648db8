"""Factor pairs under home-made names: two matrices whose names differ in one letter or word only.

`w_a_000`/`w_b_000`, `layer3.down`/`layer3.up` and the like are paired when their shapes share a rank.
"""

import re
from collections.abc import Mapping

from tunescope.address import Address, parse
from tunescope.delta import Delta
from tunescope.source.files.tensors import LazyTensor, Ledger
from tunescope.source.formats.names import strip_wrappers
from tunescope.source.formats.pairs import Pair, half_saved, notice_scale, pair_delta
from tunescope.source.formats.unread import is_conditional
from tunescope.source.weights import Format, Reading, Weights

# What is called the input side and the output side of a factorisation.
_SIDES = (("a", "b"), ("A", "B"), ("down", "up"), ("Down", "Up"), ("lora_A", "lora_B"), ("loraA", "loraB"))
# Layers of whole models that are named like a side: up_proj and down_proj, q_a_proj and q_b_proj, up_blocks.
_NOT_A_SIDE = re.compile(r"^_?(proj|blocks?|sample|samplers?|log|norm|layernorm)")
_WORD = re.compile(r"[A-Za-z]+|\d+|[^A-Za-z\d]+")


def _partner(name: str, tensors: Mapping[str, LazyTensor]) -> tuple[str, str] | None:
    """The name of the output-side factor that goes with an input-side one, and the module that both name."""
    words = _WORD.findall(name)
    for i, word in reversed(list(enumerate(words))):
        if _NOT_A_SIDE.match("".join(words[i + 1 : i + 3])):
            continue
        for inner, outer in _SIDES:
            partner = "".join((*words[:i], outer, *words[i + 1 :]))
            if (
                word == inner
                and partner in tensors
                and _orientation(tensors[name], tensors[partner]) is not None
            ):
                return partner, _module_name(words, i)
    return None


def _module_name(words: list[str], side: int) -> str:
    """The name without the word for the side, and without a `lora` or `weight` that stood around it."""
    before = re.sub(r"(^|[._-])lora[._-]*$", r"\1", "".join(words[:side]), flags=re.IGNORECASE)
    after = re.sub(r"^(lora|weight)$", "", "".join(words[side + 1 :]).lstrip("._-:/"))
    name = before + after if after else before.rstrip("._-:/")
    return name.strip("._-:/ ") or "".join(words)


def _orientation(inner: LazyTensor, outer: LazyTensor) -> bool | None:
    """False for (r, d_in) with (d_out, r), True for (d_in, r) with (r, d_out), None where nothing fits."""
    if len(inner.shape) != 2 or len(outer.shape) != 2 or not inner.numel or not outer.numel:
        return None
    plain = inner.shape[0] == outer.shape[1] and inner.shape[0] <= min(inner.shape[1], outer.shape[0])
    turned = inner.shape[1] == outer.shape[0] and inner.shape[1] <= min(inner.shape[0], outer.shape[1])
    return False if plain else True if turned else None


def _recognises(weights: Weights) -> bool:
    if is_conditional(weights.tensors):
        return False
    return any(_partner(name, weights.tensors) for name in weights.tensors)


def _read(weights: Weights, ledger: Ledger, scale: float | None) -> Reading:
    deltas: list[Delta] = []
    for name, tensor in weights.tensors.items():
        found = _partner(name, weights.tensors)
        if found is None:
            continue
        outer = weights.tensors[found[0]]
        turned = bool(_orientation(tensor, outer))
        pair = Pair(_address(found[1]), tensor, outer, transposed=turned, scale=scale)
        deltas += filter(None, [pair_delta(pair, ledger, weights.place)])
    _note_rest(weights, ledger)
    notice_scale(deltas, ledger)
    return Reading(deltas)


def _note_rest(weights: Weights, ledger: Ledger) -> None:
    """Say which tensors look like one factor of a pair but stand alone."""
    for name in ledger.unclaimed():
        words = _WORD.findall(name)
        if (
            any(word in side for word in words for side in _SIDES[:4])
            and len(weights.tensors[name].shape) == 2
        ):
            half_saved(name, {"one factor": weights.tensors[name]}, ledger)


def _address(module: str) -> Address:
    return parse(strip_wrappers(module).strip(".") or module)


OWN_NAMING = Format("factor-pairs", _recognises, _read)
