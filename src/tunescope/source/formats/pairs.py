"""Pairs of factors under any naming: sorted by module, checked, and turned into deltas."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from tunescope.address import Address, parse
from tunescope.delta import Array, Delta, Dense, Factored
from tunescope.errors import BadInput
from tunescope.source.files.tensors import LazyTensor, Ledger, require_float
from tunescope.source.tuners.adapter import floats, mixed
from tunescope.source.tuners.dora import decomposed
from tunescope.words import counted

# module name -> role ("down", "up", "mid", "alpha", …) -> tensor
Groups = dict[str, dict[str, LazyTensor]]

# Reasons for tensors that stand beside a pair but are no part of its ΔW.
ASIDE = {
    "dora": "DoRA magnitude, needs base",
    "bias": "bias, needs base",
    "embedding": "textual inversion embedding",
    "norm": "norm, needs base",
}
DIRECTIONAL = "directional part s·BA; the DoRA magnitude needs the base"


@dataclass(frozen=True)
class Pair:
    """Two factors of one module: `down` of shape (r, d_in, …), `up` of shape (d_out, r, …).

    `transposed` factors are stored the other way round, (d_in, r) and (r, d_out). `mid` is the core
    (r, r, k, k) of a Tucker-decomposed convolution, `magnitude` that of DoRA, `beside` the names of tensors
    that belong to the pair.
    """

    address: Address
    down: LazyTensor
    up: LazyTensor
    mid: LazyTensor | None = None
    transposed: bool = False
    scale: float | None = None
    alpha: float | None = None
    magnitude: LazyTensor | None = None
    beside: tuple[str, ...] = field(default=())

    @property
    def rank(self) -> int:
        """The rank that the factors share."""
        return self.down.shape[-1] if self.transposed else self.down.shape[0]

    @property
    def tensors(self) -> tuple[LazyTensor, ...]:
        """The tensors that make the update."""
        return (self.down, self.up) if self.mid is None else (self.down, self.up, self.mid)


def collect(tensors: Mapping[str, LazyTensor], split: Callable[[str], tuple[str, str] | None]) -> Groups:
    """Tensors by module and role, where `split` gives both for a name (`None`: not of this format)."""
    groups: Groups = {}
    for name, tensor in tensors.items():
        if (found := split(name)) is None:
            continue
        roles = groups.setdefault(found[0], {})
        if found[1] in roles:
            raise BadInput(
                "several-adapters",
                "two tensors of the file mean the same parameter of the same module",
                tensor=name,
                expected="one adapter in the file",
                found=f"also {roles[found[1]].name}",
                fix="save one adapter for each file",
            )
        roles[found[1]] = tensor
    return groups


def pair_delta(pair: Pair, ledger: Ledger, file: str) -> Delta | None:
    """The delta of a pair, its tensors marked as used; `None`, with the reason noted, where it has none."""
    if (reason := _unusable(pair, file)) is not None:
        names = tuple(t.name for t in pair.tensors)
        ledger.left(names, reason)
        ledger.notice("factor-left-out", f"{names[0]} and {names[1]} are left out: {reason}", names[0])
        return None
    names = tuple(t.name for t in pair.tensors)
    ledger.used((*names, *pair.beside))
    d_in = pair.down.shape[0] if pair.transposed else _inputs(pair)
    d_out = pair.up.shape[-1] if pair.transposed else pair.up.shape[0]
    delta = Delta(
        pair.address, "", "lora", d_out, d_in, pair.rank, pair.alpha, pair.scale, names, partial(_open, pair)
    )
    return delta if pair.magnitude is None else with_magnitude(replace(delta, method="dora"), pair.magnitude)


def with_magnitude(delta: Delta, magnitude: LazyTensor) -> Delta:
    """The update as the part that it is without its DoRA magnitude, with what makes it whole beside a base.

    A magnitude that does not fit the layer, or a scale that is unknown, leaves it a part.
    """
    status = DIRECTIONAL if delta.method == "dora" else DIRECTIONAL.replace("BA", "ΔW")
    # Only LyCORIS has magnitudes of inputs.
    either = "dora_scale" in magnitude.name
    exact = None if delta.scale is None else decomposed(magnitude, (delta.d_out, delta.d_in), either=either)
    return replace(delta, status=status, exact=exact)


def _unusable(pair: Pair, file: str) -> str | None:
    if unsupported := [t for t in pair.tensors if not t.supported]:
        return unsupported[0].unreadable
    for tensor in pair.tensors:
        require_float(tensor, file)
    if any(t.numel == 0 for t in pair.tensors):
        return "empty factor"
    if flat := [t for t in pair.tensors if len(t.shape) < 2]:
        return f"a factor has two axes or more, {flat[0].name} has {len(flat[0].shape)}"
    inner = (
        (pair.down.shape[-1], pair.up.shape[0]) if pair.transposed else (pair.down.shape[0], pair.up.shape[1])
    )
    # What mixes the ranks has no extent of its own: a kernel lies in the down factor, or in a core.
    wide = not pair.transposed and math.prod(pair.up.shape[2:]) != 1
    core = pair.mid is not None and pair.mid.shape[:2] != (pair.up.shape[1], pair.down.shape[0])
    if (pair.mid is None and inner[0] != inner[1]) or core or wide:
        shapes = " and ".join(str(list(t.shape)) for t in pair.tensors)
        return f"the factors' shapes do not fit together: {shapes}"
    return None


def _inputs(pair: Pair) -> int:
    kernel = math.prod(pair.mid.shape[2:]) if pair.mid is not None else 1
    return math.prod(pair.down.shape[1:]) * kernel


def _open(pair: Pair) -> Factored:
    down, up = floats(pair.down), floats(pair.up)
    if pair.transposed:
        return Factored(up.T, down.T, pair.scale)
    if pair.mid is not None:
        return Factored(up.reshape(up.shape[0], -1), _tucker(floats(pair.mid), down), pair.scale)
    return Factored(up.reshape(up.shape[0], -1), down.reshape(down.shape[0], -1), pair.scale)


def _tucker(core: Array, down: Array) -> Array:
    """The right factor of a Tucker-decomposed convolution, (r, d_in·k·k)."""
    return mixed(core.astype(np.float64), down.reshape(down.shape[0], -1).astype(np.float64))


def full_delta(module: str, tensor: LazyTensor, scale: float | None, ledger: Ledger, file: str) -> Delta:
    """A delta stored whole, as a matrix or convolution kernel."""
    require_float(tensor, file)
    ledger.used([tensor.name])
    d_out, d_in = tensor.shape[0], math.prod(tensor.shape[1:])
    factor = 1.0 if scale is None else scale

    def matrix() -> Dense:
        return Dense(floats(tensor).reshape(d_out, d_in), factor)

    return Delta(parse(module), "", "full", d_out, d_in, None, None, factor, (tensor.name,), matrix)


def read_alpha(tensor: LazyTensor, ledger: Ledger, file: str) -> float | None:
    """The number in an `alpha` tensor, which says the scale alpha/rank; it must be one finite number."""
    alpha = read_number(tensor, ledger, file)
    if alpha == 0:
        ledger.notice("alpha-zero", "alpha is 0: the module has no effect", tensor.name)
    return alpha


def read_number(tensor: LazyTensor, ledger: Ledger, file: str) -> float | None:
    """The one finite number in an `alpha` tensor, whatever the method takes it for."""
    if not tensor.supported or tensor.numel != 1:
        ledger.left([tensor.name], "alpha that is not one number")
        return None
    alpha = float(tensor.read().reshape(-1)[0])
    if not math.isfinite(alpha):
        raise BadInput(
            "alpha-not-finite",
            "alpha is not a finite number",
            file=file,
            tensor=tensor.name,
            expected="a finite number",
            found=alpha,
            fix="give the scale with --scale LABEL=NUMBER",
        )
    return alpha


def half_saved(module: str, roles: Mapping[str, LazyTensor], ledger: Ledger) -> None:
    """Note a module of which only one factor is there."""
    text = f"incomplete module: only {', '.join(sorted(roles))}"
    ledger.left((t.name for t in roles.values()), text)
    ledger.notice("half_saved", f"module {module} is left out, {text}", module)


def leave_aside(roles: Mapping[str, LazyTensor], ledger: Ledger, kinds: Iterable[str] = ASIDE) -> None:
    """Give the tensors beside a pair their reasons."""
    for kind in kinds:
        if kind in roles:
            ledger.left([roles[kind].name], ASIDE[kind])


def notice_scale(deltas: Iterable[Delta], ledger: Ledger) -> None:
    """Say that the scale is unknown where it is."""
    listed = list(deltas)
    if unknown := [delta for delta in listed if delta.scale is None]:
        ledger.notice(
            "scale-unknown",
            f"the file does not say the scale of {_which(unknown, listed)}; sizes there are those of BA, "
            "without it (--scale LABEL=x gives it)",
        )
    # Widening is said once, as for PEFT adapters.
    used = {name for delta in listed for name in delta.tensors}
    small = sum(t.dtype.startswith("F8") for t in ledger.tensors.values() if t.name in used)
    if small:
        ledger.notice(
            "float8",
            f"{counted(small, 'tensor is', 'tensors are')} stored as 8-bit floats, widened to float32",
        )


def _which(some: Sequence[Delta], every: Sequence[Delta]) -> str:
    if len(some) == len(every):
        return counted(len(some), "module")
    return f"{len(some)} of {counted(len(every), 'module')} ({_shown(some)})"


def _shown(deltas: Sequence[Delta]) -> str:
    names = [f"{d.address.module_type} of layer {d.address.layer}" for d in deltas[:2]]
    return ", ".join(names) + (", …" if len(deltas) > 2 else "")
