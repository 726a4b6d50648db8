"""Where the heads lie in projections that hold q, k and v in one weight, by the model's `model_type`.

Read off the models' own code [transformers 5 models/*/modeling_*.py; for Qwen, Baichuan, ChatGLM and
InternLM2 the modeling files of their authors; for grouped MPT llm-foundry].
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
# (query, key-value, size of a head) → the rows of every query head, and of every key-value head.
Layout = Callable[[int, int, int], tuple[list[Rows], list[Rows]]]
# CodeGen was trained on four cores, each with its own q, v and k.
_CORES = 4


def one_after_the_other(query: int, key_value: int, size: int) -> tuple[list[Rows], list[Rows]]:
    """All queries, then all keys, then all values."""
    at, keys, values = np.arange(size), query * size, (query + key_value) * size
    return (
        [at + h * size for h in range(query)],
        [np.r_[keys + h * size + at, values + h * size + at] for h in range(key_value)],
    )


def by_group(query: int, key_value: int, size: int) -> tuple[list[Rows], list[Rows]]:
    """For every key-value head its queries, then its key, then its value."""
    each = query // key_value
    at, group = np.arange(size), (each + 2) * size
    return (
        [h // each * group + h % each * size + at for h in range(query)],
        [g * group + each * size + np.arange(2 * size) for g in range(key_value)],
    )


def by_core(query: int, key_value: int, size: int) -> tuple[list[Rows], list[Rows]]:
    """Four times a quarter of the queries, of the values and of the keys; none without quarters."""
    if query % _CORES or key_value != query:
        return [], []
    each, at = query // _CORES, np.arange(size)
    firsts = [h // each * 3 * each * size + h % each * size for h in range(query)]
    part = each * size
    return (
        [first + at for first in firsts],
        [np.r_[first + 2 * part + at, first + part + at] for first in firsts],
    )


_LAYOUTS: Mapping[str, Layout] = {
    **dict.fromkeys(
        (
            "gpt2", "phi3", "phi4", "imagegpt", "openai-gpt", "decision_transformer", "mpt", "dbrx",
            "modernbert", "qwen", "baichuan",
        ),
        one_after_the_other,
    ),
    **dict.fromkeys(
        ("gpt_neox", "gpt_neox_japanese", "bloom", "persimmon", "falcon", "internlm2"), by_group
    ),
    "codegen": by_core,
}  # fmt: skip


def layout_of(kind: str, query: int, key_value: int) -> Layout | None:
    """The layout of the fused projections of a `model_type`; `None` where it is not known."""
    if kind in ("gpt_bigcode", "chatglm"):
        # With as many keys as queries they stand head by head; with fewer, one after the other.
        return by_group if query == key_value else one_after_the_other
    return _LAYOUTS.get(kind)


def key_value_heads(config: Mapping[str, Any], query: int) -> Any:
    """How many key-value heads a config states, in the words and with the defaults of its model."""
    kind, inner = config.get("model_type"), config.get("attn_config")
    attention = inner if isinstance(inner, Mapping) else {}
    if kind == "falcon" and config.get("new_decoder_architecture"):
        return config.get("num_kv_heads") or query
    if kind in ("falcon", "gpt_bigcode"):
        return 1 if config.get("multi_query", True) else query
    if kind == "chatglm":
        return config.get("multi_query_group_num") if config.get("multi_query_attention") else query
    if kind == "dbrx":
        return attention.get("kv_n_heads", 1)
    if kind == "mpt":
        grouped = {"multiquery_attention": 1, "grouped_query_attention": attention.get("kv_n_heads")}
        return grouped.get(str(attention.get("attn_type")), query)
    return config.get("num_key_value_heads") or query


def head_size(config: Mapping[str, Any], query: int) -> int | None:
    """The size of a head that a config states, or that its model's fused projection follows from."""
    stated = config.get("head_dim")
    if stated is None and layout_of(str(config.get("model_type")), query, query) is not None:
        width = next((config[k] for k in ("hidden_size", "n_embd", "d_model") if k in config), None)
        follows = width // query if isinstance(width, int) and width % query == 0 else None
        stated = config.get("kv_channels") or follows
    return stated if isinstance(stated, int) and stated > 0 else None
