"""Modules of LyCORIS and sd-scripts whose update is a product with the base's weight: OFT, BOFT, GLoRA."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tunescope.address import dotted, parse
from tunescope.delta import Pending
from tunescope.source.files.tensors import LazyTensor, Ledger, require_float
from tunescope.source.formats.pairs import read_alpha, read_number
from tunescope.source.tuners.glora import Generalised
from tunescope.source.tuners.oft import Rotation, closed, outputs

# The parameters of such modules, and what a module must have of them to be one.
PARAMETERS = r"oft_blocks|rescale|[ab][12]|bm"
_FOUR = ("a1", "a2", "b1", "b2")
_BLOCKS = "oft_blocks"
_MARKED = re.compile(r"^(?P<module>.+)\.(?:oft_blocks(?:\.\d+)?|a1\.weight)$", re.DOTALL)
# How sd-scripts calls the modules of its own OFT; those of LyCORIS begin otherwise.
_SD_SCRIPTS = "oft_"


def multiplies(names: Iterable[str]) -> bool:
    """Whether any of these tensors belongs to a module that multiplies the base's weight."""
    held = set(names)
    marked = (found["module"] for name in held if (found := _MARKED.match(name)))
    return any(
        f"{module}.a1.weight" not in held or all(f"{module}.{p}.weight" in held for p in _FOUR)
        for module in marked
    )


def is_pending(roles: Mapping[str, LazyTensor]) -> bool:
    """Whether a module's parameters are those of such a method."""
    return any(role.startswith(_BLOCKS) for role in roles) or all(part in roles for part in _FOUR)


def pending(
    flat: str, roles: Mapping[str, LazyTensor], ledger: Ledger, file: str, scale: float | None
) -> Pending | None:
    """The update of one module once its base is there; `None`, with the reason noted, where it is damaged."""
    used = [roles[role] for role in sorted(roles, key=_order) if role not in ("alpha", "bias")]
    rotates = any(role.startswith(_BLOCKS) for role in roles)
    # An alpha of 0 leaves a rotation without a bound, and a product without effect.
    number = read_number if rotates else read_alpha
    alpha = number(roles["alpha"], ledger, file) if "alpha" in roles else None
    reason = _unusable(used, file) or (_unfit_rotation if rotates else _unfit_factors)(roles, alpha)
    names = tuple(t.name for t in used) + ((roles["alpha"].name,) if alpha is not None else ())
    if reason is not None:
        ledger.left(names, reason)
        ledger.notice("factor-left-out", f"module {dotted(flat)} is left out: {reason}", names[0])
        return None
    made = _rotation(flat, roles, alpha or 0.0) if rotates else _generalised(flat, roles, alpha, scale)
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


def _rotation(flat: str, roles: Mapping[str, LazyTensor], alpha: float) -> Pending:
    blocks = _blocks(roles)
    own = flat.startswith(_SD_SCRIPTS) or f"{_BLOCKS}.0" in roles
    rotation = Rotation(blocks, alpha, clamped=own, rescale=roles.get("rescale"))
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


def notice_pending(needing: Sequence[Pending], ledger: Ledger, scale: float | None) -> None:
    """Say that the file alone has no ΔW of these modules, and that a rotation takes no scale."""
    counts = Counter(one.method for one in needing)
    for method, count in counts.items():
        what = f"{count} modules of {_CALLED[method]} multiply the base's weight"
        ledger.notice("needs-base", f"{what}; the file alone has no ΔW of them (--base BASE)")
    rotating = counts["oft"] + counts["boft"]
    if scale is not None and rotating:
        text = f"--scale does not apply to {rotating} modules that rotate the base's weight"
        ledger.notice("scale-not-used", text)


_CALLED = {"oft": "OFT", "boft": "BOFT", "glora": "GLoRA"}
