"""Modules of LyCORIS, sd-scripts and OneTrainer whose update is a product with the base's weight."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from tunescope.address import dotted, parse
from tunescope.delta import Base, Pending, Update
from tunescope.errors import BadInput
from tunescope.source.files.tensors import LazyTensor, Ledger, require_float
from tunescope.source.formats.pairs import read_alpha, read_number
from tunescope.source.tuners.dora import decomposed
from tunescope.source.tuners.glora import Generalised
from tunescope.source.tuners.ia3 import Rescaling
from tunescope.source.tuners.oft import InputRotation, Rotation, block_size, closed, outputs
from tunescope.words import counted

# The parameters of such modules, and what a module must have of them to be one.
PARAMETERS = r"oft_blocks|oft_R(?:\.scaled_oft)?|on_input|rescale|[ab][12]|bm"
_FOUR = ("a1", "a2", "b1", "b2")
_BLOCKS, _TRIANGLES, _FLAG = "oft_blocks", "oft_R", "on_input"
_MARKED = re.compile(
    r"^(?P<module>.+)\.(?:oft_blocks(?:\.\d+)?|oft_R\.weight|on_input|a1\.weight)$", re.DOTALL
)
# What says how the others are meant, and is no float or not always there.
_BESIDE = ("alpha", "bias", "dora", _FLAG, f"{_TRIANGLES}.scaled_oft")
_OF_PEFT = "base_model.model."
# How sd-scripts calls the modules of its own OFT; those of LyCORIS begin otherwise.
_SD_SCRIPTS = "oft_"


def multiplies(names: Iterable[str]) -> bool:
    """Whether any of these tensors belongs to a module that multiplies the base's weight.

    Names of PEFT's are not among them, whose config says more.
    """
    held = {name for name in names if not name.startswith(_OF_PEFT)}
    marked = (found["module"] for name in held if (found := _MARKED.match(name)))
    return any(
        f"{module}.a1.weight" not in held or all(f"{module}.{p}.weight" in held for p in _FOUR)
        for module in marked
    )


def rescaled(names: Iterable[str]) -> frozenset[str]:
    """The modules of (IA)³, of which the numbers are called `weight` and nothing more."""
    return frozenset(name.removesuffix(f".{_FLAG}") for name in names if name.endswith(f".{_FLAG}"))


def is_pending(roles: Mapping[str, LazyTensor]) -> bool:
    """Whether a module's parameters are those of such a method."""
    return _kind(roles) is not None


def _kind(roles: Mapping[str, LazyTensor]) -> str | None:
    if any(role.startswith(_BLOCKS) for role in roles):
        return "rotation"
    if all(part in roles for part in _FOUR):
        return "glora"
    return "oftv2" if _TRIANGLES in roles else "ia3" if _FLAG in roles else None


def pending(
    flat: str, roles: Mapping[str, LazyTensor], ledger: Ledger, file: str, scale: float | None
) -> Pending | None:
    """The update of one module once its base is there; `None`, with the reason noted, where it is damaged."""
    kind = _kind(roles)
    assert kind is not None
    used = [roles[role] for role in sorted(set(roles) - set(_BESIDE), key=_order)]
    # An alpha of 0 leaves a rotation without a bound, and a product without effect.
    number, stated = read_alpha if kind == "glora" else read_number, _FLAG if kind == "ia3" else "alpha"
    said = number(roles[stated], ledger, file) if stated in roles else None
    reason = _unusable(used, file) or _UNFIT[kind](roles, said)
    beside = [roles[role].name for role in _BESIDE if role in roles and role != "bias"]
    names = (*(t.name for t in used), *beside)
    if reason is not None:
        ledger.left(names, reason)
        ledger.notice("factor-left-out", f"module {dotted(flat)} is left out: {reason}", names[0])
        return None
    made = _MADE[kind](flat, roles, said, scale)
    ledger.left(names, f"{made.method}: needs the base")
    return replace(made, tensors=names)


def _order(role: str) -> tuple[str, int]:
    name, _, number = role.partition(".")
    return name, int(number or 0)


def _unusable(tensors: Sequence[LazyTensor], file: str) -> str | None:
    if unsupported := [t for t in tensors if not t.supported]:
        return unsupported[0].unreadable
    for tensor in tensors:
        require_float(tensor, file)
    empty = [t.name for t in tensors if t.numel == 0]
    return f"{empty[0]} has no element" if empty else None


def _unfit_rotation(roles: Mapping[str, LazyTensor], alpha: float | None) -> str | None:
    blocks = _blocks(roles)
    if other := sorted(role for role in roles if role in ("dora", *_FOUR)):
        return f"{roles[other[0]].name} belongs to another method"
    if wrong := [t for t in blocks if not closed(t.shape)]:
        return f"{wrong[0].name} {list(wrong[0].shape)} holds no square blocks that cover its outputs"
    rows = sum(outputs(t.shape) for t in blocks)
    if "rescale" in roles and roles["rescale"].numel != rows:
        return f"{roles['rescale'].name} does not have one number for each of {rows} outputs"
    return "alpha, which bounds the rotation, is not in the file" if alpha is None else None


def _unfit_factors(roles: Mapping[str, LazyTensor], _: float | None) -> str | None:
    if other := sorted(role for role in roles if role in ("dora", "rescale", "bm")):
        return f"GLoRA with {roles[other[0]].name} is not written by any library known here"
    if _factors(roles) is not None:
        return None
    shapes = ", ".join(f"{part} {list(roles[part].shape)}" for part in _FOUR)
    return f"the factors' shapes do not fit together: {shapes}"


def _factors(roles: Mapping[str, LazyTensor]) -> tuple[LazyTensor, ...] | None:
    """a1 (d_in, r), a2 (r, d_in), b1 (d_out, r) and b2 (r, d_in, …) of a module; `None` where none fit so.

    Older files have the matrices of each pair the other way round [ComfyUI: weight_adapter/glora.py]; the
    rank is the shorter side.
    """
    a1, a2, b1, b2 = (roles[part] for part in _FOUR)
    if any(len(t.shape) < 2 for t in (a1, a2, b1, b2)):
        return None
    both = (a1, a2, b1, b2), (a2, a1, b2, b1)
    older = len(a1.shape) == 2 and a1.shape[0] < a1.shape[1]
    return next((four for four in (both[::-1] if older else both) if _fit(*four)), None)


def _fit(a1: LazyTensor, a2: LazyTensor, b1: LazyTensor, b2: LazyTensor) -> bool:
    d_in, r = a1.shape[:2]
    plain = all(math.prod(t.shape[2:]) == 1 for t in (a1, a2, b1))
    return plain and a2.shape[:2] == (r, d_in) and b1.shape[1] == r and b2.shape[:2] == (r, d_in)


def _blocks(roles: Mapping[str, LazyTensor]) -> list[LazyTensor]:
    return [roles[role] for role in sorted(roles, key=_order) if role.startswith(_BLOCKS)]


def _rotation(flat: str, roles: Mapping[str, LazyTensor], alpha: float | None, _: float | None) -> Pending:
    blocks = _blocks(roles)
    own = flat.startswith(_SD_SCRIPTS) or f"{_BLOCKS}.0" in roles
    rotation = Rotation(blocks, alpha or 0.0, clamped=own, rescale=roles.get("rescale"))
    method = "boft" if len(blocks[0].shape) == 4 else "oft"
    rows = sum(outputs(t.shape) for t in blocks)
    return Pending(parse(dotted(flat)), method, rows, None, None, alpha, (), rotation.update)


def _generalised(
    flat: str, roles: Mapping[str, LazyTensor], alpha: float | None, scale: float | None
) -> Pending:
    found = _factors(roles)
    assert found is not None
    a1, a2, b1, b2 = found
    rank = a1.shape[1]
    # A file without alpha is applied as it is [LyCORIS: alpha = rank].
    stated = 1.0 if alpha is None else alpha / rank
    factors = Generalised(a1, a2, b1, b2, stated if scale is None else scale)
    shape = b1.shape[0], math.prod(b2.shape[1:])
    return Pending(parse(dotted(flat)), "glora", *shape, rank, alpha, (), factors.update)


def _unfit_input_rotation(roles: Mapping[str, LazyTensor], _: float | None) -> str | None:
    triangles = roles[_TRIANGLES]
    if len(triangles.shape) != 2 or block_size(triangles.shape[1]) is None:
        return f"{triangles.name} {list(triangles.shape)} holds no upper triangles of square blocks"
    if other := sorted(role for role in roles if role not in (_TRIANGLES, *_BESIDE) or role == _FLAG):
        return f"{roles[other[0]].name} belongs to another method"
    return None


def _input_rotation(flat: str, roles: Mapping[str, LazyTensor], _: float | None, __: float | None) -> Pending:
    triangles = roles[_TRIANGLES]
    count, size = triangles.shape[0], block_size(triangles.shape[1])
    assert size is not None
    rotation = InputRotation(triangles, shortened=f"{_TRIANGLES}.scaled_oft" in roles)
    # One block alone may be shared by all inputs.
    d_in = count * size if count > 1 else None
    make = rotation.update if "dora" not in roles else partial(_decomposed, rotation.update, roles["dora"])
    return Pending(parse(dotted(flat)), "oftv2", None, d_in, None, None, (), make, every=size)


def _decomposed(
    make: Callable[[Base, tuple[int, int]], Update], magnitude: LazyTensor, base: Base, shape: tuple[int, int]
) -> Update:
    """What is left of the turned weight's norms once they are those of a magnitude beside it."""
    whole = decomposed(magnitude, shape, either=True)
    if whole is None:
        raise BadInput(
            "factor-shapes", "the magnitude is not one of this layer", tensor=magnitude.name,
            expected=f"{shape[0]} numbers, one an output, or (1, channels)", found=list(magnitude.shape),
            fix="take the file as its trainer wrote it",
        )  # fmt: skip
    return whole.make(partial(make, base, shape), base, shape)


def _unfit_rescaling(roles: Mapping[str, LazyTensor], of_inputs: float | None) -> str | None:
    if "weight" not in roles:
        return f"{roles[_FLAG].name} stands without the numbers that it is about"
    if other := sorted(role for role in roles if role not in ("weight", "alpha", "bias", _FLAG)):
        return f"{roles[other[0]].name} belongs to another method"
    numbers = roles["weight"]
    if numbers.numel not in numbers.shape or numbers.shape[0] not in (1, numbers.numel):
        return f"{numbers.name} {list(numbers.shape)} is no row of numbers"
    return None if of_inputs in (0, 1) else f"{roles[_FLAG].name} is neither 0 nor 1"


def _rescaling(
    flat: str, roles: Mapping[str, LazyTensor], of_inputs: float | None, _: float | None
) -> Pending:
    numbers, inputs = roles["weight"], bool(of_inputs)
    count, channels = numbers.numel, inputs and len(numbers.shape) > 1
    return Pending(
        parse(dotted(flat)), "ia3", None if inputs else count, count if inputs and not channels else None,
        None, None, (), Rescaling(numbers, inputs).update, every=count if channels else 1,
    )  # fmt: skip


_UNFIT: Mapping[str, Callable[[Mapping[str, LazyTensor], float | None], str | None]] = {
    "rotation": _unfit_rotation, "glora": _unfit_factors, "oftv2": _unfit_input_rotation,
    "ia3": _unfit_rescaling,
}  # fmt: skip
_MADE: Mapping[str, Callable[[str, Mapping[str, LazyTensor], float | None, float | None], Pending]] = {
    "rotation": _rotation, "glora": _generalised, "oftv2": _input_rotation, "ia3": _rescaling,
}  # fmt: skip


def notice_pending(needing: Sequence[Pending], ledger: Ledger, scale: float | None) -> None:
    """Say that the file alone has no ΔW of these modules, and that a rotation takes no scale."""
    counts = Counter(one.method for one in needing)
    for method, count in counts.items():
        many = f"modules of {_CALLED[method]} multiply the base's weight"
        what = counted(count, many.replace("modules", "module").replace("multiply", "multiplies"), many)
        ledger.notice("needs-base", f"{what}; the file alone has no ΔW of them (--base BASE)")
    without = sum(count for method, count in counts.items() if method != "glora")
    if scale is not None and without:
        text = f"--scale does not apply to {counted(without, 'module')} of {' and '.join(_called(counts))}"
        ledger.notice("scale-not-used", text)


_CALLED = {"oft": "OFT", "boft": "BOFT", "glora": "GLoRA", "oftv2": "OFTv2", "ia3": "(IA)³"}


def _called(methods: Iterable[str]) -> list[str]:
    return [_CALLED[method] for method in methods if method != "glora"]
