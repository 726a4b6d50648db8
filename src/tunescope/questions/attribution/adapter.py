"""An adapter on its base → what it changes, each LoRA update as a branch beside its layer."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tunescope.address import Address, parse
from tunescope.delta import Array, Delta, Factored, Update
from tunescope.errors import BadInput, concerning, raised_by
from tunescope.linalg import gram
from tunescope.lm.foreign_code import refuse_foreign_code
from tunescope.questions.attribution.cells import Changes, is_transposed, outputs_of, require_finite, wide
from tunescope.questions.attribution.pair import refuse_other_base
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.formats.names import strip_wrappers
from tunescope.source.opened import Source
from tunescope.source.tuners.patterns import bound_patterns

# Tensors that an adapter file holds whole, by the reasons of the coverage ledger.
_WHOLE = re.compile(r"^(saved module|saved embedding layer|bias, needs base|copy of the base layer)")
_HARMLESS = "used in training only"
_PEFT_PARTS = re.compile(r"\.(base_layer|original_module)(?=\.|$)")
_SAVED = re.compile(r"\.modules_to_save(\.default)?(?=\.)")


@dataclass(frozen=True, eq=False)
class Slot:
    """Where a model holds one weight."""

    name: str
    module: nn.Module
    attribute: str
    parameter: nn.Parameter

    @property
    def shape(self) -> tuple[int, ...]:
        """(d_out, d_in) of a matrix as its layer applies it; experts lead; kernels are flattened."""
        module, shape = self.module, tuple(self.parameter.shape)
        if isinstance(module, nn.Linear):
            # A 4-bit weight is stored flat; the layer still knows its shape.
            return (module.out_features, module.in_features) if self.attribute == "weight" else shape
        if len(shape) == 2 and is_transposed(module):
            return shape[::-1]
        if len(shape) == 3 and self.attribute != "weight":
            swapped = getattr(module, "is_transposed", False)
            return (shape[0], shape[2], shape[1]) if swapped else shape
        return (shape[0], math.prod(shape[1:])) if len(shape) > 2 else shape


def left_to_merge(source: Source) -> list[str]:
    """What of an adapter has no ΔW of its own without the base; empty for plain LoRA."""
    found = [f"{d.tensors[0]}: {d.status}" for d in source.deltas if d.status != "ok"]
    return found + [
        f"{entry.tensor}: {entry.reason}"
        for entry in source.coverage
        if entry.status != "used" and entry.reason != _HARMLESS and not _WHOLE.match(entry.reason)
    ]


def adapter_changes(model: nn.Module, source: Source, tensors: Mapping[str, LazyTensor]) -> Changes:
    """The cells of an adapter: one for each update, and one for each saved module or bias that differs.

    `model` holds the base weights, `tensors` the adapter's own. Raises `BadInput` where the adapter does
    not fit the model, does not say its scale, or holds a NaN.
    """
    slots = _slots(model)
    pairs = _fitted(source, slots)
    changes = Changes(notices=list(source.notices))
    fused: dict[str, tuple[Slot, list[tuple[Delta, Update]]]] = {}
    for delta, slot in pairs:
        update = delta.open()
        if isinstance(update, Factored) and _takes_branch(slot):
            _add_branch(changes, delta, update, slot)
        else:
            fused.setdefault(slot.name, (slot, []))[1].append((delta, update))
    for slot, parts in fused.values():
        _add_blend(changes, slot, parts)
    for entry in source.coverage:
        if entry.status != "used" and _WHOLE.match(entry.reason):
            _add_whole(changes, slots, tensors[entry.tensor], source.location)
    return changes


def _slots(model: nn.Module) -> dict[Address, Slot]:
    slots: dict[Address, Slot] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        path, _, attribute = name.rpartition(".")
        if ".lora_" in name or ".modules_to_save." in name:
            continue
        plain = _PEFT_PARTS.sub("", strip_wrappers(name))
        slots.setdefault(parse(plain), Slot(plain, model.get_submodule(path), attribute, parameter))
    return slots


def _fitted(source: Source, slots: Mapping[Address, Slot]) -> list[tuple[Delta, Slot]]:
    pairs, wrong = [], []
    for delta in source.deltas:
        slot = slots.get(delta.address) or slots.get(replace(delta.address, expert=None))
        if slot is None:
            wrong.append(f"{_named(delta)} is not in the base")
        elif slot.shape[-2:] != (delta.d_out, delta.d_in):
            wrong.append(
                f"{_named(delta)}: ΔW [{delta.d_out}, {delta.d_in}] on a weight of {list(slot.shape)}"
            )
        elif delta.scale is None:
            raise BadInput(
                "scale-unknown",
                "the adapter does not say its scale",
                file=source.location,
                tensor=delta.tensors[0],
                expected="alpha and rank, in its config or its metadata",
                fix="give it with --scale",
            )
        else:
            pairs.append((delta, slot))
    if wrong:
        refuse_other_base(wrong, source.location)
    return pairs


def _named(delta: Delta) -> str:
    return delta.component_name or delta.address.module_type


def _takes_branch(slot: Slot) -> bool:
    linear = isinstance(slot.module, nn.Linear) or type(slot.module).__name__ == "Conv1D"
    # Subclasses of Embedding may scale what they look up; the branch would not.
    return slot.attribute == "weight" and (linear or type(slot.module) is nn.Embedding)


def _add_branch(changes: Changes, delta: Delta, update: Factored, slot: Slot) -> None:
    device = slot.parameter.device
    dtype = wide(slot.parameter.dtype)
    A = _tensor(update.A).to(device, dtype)
    B = _tensor(update.B).to(device, dtype) * (1.0 if update.scale is None else update.scale)
    for factor, name in zip((A, B), delta.tensors, strict=False):
        require_finite(factor, name)
    norm = gram.product_frobenius(update.B, update.A)[0] * abs(delta.scale or 1.0)
    changes.branch(delta.address, slot.module, (A, B), norm / math.sqrt(delta.d_out))


def _add_blend(changes: Changes, slot: Slot, parts: list[tuple[Delta, Update]]) -> None:
    """A dense update of one parameter; of fused experts, those that the adapter leaves alone stay zero."""
    if not slot.parameter.is_floating_point():
        for delta, _ in parts:
            changes.left[delta.tensors[0]] = "a dense update of a quantised weight"
        return
    fused = len(slot.shape) == 3
    if not fused:
        ((delta, update),) = parts
        matrix = _matrix(update)
        dense = matrix.T if is_transposed(slot.module) else matrix
        _blend(changes, slot, [delta.address], dense.reshape(slot.parameter.shape), delta.tensors[0])
        return
    dense = torch.zeros(slot.shape, dtype=torch.float64)
    for delta, update in parts:
        dense[delta.address.expert or 0] += _matrix(update)
    if getattr(slot.module, "is_transposed", False):
        dense = dense.transpose(1, 2)
    address = parts[0][0].address
    addresses = [replace(address, expert=i) for i in range(slot.shape[0])]
    _blend(changes, slot, addresses, dense, parts[0][0].tensors[0])


def _blend(changes: Changes, slot: Slot, addresses: list[Address], dense: Tensor, name: str) -> None:
    delta = dense.to(slot.parameter.device, wide(slot.parameter.dtype)).contiguous()
    require_finite(delta, name)
    d_out = outputs_of(slot.module, slot.attribute, slot.parameter, len(addresses) > 1)
    changes.blend(addresses, [(slot.module, slot.attribute)], delta, d_out)


def _add_whole(changes: Changes, slots: Mapping[Address, Slot], tensor: LazyTensor, file: str) -> None:
    """A module or bias that the adapter saved whole: its ΔW is its difference from the base."""
    address = parse(_SAVED.sub("", _PEFT_PARTS.sub("", strip_wrappers(tensor.name))))
    slot = slots.get(address)
    if slot is None or tuple(slot.parameter.shape) != tensor.shape:
        found = "is not in the base" if slot is None else f"on a weight of {list(slot.parameter.shape)}"
        refuse_other_base([f"{tensor.name} {list(tensor.shape)} {found}"], file)
    delta = _tensor(tensor.read()).double() - slot.parameter.detach().cpu().double()
    if bool(delta.any()):
        _blend(changes, slot, [address], delta, tensor.name)
    else:
        changes.unchanged += 1


def _matrix(update: Update) -> Tensor:
    return torch.from_numpy(update.dense())


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.array(gram.wide(array)))


Merge = Callable[[], nn.Module]


def merged(base: nn.Module, place: str) -> nn.Module:
    """A PEFT adapter merged into a copy of its base, for methods whose ΔW only PEFT can give.

    Raises `BadInput` where the method has no merged weights or the adapter does not fit.
    """
    # Deferred: plain LoRA needs no PEFT.
    import copy

    from peft import PeftConfig, PeftModel

    own = copy.deepcopy(base)
    # PEFT has no errors of its own.
    try:
        config = PeftConfig.from_pretrained(place)
        refuse_foreign_code(config.to_dict(), place)
        bounded = bound_patterns(config, [name for name, _ in own.named_modules()])
        adapted: Any = PeftModel.from_pretrained(own, place, config=config if bounded else None)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        if not raised_by(error, "peft", "torch", "transformers"):
            raise
        raise BadInput(
            "other-base",
            "PEFT cannot put the adapter on this base",
            file=place,
            expected="an adapter of this base, as PEFT saves it",
            found=_first_line(error),
            fix="name the base that it was tuned from",
        ) from error
    with concerning(place):
        return unwrapped(adapted, "merge_and_unload")


def unwrapped(adapted: Any, how: str) -> nn.Module:
    """What PEFT's `merge_and_unload` or `unload` returns; `BadInput` for methods that change no weight."""
    try:
        return getattr(adapted, how)()  # type: ignore[no-any-return]
    except (AttributeError, NotImplementedError, TypeError) as error:
        if hasattr(adapted, how) and not raised_by(error, "peft", "torch"):
            raise
        kind = type(adapted).__name__
        raise BadInput(
            "no-weight-update",
            "this PEFT method adds no fixed update to any weight",
            found=kind,
            expected="a method that PEFT can merge",
            fix="use tunescope importance",
        ) from error


def _first_line(error: Exception) -> str:
    lines: Iterable[str] = (line.strip() for line in str(error).splitlines() if line.strip())
    return next(iter(lines), type(error).__name__)
