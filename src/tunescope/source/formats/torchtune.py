"""torchtune's own adapters: `layers.0.attn.q_proj.lora_a.weight`, in `adapter_0.pt` or `adapter_model.pt`.

Alpha and rank stand in the `adapter_config.json` that it writes beside them. Query and key rows are in Meta's
order for the families that its converters turn; the PEFT export is turned back [pytorch/torchtune:
torchtune/models/convert_weights.py, training/checkpointing/_checkpointer.py].
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tunescope.address import parse
from tunescope.delta import Delta
from tunescope.paths import exists
from tunescope.source.files.documents import read_object
from tunescope.source.files.tensors import LazyTensor, Ledger
from tunescope.source.formats.names import strip_wrappers
from tunescope.source.formats.pairs import (
    Pair,
    collect,
    half_saved,
    leave_aside,
    notice_scale,
    pair_delta,
)
from tunescope.source.formats.rotary import head_of, notice_kept, rows_in_halves, splits, with_halves
from tunescope.source.tuners.dora import decomposed
from tunescope.source.weights import Format, Reading, Weights

_KEY = re.compile(r"^(?P<module>.+)\.(?:lora_(?P<side>[ab])\.weight|(?P<beside>magnitude|bias))$", re.DOTALL)
_BLOCK = re.compile(r"^layers\.(?P<layer>\d{1,6})\.(?P<rest>[\w.]+)$")
_IN_BLOCK = {
    "attn.q_proj": "self_attn.q_proj", "attn.k_proj": "self_attn.k_proj", "attn.v_proj": "self_attn.v_proj",
    "attn.output_proj": "self_attn.o_proj", "mlp.w1": "mlp.gate_proj", "mlp.w2": "mlp.down_proj",
    "mlp.w3": "mlp.up_proj",
}  # fmt: skip
_OUTSIDE = {"output": "lm_head", "tok_embeddings": "model.embed_tokens"}
_ROTATED_MODULES = (".attn.q_proj", ".attn.k_proj")
# By the `model_type` of the model's config: families that torchtune's converters turn, and others.
_TURNED = frozenset({"llama", "mistral", "gemma", "gemma2", "gemma3", "gemma3_text", "mllama"})
_AS_STORED = frozenset({"qwen2", "qwen3", "phi3"})


def transformers_name(module: str) -> str:
    """The name that transformers gives a module of torchtune, its own where the table has none.

    >>> transformers_name("layers.3.mlp.w2"), transformers_name("decoder.layers.3.attn.q_proj")
    ('model.layers.3.mlp.down_proj', 'decoder.layers.3.attn.q_proj')
    """
    found = _BLOCK.match(module)
    if found is None:
        return _OUTSIDE.get(module, module)
    name = _IN_BLOCK.get(found["rest"])
    return module if name is None else f"model.layers.{found['layer']}.{name}"


def _split(name: str) -> tuple[str, str] | None:
    found = _KEY.match(strip_wrappers(name))
    if found is None:
        return None
    beside = {"magnitude": "dora", "bias": "bias"}.get(found["beside"] or "")
    return found["module"], beside or {"a": "down", "b": "up"}[found["side"]]


def _recognises(weights: Weights) -> bool:
    return any(name.endswith((".lora_a.weight", ".lora_b.weight")) for name in weights.tensors)


def _read(weights: Weights, ledger: Ledger, scale: float | None) -> Reading:
    config, model = _beside(weights)
    alpha = config.get("lora_alpha")
    turned = str(model.get("model_type"))
    deltas: list[Delta] = []
    kept: list[str] = []
    for module, roles in collect(weights.tensors, _split).items():
        if "down" in roles and "up" in roles:
            made = _delta(module, roles, alpha, scale, ledger, weights.place)
            if made is not None and turned not in _AS_STORED and f".{module}".endswith(_ROTATED_MODULES):
                size = splits(made.d_out, head_of(model)) if turned in _TURNED else None
                # The magnitude is in Meta's order of rows too, and the base is not.
                kept += [] if size else [module]
                made = _in_halves(made, roles.get("dora"), size) if size else replace(made, exact=None)
            deltas += filter(None, [made])
        elif "down" in roles or "up" in roles:
            half_saved(module, roles, ledger)
        leave_aside(roles, ledger)
    notice_scale(deltas, ledger)
    notice_kept(
        kept, ledger, slug="rows-of-torchtune", whose="torchtune's", other="its export",
        why="no config.json of the model lies beside the file that tells the size of a head",
    )  # fmt: skip
    return Reading(deltas, config)


def _in_halves(delta: Delta, magnitude: LazyTensor | None, head: int) -> Delta:
    """The update, and what makes it whole beside a base, with rows in the order of transformers."""
    exact = delta.exact
    if exact is not None and magnitude is not None:
        exact = decomposed(rows_in_halves(magnitude, head), (delta.d_out, delta.d_in))
    return replace(with_halves(delta, head), exact=exact)


def _beside(weights: Weights) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The adapter's config and that of its model, both of which torchtune puts beside the weights.

    Without the latter it is that of a base that was named.
    """
    config = dict(weights.config or {})
    if not config and weights.config_file is not None:
        config = read_object(weights.config_file, "adapter-config", "the adapter's config")
    beside = weights.files[0].path.parent / "config.json" if weights.files else None
    if beside is None or not exists(beside):
        # Without any the order of rows is unknown, which is said.
        model: Mapping[str, Any] = {} if weights.base is None else weights.base().config
    else:
        model = read_object(beside, "model-config", "the model's config")
    text = model.get("text_config")
    return config, {**model, **text} if isinstance(text, dict) else model


def _delta(
    module: str, roles: Mapping[str, Any], alpha: Any, scale: float | None, ledger: Ledger, file: str
) -> Delta | None:
    down, up = roles["down"], roles["up"]
    number = isinstance(alpha, int | float) and not isinstance(alpha, bool)
    rank = max(down.shape[0] if down.shape else 1, 1)
    stated = alpha / rank if number else None
    pair = Pair(
        parse(transformers_name(module)), down, up, scale=stated if scale is None else scale,
        alpha=alpha if number else None, magnitude=roles.get("dora"),
    )  # fmt: skip
    return pair_delta(pair, ledger, file)


TORCHTUNE = Format("torchtune", _recognises, _read)
