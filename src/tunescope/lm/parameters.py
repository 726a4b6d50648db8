"""The rows of a score table: every weight of a model once, mixture-of-experts experts apart."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tunescope.address import parse
from tunescope.errors import BadInput
from tunescope.lm.norms import weight_offsets
from tunescope.lm.processes import is_sharded as is_sharded
from tunescope.words import counted

_WRAPPERS = re.compile(r"(^|\.)(_orig_mod|_fsdp_wrapped_module)(?=\.)|^(module|base_model\.model)\.(?=.)")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: where the weights sit, how many they are, and the tensor's full name.

    `parameter` is the module path within its layer, such as `self_attn.q_proj` or `mlp.down_proj.bias`.
    """

    stack: str
    layer: int | None
    parameter: str
    expert: int | None
    numel: int
    name: str


@dataclass(frozen=True, eq=False)
class Scored:
    """A parameter v and its rows: one, or one per expert along its first axis.

    The layer applies w = `offset` + v, and scores are of w: they belong to the function and not to how its
    weights are stored.
    """

    name: str
    parameter: nn.Parameter
    first: int
    groups: int
    offset: float = 0.0

    def applied(self, stored: Tensor) -> Tensor:
        """The weights w that the layer applies, in float32 or wider where they are not those stored."""
        if not self.offset:
            return stored
        return stored.to(torch.promote_types(stored.dtype, torch.float32)) + self.offset

    def part(self, group: int) -> Tensor:
        """The stored weights of one row, a view."""
        return self.parameter.detach() if self.groups == 1 else self.parameter.detach()[group]


@dataclass(frozen=True, eq=False)
class Parameters:
    """All that is scored, in network order, and what is not (name and reason)."""

    scored: Sequence[Scored]
    rows: Sequence[Row]
    left_out: dict[str, str]
    sharded: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def row_of(self, name: str) -> Scored:
        """The entry of a parameter, by its name in the model."""
        return next(entry for entry in self.scored if entry.name == name)


def parameters_of(model: nn.Module) -> Parameters:
    """The parameters of a model as rows; one tensor used in two places (tied embeddings) is one row.

    Parameters that hold no floating-point numbers (4-bit weights) or no data (offloaded ones) are left out
    with a reason. In a sharded model the experts of one tensor share a row, because shards may cut across
    them. Raises `BadInput` where nothing is left.
    """
    scored: list[Scored] = []
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    sharded = is_sharded(model)
    experts = {} if sharded else _fused_experts(model)
    offsets = weight_offsets(model)
    for name, parameter in model.named_parameters():
        if reason := _why_not(parameter):
            left_out[name] = reason
            continue
        groups = experts.get(name, 1)
        scored.append(Scored(name, parameter, len(rows), groups, offsets.get(name, 0.0)))
        rows += _rows(name, parameter.numel() // groups, groups)
    if not rows:
        text = "the model has no parameter that can be scored"
        found = f"{counted(len(left_out), 'parameter')}, all left out"
        raise BadInput(
            "no-parameters",
            text,
            expected="a floating weight of two axes",
            found=found,
            fix="name a model that holds its weights as floating numbers",
        )
    return Parameters(scored, rows, left_out, sharded)


def _why_not(parameter: nn.Parameter) -> str | None:
    if not parameter.is_floating_point():
        return f"stored as {str(parameter.dtype).removeprefix('torch.')}, which has no gradient"
    if parameter.is_meta:
        return "offloaded: its values are not in memory"
    return "holds no numbers" if parameter.numel() == 0 else None


def _rows(name: str, numel: int, groups: int) -> list[Row]:
    address = parse(_WRAPPERS.sub("", name).lstrip("."))
    return [
        Row(
            address.stack,
            address.layer,
            address.module_type,
            address.expert if groups == 1 else group,
            numel,
            name,
        )
        for group in range(groups)
    ]


def _fused_experts(model: nn.Module) -> dict[str, int]:
    """Parameters that hold every expert of a layer along their first axis, and how many those are."""
    found: dict[str, int] = {}
    for path, module in model.named_modules():
        if "experts" not in path.rsplit(".", 1)[-1] or isinstance(module, nn.ModuleList):
            continue
        own = list(module.named_parameters(prefix=path, recurse=False))
        counts = {p.shape[0] for _, p in own if p.dim() == 3}
        found |= {name: p.shape[0] for name, p in own if len(counts) == 1 and p.shape[0] in counts}
    return found
