"""Tokens that an adapter trained on their own: their rows of the embedding table, before and after."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tunescope.delta import Delta, Picked
from tunescope.errors import BadInput
from tunescope.source.files.tensors import LazyTensor, is_float
from tunescope.source.formats.names import strip_wrappers
from tunescope.source.opened import Source
from tunescope.source.pairing import paired_delta
from tunescope.source.whole import WholeModel
from tunescope.words import counted

# The method that trains nothing else.
TOKENS = "TRAINABLE_TOKENS"
_END = ".trainable_tokens_delta"


def trained_tokens(source: Source, tensors: Mapping[str, LazyTensor], base: WholeModel) -> Iterator[Delta]:
    """One delta for every table of which an adapter trained rows (PEFT's `trainable_token_indices`).

    What PEFT saves as `trainable_tokens_delta` are the rows as they became, not their difference. A head that
    the base ties to its table is no weight of its own. Raises `BadInput` where rows and numbers do not fit.
    """
    for name, tensor in tensors.items():
        if not name.endswith(_END) or not is_float(tensor):
            continue
        module = strip_wrappers(name).removesuffix(_END).removesuffix(".token_adapter")
        table = base.tensors.get(f"{module}.weight")
        if table is None or not is_float(table):
            continue
        rows = _indices(source.config, module)
        fits = rows is not None and tensor.shape == (len(rows), *table.shape[1:]) and len(table.shape) == 2
        if rows is None or not fits or not all(0 <= row < table.shape[0] for row in rows):
            raise BadInput(
                "other-base", "the trained tokens do not fit this base", file=source.location, tensor=name,
                expected=f"rows of {table.name}, {table.shape[0]}×{table.shape[-1]}",
                found=f"{tensor.shape} for the tokens {(rows or [])[:5]}",
                fix="name the base it was trained on",
            )  # fmt: skip
        before = Picked(table, tuple(rows), table.shape[1])
        delta = paired_delta(f"{module}.weight", tensor, before, base)
        status = (
            f"the rows of {counted(len(rows), 'trained token')}, of "
            f"{table.shape[0]}; all numbers are of these rows"
        )
        yield replace(delta, tensors=(name,), status=status)


def _indices(config: Mapping[str, Any], module: str) -> list[int] | None:
    """The tokens' numbers in the order of the saved rows; by module where several tables are trained."""
    said = config.get("token_indices", config.get("trainable_token_indices"))
    if isinstance(said, Mapping):
        keys = [key for key in said if module == key or module.endswith(f".{key}")]
        said = said[keys[0]] if len(keys) == 1 else None
    if not isinstance(said, list) or not all(isinstance(n, int) and not isinstance(n, bool) for n in said):
        return None
    return said
