"""How much each attention head changed: blocks of rows of q, k and v, blocks of columns of o."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.delta import Delta, Factored, Update
from tunescope.errors import BadInput, Missing, Notice, UsageError, printable
from tunescope.questions.norms.head_layouts import head_size, key_value_heads, layout_of
from tunescope.source.files.documents import read_object
from tunescope.source.opened import Source
from tunescope.table import Column, Schema, Table, described, dtypes

Float64 = NDArray[np.float64]
HEADS: Schema = {
    "model_id": Column(pl.String, "label of the model"),
    "stack": Column(pl.String, "stack of blocks or tower"),
    "layer": Column(pl.Int64, "index of the block in its stack"),
    "module_type": Column(pl.String, "name of the module inside its block"),
    "expert": Column(pl.Int64, "number of the expert"),
    "component_name": Column(pl.String, "short name of layer and module"),
    "head_kind": Column(pl.String, "query or key_value"),
    "head": Column(pl.Int64, "number of the head, from 0"),
    "frobenius_norm": Column(
        pl.Float64,
        "‖ΔW‖_F, the root of the sum of squares, of the head's rows (of o: columns)",
        "unit of the weights",
    ),
    "frobenius_norm_normalized": Column(pl.Float64, "that over √(rows of the block)", "unit of the weights"),
}
# Which heads a component's blocks are, and whether they are columns.
_PARTS = {
    "ATTN_Q": ("query", False), "ATTN_K": ("key_value", False), "ATTN_V": ("key_value", False),
    "ATTN_O": ("query", True),
}  # fmt: skip
FUSED = "ATTN_QKV"


@dataclass(frozen=True)
class Heads:
    """How many query and key-value heads a model has; `size` is d_head, `None` where q's rows tell it."""

    query: int
    key_value: int
    size: int | None = None
    kind: str = ""


def parse_heads(text: str | None) -> Heads | None:
    """`Q/KV` or `Q/KV/DIM` as numbers of heads and their size.

    >>> parse_heads("32/8/128")
    Heads(query=32, key_value=8, size=128, kind='')
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})/(\d{1,5})(?:/(\d{1,5}))?", text)
    numbers = [int(n) for n in found.groups() if n] if found else [0]
    if min(numbers) < 1 or numbers[0] % numbers[1]:
        raise UsageError(
            "bad-heads",
            "--heads cannot be read",
            expected="Q/KV or Q/KV/DIM, Q a multiple of KV, such as 32/8/128",
            found=printable(text),
        )
    return Heads(numbers[0], numbers[1], numbers[2] if len(numbers) > 2 else None)


def heads_of(config: Mapping[str, Any]) -> Heads | None:
    """The heads that a model's `config.json` states, of its language model where it has several parts."""
    for part in (config, config.get("text_config") or {}):
        if not isinstance(part, Mapping):
            continue
        query = part.get("num_attention_heads") or part.get("n_head") or part.get("n_heads")
        if isinstance(query, int) and query > 0:
            key_value, size = key_value_heads(part, query), head_size(part, query)
            latent = part.get("kv_lora_rank") or part.get("q_lora_rank")
            if isinstance(key_value, int) and key_value > 0 and query % key_value == 0 and not latent:
                kind = str(part.get("model_type") or config.get("model_type") or "")
                return Heads(query, key_value, size, kind)
    return None


def heads_table(
    sources: Sequence[Source], given: Heads | None, squares: Callable[[Delta], Float64]
) -> Table | None:
    """A row for every head of every attention weight; `None` where no heads are known.

    `squares` gives Σ ΔW² of the rows of a whole weight, or of its columns where those are what heads are.
    """
    rows: list[dict[str, Any]] = []
    for source in sources:
        heads = known_heads(source, given)
        if heads is not None and source.published is None:
            for delta in source.deltas:
                rows += _rows(source.label, delta, heads, squares)
    if not rows:
        return None
    return Table(pl.DataFrame(rows, schema=dtypes(HEADS)), "heads", {"columns": described(HEADS)})


def known_heads(source: Source, given: Heads | None) -> Heads | None:
    """The heads of a source with their size as far as it is known, `None` where nothing states them."""
    config = readable_config(source)
    # Numbers given by hand do not say how a fused projection is laid out: the kind of model does.
    heads = heads_of(config) if given is None else replace(given, kind=_kind(source, config))
    return None if heads is None else replace(heads, size=_head_size(source, heads))


def unread_configs(sources: Sequence[Source]) -> list[tuple[str, Notice]]:
    """What to say where heads stay unknown since a `config.json` cannot be read, by label, once each."""
    said = []
    for source in sources:
        if any(notice.slug == "config-unread" for notice in source.notices):
            continue
        try:
            _config(source)
        except (BadInput, Missing) as error:
            text = f"{error.file} cannot be read, so that no heads are known ({error.what}: {error.found})"
            said.append((source.label, Notice("config-unread", text)))
    return said


def readable_config(source: Source) -> Mapping[str, Any]:
    """The model's own config, empty where it cannot be read."""
    try:
        return _config(source)
    except (BadInput, Missing):
        # Said by `unread_configs`.
        return {}


def _kind(source: Source, config: Mapping[str, Any]) -> str:
    """The kind of model that decides the layout of fused projections, empty where no config says it."""
    for held in (config, {} if source.base is None else source.base.config):
        inner = held.get("text_config")
        kind = inner.get("model_type") if isinstance(inner, Mapping) else None
        if said := kind or held.get("model_type"):
            return str(said)
    return ""


def _config(source: Source) -> Mapping[str, Any]:
    """The model's own config: the base's, or `config.json` beside what was named.

    Raises `BadInput` or `Missing` where one lies there that cannot be read.
    """
    if source.base is not None and heads_of(source.base.config):
        return source.base.config
    path = Path(source.location)
    beside = (path if path.is_dir() else path.parent) / "config.json"
    if heads_of(source.config) or not beside.is_file():
        return source.config
    return read_object(beside, "bad-config", "the model's config")


def _head_size(source: Source, heads: Heads) -> int | None:
    if heads.size is not None:
        return heads.size
    rows = {d.d_out for d in source.deltas if d.address.component == "ATTN_Q"}
    if len(rows) != 1 or (only := rows.pop()) % heads.query:
        return None
    return only // heads.query


def _rows(
    label: str, delta: Delta, heads: Heads, squares: Callable[[Delta], Float64]
) -> Iterator[dict[str, Any]]:
    address = delta.address
    blocks = blocks_of(delta, heads)
    if not blocks:
        return
    update = None if delta.pair is not None else delta.open()
    sums = squares(delta) if delta.pair is not None else None
    for head_kind, head, where, columns in blocks:
        if sums is not None:
            norm = float(np.sqrt(sums[where].sum()))
        else:
            assert update is not None
            norm = _norm(update, where, columns)
        root = np.sqrt(delta.d_out if columns else len(where))
        yield {
            "model_id": label, "stack": address.stack, "layer": address.layer,
            "module_type": address.module_type, "expert": address.expert,
            "component_name": delta.component_name, "head_kind": head_kind, "head": head,
            "frobenius_norm": norm, "frobenius_norm_normalized": norm / root,
        }  # fmt: skip


Block = tuple[str, int, NDArray[np.int64], bool]


def blocks_of(delta: Delta, heads: Heads) -> list[Block]:
    """Kind, number and rows (or columns) of every head in a weight; none where the layout is not known."""
    component = delta.address.component
    if component in _PARTS:
        kind, columns = _PARTS[component]
        count = heads.query if kind == "query" else heads.key_value
        length = delta.d_in if columns else delta.d_out
        # A gated q, MLA and linear attention have other sizes: no guess is made.
        if length % count or (heads.size is not None and length != count * heads.size):
            return []
        return [(kind, h, np.arange(length // count) + h * (length // count), columns) for h in range(count)]
    return _fused(delta, heads) if component == FUSED else []


def axis_of_heads(delta: Delta, heads: Heads) -> bool | None:
    """Whether the heads of a weight are its columns rather than rows; `None` where it has none."""
    blocks = blocks_of(delta, heads)
    return blocks[0][3] if blocks else None


def _fused(delta: Delta, heads: Heads) -> list[Block]:
    every = heads.query + 2 * heads.key_value
    if delta.d_out % every or (heads.size is not None and delta.d_out != every * heads.size):
        return []
    layout = layout_of(heads.kind, heads.query, heads.key_value)
    if layout is None:
        return []
    queries, pairs = layout(heads.query, heads.key_value, delta.d_out // every)
    return [
        *(("query", h, rows, False) for h, rows in enumerate(queries)),
        *(("key_value", h, rows, False) for h, rows in enumerate(pairs)),
    ]


def _norm(update: Update, where: NDArray[np.int64], columns: bool) -> float:
    scale = 1.0 if update.scale is None else abs(update.scale)
    if not isinstance(update, Factored):
        part = update.matrix[:, where] if columns else update.matrix[where]
        return scale * float(np.linalg.norm(part.astype(np.float64)))
    B = (update.B if columns else update.B[where]).astype(np.float64)
    A = (update.A[:, where] if columns else update.A).astype(np.float64)
    return scale * float(np.sqrt(max(float(((B.T @ B) * (A @ A.T)).sum()), 0.0)))
