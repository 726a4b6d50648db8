"""kohya-ss, ComfyUI and LyCORIS files: `lora_down`/`lora_up`/`alpha`, `hada_…`, `lokr_…`, `diff`."""

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial

from tunescope.address import dotted, parse
from tunescope.delta import Delta, Pending, Update
from tunescope.source.files.tensors import LazyTensor, Ledger
from tunescope.source.formats.lycoris import (
    PARAMETERS,
    is_pending,
    multiplies,
    notice_pending,
    pending,
    rescaled,
)
from tunescope.source.formats.names import strip_wrappers
from tunescope.source.formats.pairs import (
    Pair,
    collect,
    full_delta,
    half_saved,
    leave_aside,
    notice_scale,
    pair_delta,
    read_alpha,
    with_magnitude,
)
from tunescope.source.formats.peft import read_peft
from tunescope.source.weights import Format, Reading, Weights
from tunescope.words import counted

_PARAMETER = re.compile(
    r"^(?P<module>.+)\.(?P<parameter>lora_down|lora_up|lora_mid|lora_[AB]|alpha|dora_scale|\w*magnitude\w*(?:\.default)?|diff|diff_b|"
    r"w_norm|b_norm|reshape_weight|set_weight|"
    rf"(?:{PARAMETERS})(?:\.\d+)?|"
    r"hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2|bias)(?:\.weight)?$",
    re.DOTALL,
)
_ROLES = {
    "lora_down": "down", "lora_up": "up", "lora_mid": "mid", "dora_scale": "dora",
    # ComfyUI's own extractions put PEFT's names for the factors beside `diff` and `diff_b`.
    "lora_A": "down", "lora_B": "up",
    "diff_b": "bias",
    "b_norm": "norm", "w_norm": "norm_weight",
}  # fmt: skip
# What is no update: a weight put in the place of the base's, the shape to bring it to before [comfy/lora.py].
_REPLACED = {
    "norm_weight": "norm, needs base", "set_weight": "weight in the place of the base's, needs base",
    "reshape_weight": "shape that the base's weight is brought to",
}  # fmt: skip
_WHOLE = (".set_weight", ".reshape_weight", ".diff_b", ".b_norm", ".w_norm")
_MARKS = re.compile(r"\.lora_down\.|\.hada_w|\.lokr_w|\.diff(?:_b)?(?:\.weight)?$")


def _named(flat: str) -> str:
    return dotted(strip_wrappers(flat))


def _split(name: str, rescaled: Collection[str] = ()) -> tuple[str, str] | None:
    module = name.removesuffix(".weight")
    if module != name and module in rescaled:
        return module, "weight"
    found = _PARAMETER.match(name)
    if found is None:
        return None
    # PEFT, torchtune and converters each call DoRA's lengths a magnitude in their own words.
    parameter = "dora" if "magnitude" in found["parameter"] else found["parameter"]
    return found["module"], _ROLES.get(parameter, parameter)


def _recognises(weights: Weights) -> bool:
    names = weights.tensors
    return any(_MARKS.search(name) and _split(name) is not None for name in names) or multiplies(names)


def _read(weights: Weights, ledger: Ledger, scale: float | None) -> Reading:
    deltas: list[Delta] = []
    needing: list[Pending] = []
    split = partial(_split, rescaled=rescaled(weights.tensors))
    for flat, roles in collect(weights.tensors, split).items():
        if is_pending(roles):
            needing += filter(None, [pending(flat, roles, ledger, weights.place, scale)])
        else:
            deltas += _module(flat, roles, weights, ledger, scale)
        leave_aside(roles, ledger)
        for role, reason in _REPLACED.items():
            if role in roles:
                ledger.left([roles[role].name], reason)
    notice_scale(deltas, ledger)
    _notice_whole(weights, ledger)
    notice_pending(needing, ledger, scale)
    return Reading(deltas, pending=needing)


def _notice_whole(weights: Weights, ledger: Ledger) -> None:
    """Say which tensors are no update of a matrix, and stay in the ledger alone."""
    flat = (name for name, t in weights.tensors.items() if name.endswith(".diff") and len(t.shape) < 2)
    names = [*(name for name in weights.tensors if name.endswith(_WHOLE)), *flat]
    if names:
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        verbs = ("is", "was") if len(names) == 1 else ("are", "were")
        text = (
            f"{counted(len(names), 'tensor')} of biases, norms or replaced weights {verbs[0]} no update "
            f"of a matrix and {verbs[1]} left out: {shown}"
        )
        ledger.notice("left-out", text, names[0])


def _module(
    flat: str, roles: Mapping[str, LazyTensor], weights: Weights, ledger: Ledger, scale: float | None
) -> Iterator[Delta]:
    file = weights.place
    if "down" in roles and "up" in roles:
        yield from filter(None, [pair_delta(_pair(flat, roles, ledger, file, scale), ledger, file)])
    elif any(role.startswith("hada_") for role in roles):
        yield from _product(flat, "LOHA", roles, ledger, file, scale)
    elif any(role.startswith("lokr_") for role in roles):
        yield from _product(flat, "LOKR", roles, ledger, file, scale)
    elif "diff" in roles and roles["diff"].numel == 0:
        ledger.left([roles["diff"].name], "saved without any element")
    elif "diff" in roles and len(roles["diff"].shape) > 1:
        yield full_delta(_named(flat), roles["diff"], scale, ledger, file)
    elif "diff" in roles:
        ledger.left([roles["diff"].name], "norm or bias, needs base")
    elif "down" in roles or "up" in roles:
        half_saved(_named(flat), roles, ledger)


def _pair(flat: str, roles: Mapping[str, LazyTensor], ledger: Ledger, file: str, scale: float | None) -> Pair:
    alpha = read_alpha(roles["alpha"], ledger, file) if "alpha" in roles else None
    rank = max(roles["down"].shape[0] if roles["down"].shape else 0, 1)
    stated = None if alpha is None else alpha / rank
    return Pair(
        address=parse(_named(flat)),
        down=roles["down"],
        up=roles["up"],
        mid=roles.get("mid"),
        scale=stated if scale is None else scale,
        alpha=alpha,
        magnitude=roles.get("dora"),
        beside=() if alpha is None else (roles["alpha"].name,),
    )


def _product(
    flat: str, method: str, roles: Mapping[str, LazyTensor], ledger: Ledger, file: str, scale: float | None
) -> list[Delta]:
    """LoHa and LoKr share PEFT's formulas and parameter names; only the scale is stated by a tensor."""
    alpha = read_alpha(roles["alpha"], ledger, file) if "alpha" in roles else None
    rank = _rank(roles)
    factors = {r: t for r, t in roles.items() if r.startswith(("hada_", "lokr_"))}
    if unread := [t for t in factors.values() if not t.supported]:
        ledger.left((t.name for t in factors.values()), f"{unread[0].unreadable} in the module")
        return []
    if "lokr_w2" in factors:
        # PEFT pairs the axes of a one-dimensional convolution from the right, LyCORIS from the left.
        factors["lokr_w2"] = _flat(factors["lokr_w2"])
    named = {f"{_named(flat)}.{role}": tensor for role, tensor in factors.items()}
    deltas = read_peft(named, {"peft_type": method, "r": rank or 1, "alpha": rank or 1}, ledger, file=file)
    if alpha is not None:
        ledger.used([roles["alpha"].name])
    # Without any decomposed factor LyCORIS takes the scale as 1, whatever alpha says.
    stated = 1.0 if rank is None else None if alpha is None else alpha / rank
    known = stated if scale is None else scale
    made = [_scaled(replace(d, rank=rank, alpha=alpha), known) for d in deltas]
    return [with_magnitude(d, roles["dora"]) for d in made] if "dora" in roles else made


def _flat(tensor: LazyTensor) -> LazyTensor:
    """A kernel as the matrix (d_out, d_in·k…)."""
    if len(tensor.shape) < 3:
        return tensor
    shape = tensor.shape[0], math.prod(tensor.shape[1:])
    return replace(tensor, shape=shape, read=lambda: tensor.read().reshape(shape))


def _rank(roles: Mapping[str, LazyTensor]) -> int | None:
    for role in ("hada_w1_b", "lokr_w1_b", "lokr_w2_b"):
        if role in roles and roles[role].shape:
            return roles[role].shape[0] or None
    return None


def _scaled(delta: Delta, scale: float | None) -> Delta:
    return replace(delta, scale=scale, open=partial(_open_scaled, delta.open, scale))


def _open_scaled(open: Callable[[], Update], scale: float | None) -> Update:
    return replace(open(), scale=scale)


KOHYA = Format("kohya", _recognises, _read)
