"""Two models of one architecture → what changed between them, parameter by parameter."""

from collections.abc import Iterable
from typing import NoReturn

import torch
from torch import Tensor, nn

from tunescope.address import Address, parse
from tunescope.errors import BadInput
from tunescope.lm.parameters import parameters_of
from tunescope.questions.attribution.cells import Changes, outputs_of, require_finite, wide
from tunescope.source.formats.names import strip_wrappers
from tunescope.words import counted


def pair_changes(base: nn.Module, tuned: nn.Module) -> Changes:
    """A cell for every parameter (every expert of fused experts) that differs between two models.

    Tensors that are tied in both models are one cell, tied in the base alone they are two. Raises
    `BadInput` where the models do not have the same parameters, or hold a NaN.
    """
    ours, theirs = _parameters(base), _parameters(tuned)
    _check_same(ours, theirs)
    changes = Changes(left=_other_state(base, tuned))
    groups = {entry.name: entry.groups for entry in parameters_of(base).scored}
    for names in _tied(ours, theirs):
        count = max(groups.get(name, 1) for name in names)
        _compare(changes, base, names, ours[names[0]], theirs[names[0]], count)
    return changes


def _parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    return dict(model.named_parameters(remove_duplicate=False))


def _tied(ours: dict[str, nn.Parameter], theirs: dict[str, nn.Parameter]) -> Iterable[list[str]]:
    """Names that are one tensor in both models, together."""
    tied: dict[tuple[int, int], list[str]] = {}
    for name, parameter in ours.items():
        tied.setdefault((id(parameter), id(theirs[name])), []).append(name)
    return tied.values()


def _compare(
    changes: Changes, base: nn.Module, names: list[str], before: Tensor, after: Tensor, groups: int
) -> None:
    if not before.is_floating_point():
        if not torch.equal(before, after.to(before.device)):
            changes.left[names[0]] = (
                f"stored as {str(before.dtype).removeprefix('torch.')}: it has no gradient"
            )
        return
    dtype = torch.promote_types(wide(before.dtype), wide(after.dtype))
    delta = after.detach().to(before.device, dtype) - before.detach().to(dtype)
    delta = delta.to(wide(before.dtype))
    require_finite(delta, names[0])
    if not bool(delta.any()):
        changes.unchanged += groups
        return
    owners = [_owner(base, name) for name in names]
    address = parse(strip_wrappers(names[0]))
    addresses = [address] if groups == 1 else [_expert(address, i) for i in range(groups)]
    changes.blend(addresses, owners, delta, outputs_of(*owners[0], before, groups > 1))


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, attribute = name.rpartition(".")
    return model.get_submodule(path), attribute


def _expert(address: Address, index: int) -> Address:
    return Address(address.stack, address.layer, address.module_type, index)


def _other_state(base: nn.Module, tuned: nn.Module) -> dict[str, str]:
    """Saved tensors that are no parameters and differ: they change the model outside every cell."""
    ours, theirs = base.state_dict(), tuned.state_dict()
    buffers = [name for name, _ in base.named_buffers() if name in ours and name in theirs]
    return {
        name: "a buffer, which training does not reach by gradients"
        for name in buffers
        if ours[name].shape != theirs[name].shape
        or not torch.equal(ours[name], theirs[name].to(ours[name].device))
    }


def _check_same(ours: dict[str, nn.Parameter], theirs: dict[str, nn.Parameter]) -> None:
    if not ours.keys() & theirs.keys():
        raise BadInput(
            "no-common-tensors",
            "the tuned model and the base have no parameter in common",
            expected=", ".join(list(ours)[:3]),
            found=", ".join(list(theirs)[:3]),
            fix="name the base that the model was tuned from",
        )
    rows = [f"{n} is in the base only" for n in ours if n not in theirs]
    rows += [f"{n} is in the tuned model only" for n in theirs if n not in ours]
    rows += [
        f"{n}: {list(theirs[n].shape)} on a base of {list(ours[n].shape)}"
        for n in ours
        if n in theirs and ours[n].shape != theirs[n].shape
    ]
    if rows:
        refuse_other_base(rows)


def refuse_other_base(mismatches: list[str], file: str | None = None) -> NoReturn:
    """Refuse what was tuned from another base, with the first three mismatches."""
    more = f"; and {len(mismatches) - 3} more" if len(mismatches) > 3 else ""
    raise BadInput(
        "other-base",
        f"this was tuned from another base: {counted(len(mismatches), 'mismatch', 'mismatches')}",
        file=file,
        expected="the weights of the base, each with its shape",
        found="; ".join(mismatches[:3]) + more,
        fix="name the base that it was tuned from",
    )
