"""On which side of a fused expert's weight A and B lie, which changed with PEFT 0.19.

Since then A reads the input, but of experts stored (experts, in, out) only where the model says that they are
(`is_transposed`), which Llama 4's does not: there A lies on the output side. Before, A was as wide as the
parameter's second dimension [PEFT 0.18 lora/layer.py, `ParamWrapper`]: the input where experts are stored
(experts, in, out), as in gpt-oss and Llama 4, and the output where they are stored (experts, out, in), as in
most other models.
"""

import re
from collections.abc import Iterable, Mapping

from tunescope.source.base_shapes import BaseHeaders
from tunescope.source.tuners.adapter import Adapter

UNKNOWN_SIDES = (
    "sides unknown: PEFT before 0.19 exchanged A and B of experts stored (experts, out, in), and neither "
    "shapes nor base say how these are"
)
# Models of which the experts are stored (experts, in, out) [transformers: `is_transposed=True`].
_STORED_TURNED = re.compile(r"gpt[-_]?oss|llama[-_]?4|privacy[-_]?filter|(^|[/_-])aria", re.IGNORECASE)
# Those of which transformers does not say it.
_TURNED_UNSAID = re.compile(r"llama[-_]?4", re.IGNORECASE)
# Experts that the model's files number: transformers stacks them (experts, out, in) as it loads them.
_NUMBERED = re.compile(r"\.experts\.\d{1,6}\.")
# Output sizes that a gate and an up projection in one have for each input size of the down projection.
_INTO = {
    "gate_up_proj": 2, "gate_proj": 1, "up_proj": 1, "w1": 1, "w3": 1, "v1": 1, "wi": 1, "c_fc": 1,
    "input_linear": 2,
}  # fmt: skip
_OUT_OF = ("down_proj", "w2", "wo", "c_proj", "output_linear")
# Modules that read the hidden state, and so tell its width.
_READS_HIDDEN = re.compile(r"\b(q_proj|k_proj|v_proj|qkv_proj|query_key_value|c_attn|router|gate)$")
_EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|word_embeddings|embed_in)\.weight$")


def sides_exchanged(adapter: Adapter, sizes: Mapping[str, tuple[int, int]]) -> bool | None:
    """Whether A lies on the output side of the fused experts of one module; `None` where nothing tells.

    `sizes` are the width of A and the height of B of each of the module's adapted parameters.
    """
    for verdict in (_by_each_other(sizes), _by_hidden(_width_read(adapter), sizes)):
        if verdict is not None:
            return verdict
    base = adapter.base()
    verdict = _by_hidden(_width_of(base), sizes)
    if verdict is not None:
        return verdict
    names = _names(adapter, base)
    if _version(adapter) >= (0, 19):
        return _TURNED_UNSAID.search(names) is not None
    if _STORED_TURNED.search(names):
        return False
    return True if any(_NUMBERED.search(name) for name in base.shapes) else None


def _names(adapter: Adapter, base: BaseHeaders) -> str:
    """What the adapter's config and the base's own call the model."""
    mapping = adapter.config.get("auto_mapping")
    said = [
        adapter.config.get("base_model_name_or_path"),
        mapping.get("base_model_class") if isinstance(mapping, dict) else None,
        base.config.get("model_type"),
    ]
    return "\n".join(str(name) for name in said if name)


def _version(adapter: Adapter) -> tuple[int, int]:
    """Version of PEFT that wrote the config; the first ones did not say it."""
    found = re.match(r"(\d{1,6})\.(\d{1,6})", str(adapter.config.get("peft_version") or ""))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _by_each_other(sizes: Mapping[str, tuple[int, int]]) -> bool | None:
    """From the projections into and out of the same experts: what one writes the other reads."""
    into = next((name for name in sizes if name in _INTO), None)
    out_of = next((name for name in sizes if name in _OUT_OF), None)
    if into is None or out_of is None:
        return None
    (a_in, b_in), (a_out, b_out), times = sizes[into], sizes[out_of], _INTO[into]
    plain = a_in == b_out and b_in == times * a_out
    turned = b_in == a_out and a_in == times * b_out
    return None if plain == turned else turned


def _by_hidden(hidden: int | None, sizes: Mapping[str, tuple[int, int]]) -> bool | None:
    """From the width of the hidden state, which experts read and write."""
    for name, (a, b) in sizes.items():
        if hidden in (a, b) and a != b and (name in _INTO or name in _OUT_OF):
            return (b if name in _INTO else a) == hidden
    return None


def _width_read(adapter: Adapter) -> int | None:
    """The width that the adapters of attention and router read."""
    return _only(
        m["lora_A"].shape[1]
        for name, m in adapter.modules.items()
        if _READS_HIDDEN.search(name) and "lora_A" in m and len(m["lora_A"].shape) == 2
    )


def _width_of(base: BaseHeaders) -> int | None:
    """The hidden width of the base by its config, else by its table of tokens."""
    text = base.config.get("text_config")
    for config in (text if isinstance(text, dict) else {}, base.config):
        if isinstance(width := config.get("hidden_size"), int):
            return width
    return _only(shape[-1] for name, shape in base.shapes.items() if shape and _EMBEDDING.search(name))


def _only(widths: Iterable[int]) -> int | None:
    found = set(widths)
    return found.pop() if len(found) == 1 else None
