"""Rows of query and key projections: halves of each head one after the other, or alternating.

transformers rotates row i of a head with row i + d/2, Meta's code and llama.cpp row 2i with row 2i + 1; what
converts a model between them reorders the rows, and an adapter's B with them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from tunescope.delta import Array, Delta, Factored, Update
from tunescope.source.files.tensors import LazyTensor, Ledger
from tunescope.words import counted


def with_halves(delta: Delta, head: int) -> Delta:
    """The update of alternating rows as transformers has it; `head` is the number of rows of one head."""
    return replace(delta, open=partial(_opened, delta, head))


def rows_in_halves(tensor: LazyTensor, head: int) -> LazyTensor:
    """One number for each of alternating rows, such as a magnitude, in the order of transformers."""
    return replace(
        tensor,
        read=lambda: _halves(tensor.read().reshape(-1, 1), head).reshape(tensor.shape),
        read_part=None,
        fill=None,
    )


def _opened(delta: Delta, head: int) -> Update:
    update = delta.open()
    assert isinstance(update, Factored)
    return replace(update, B=_halves(update.B, head))


def _halves(rows: Array, head: int) -> Array:
    count, width = rows.shape
    found: Array = rows.reshape(count // head, head // 2, 2, width).swapaxes(1, 2).reshape(count, width)
    return found


def head_of(model: Mapping[str, Any]) -> float | None:
    """Rows of one attention head by a model's `config.json`, `None` where it does not say."""
    text = model.get("text_config")
    config = {**model, **text} if isinstance(text, dict) else model
    size, width, heads = (config.get(key) for key in ("head_dim", "hidden_size", "num_attention_heads"))
    if isinstance(size, int):
        return size
    return width / heads if isinstance(width, int) and isinstance(heads, int) and heads else None


def splits(rows: int, head: float | None) -> int | None:
    """The size of a head as a whole number, where `rows` are whole heads of two halves.

    >>> splits(128, 32.0), splits(128, 5.0)
    (32, None)
    """
    fits = head is not None and head >= 2 and head % 2 == 0 and rows % head == 0
    return int(head) if head is not None and fits else None


def notice_kept(
    modules: Sequence[str], ledger: Ledger, *, slug: str, whose: str, why: str, other: str
) -> None:
    """Say which query and key updates keep the row order of whose code, why, and between what that tells."""
    if modules:
        ledger.notice(
            slug,
            f"{counted(len(modules), 'query or key update keeps', 'query and key updates keep')} "
            f"{whose} order of rows, for {why}: norms and spectra "
            "are the same in any order, but what is told of output directions does not hold between this "
            f"file and {other} (--base BASE tells the size of a head)",
            modules[0],
        )
