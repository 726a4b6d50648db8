"""The blocks of a model: where they are, and running it without one."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tunescope.errors import BadInput
from tunescope.lm.parameters import Parameters

_BLOCK = re.compile(r"^(.*?[A-Za-z_]\w*\.\d+)\.")


@dataclass(frozen=True, eq=False)
class Block:
    """One block: its layer, its module and how many weights it holds."""

    stack: str
    layer: int
    path: str
    module: nn.Module
    numel: int


def blocks_of(model: nn.Module, parameters: Parameters) -> list[Block]:
    """The blocks that hold the rows with a layer, in network order."""
    paths: dict[tuple[str, int], tuple[str, int]] = {}
    for row in parameters.rows:
        found = _BLOCK.match(row.name)
        if row.layer is not None and found:
            _, numel = paths.get((row.stack, row.layer), ("", 0))
            paths[row.stack, row.layer] = found.group(1), numel + row.numel
    return [
        Block(stack, layer, path, model.get_submodule(path), numel)
        for (stack, layer), (path, numel) in paths.items()
    ]


@contextmanager
def bypassed(block: Block) -> Iterator[None]:
    """The model with the block's output replaced by its input: only the residual stream passes.

    Raises `BadInput` for a block whose output has another shape than its input.
    """

    def replace(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        del module
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        first = output if isinstance(output, torch.Tensor) else output[0]
        if first.shape != hidden.shape:
            raise BadInput(
                "cannot-bypass",
                f"block {block.path} cannot be bypassed: its output has another shape than its input",
                expected=tuple(hidden.shape),
                found=tuple(first.shape),
                fix="--no-layer-importance",
            )
        return hidden if first is output else (hidden, *output[1:])

    handle = block.module.register_forward_hook(replace, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
