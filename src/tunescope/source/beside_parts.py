"""A fused projection beside its own parts in one file: one update counts once, the one left over is named."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tunescope.address import Address, distinct_addresses
from tunescope.address.fused import PARTS, Part, parts
from tunescope.delta import Delta, Factored, Update
from tunescope.source.files.tensors import Ledger
from tunescope.source.twice import of_one_list
from tunescope.words import counted

# Up to which share of its size an update may lie beside another and be the same: rounding of sums.
_SAME = 1e-5
# The one whose parts stand in modules of other names.
_ACROSS = "LINEAR1"
Float64 = NDArray[np.float64]


def parts_once(deltas: Sequence[Delta], ledger: Ledger) -> list[Delta]:
    """The updates of a file, without a fused projection or its parts where both are there.

    Where both are the same update it counts once, in parts if all of them are there. Where they differ the
    parts are taken, as diffusers does, and the fused one is left over and said: ComfyUI adds both up.
    """
    gone: set[int] = set()
    again: list[str] = []
    other: list[tuple[str, str]] = []
    for near in _layers(deltas):
        for address, at in near.items():
            found = _parts(address, at, near, deltas)
            if not found:
                continue
            fused, held = deltas[at], [deltas[near[part.address]] for part in found]
            if not _same(fused, found, held):
                gone.add(at)
                other.append((fused.tensors[0], held[0].tensors[0]))
                ledger.settle(fused.tensors, f"its parts are there as well: {held[0].tensors[0]}")
                continue
            whole = sum(part.stop - part.start for part in found) == fused.d_out
            for left, kept in [(fused, held[0])] if whole else [(part, fused) for part in held]:
                gone |= {k for k in near.values() if deltas[k] is left}
                again.append(left.tensors[0])
                ledger.settle(left.tensors, f"the same update a second time: {kept.tensors[0]}")
    _say(again, other, ledger)
    return [delta for at, delta in enumerate(deltas) if at not in gone]


def _layers(deltas: Sequence[Delta]) -> list[dict[Address, int]]:
    """Where the updates of each layer stand that holds a fused projection, by address."""
    if not any(delta.address.component in PARTS for delta in deltas):
        return []
    found: dict[tuple[str, int | None, int | None], dict[Address, int]] = {}
    for at, address in enumerate(distinct_addresses([delta.address for delta in deltas])):
        found.setdefault((address.stack, address.layer, address.expert), {})[address] = at
    return [near for near in found.values() if any(address.component in PARTS for address in near)]


def _parts(address: Address, at: int, near: Mapping[Address, int], deltas: Sequence[Delta]) -> list[Part]:
    """The parts of a fused projection that stand in the same module of the same list of blocks."""
    if address.component not in PARTS:
        return []
    above = address.module_type.rpartition(".")[0]
    shapes = {
        a: (deltas[k].d_out, deltas[k].d_in)
        for a, k in near.items()
        if (address.component == _ACROSS or a.module_type.rpartition(".")[0] == above)
        and of_one_list(address, deltas[at], a, deltas[k])
    }
    return parts(address, (deltas[at].d_out, deltas[at].d_in), shapes)


def _same(fused: Delta, found: Sequence[Part], held: Sequence[Delta]) -> bool:
    kinds = {(one.scale is None, one.status, one.exact is None) for one in (fused, *held)}
    if len(kinds) > 1 or fused.exact is not None:
        return False
    whole = fused.open()
    return all(
        _equal(_rows(whole, part.start, part.stop), one.open()) for part, one in zip(found, held, strict=True)
    )


def _rows(update: Update, start: int, stop: int) -> Update:
    if isinstance(update, Factored):
        return Factored(update.B[start:stop], update.A, update.scale)
    return type(update)(update.matrix[start:stop], update.scale)


def _equal(one: Update, other: Update) -> bool:
    """Whether two updates are one up to rounding; factors need not be equal for that."""
    if isinstance(one, Factored) and isinstance(other, Factored):
        left, right = _factors(one), _factors(other)
        apart = _norm(np.hstack([left[0], -right[0]]), np.vstack([left[1], right[1]]))
        return apart <= _SAME * _norm(*right)
    dense = one.dense(), other.dense()
    return float(np.linalg.norm(dense[0] - dense[1])) <= _SAME * float(np.linalg.norm(dense[1]))


def _factors(update: Factored) -> tuple[Float64, Float64]:
    scale = 1.0 if update.scale is None else update.scale
    return scale * update.B.astype(np.float64), update.A.astype(np.float64)


def _norm(B: Float64, A: Float64) -> float:
    """‖B A‖_F without its product, which would be as large as the layer."""
    if not (np.isfinite(B).all() and np.isfinite(A).all()):
        return float("nan")
    left, right = (np.linalg.qr(factor).R for factor in (B, A.T))
    return float(np.linalg.norm(left @ right.T))


def _say(again: Sequence[str], other: Sequence[tuple[str, str]], ledger: Ledger) -> None:
    if again:
        have = counted(len(again), "module has its update", "modules have their updates")
        text = f"{have} a second time, fused with others or apart from them, counted once"
        ledger.notice("saved-twice", text, again[0])
    if other:
        fused, part = other[0]
        text = (
            f"{counted(len(other), 'fused projection is', 'fused projections are')} left over beside other "
            f"updates of the same rows ({fused} beside {part}): diffusers takes the parts, as here, and "
            "ComfyUI adds both up"
        )
        ledger.notice("fused-beside-parts", text, fused)
