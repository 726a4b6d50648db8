"""A whole model's tensors as transformers has them once it has loaded its files: renamed, cut, reordered.

Adapters name the modules of the loaded model; a file may name, join and order their weights otherwise.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from tunescope.delta import Array, Picked
from tunescope.source.expert_weights import stretch
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.loader_names import Loading, cut_rows, loadings
from tunescope.source.whole import WholeModel

# Rotary embeddings by pairs of neighbours in the file and by halves once loaded [core_model_loading.py:
# PermuteForRope]: where heads are counted, and which projections it holds for.
_ROTARY = {
    "kimi_k25": "vision_config", "step3p7": "vision_config", "step3p5_vision": "", "gradium_phonon_tts": "",
    "mistral_large4": "vision_config",
}  # fmt: skip
_TURNED = ("q_proj", "k_proj")
# Parts that alternate in the file [core_model_loading.py: Interleave].
_NOT_CUT = ("w13",)


def as_loaded(model: WholeModel, config: Mapping[str, Any]) -> tuple[WholeModel, dict[str, str]]:
    """The model as the loader of the class that `config` names has it, and the file's tensor of every name.

    Itself, where no rule is known for the class. What the loader makes otherwise than here (joined, or in an
    order that the config does not tell) keeps the tensors of the file.
    """
    found = loadings(model.tensors, config)
    if all(loading.names == (name,) for name, loading in found.items()):
        return model, {}
    made = {name: dict(_made(tensor, found[name], config)) for name, tensor in model.tensors.items()}
    often = Counter(part for parts in made.values() for part in parts)
    tensors: dict[str, LazyTensor] = {}
    whole: dict[str, str] = {}
    for name, parts in made.items():
        # Two tensors of one name are no model that the rules are for.
        held = parts if all(often[part] == 1 for part in parts) else {name: model.tensors[name]}
        tensors |= held
        whole |= {part: name for part in held if part != name}
    return replace(model, tensors=tensors), whole


def _made(
    tensor: LazyTensor, loading: Loading, config: Mapping[str, Any]
) -> Iterator[tuple[str, LazyTensor]]:
    """What the loader makes of one tensor, or the tensor itself under its new name."""
    parts = len(loading.names)
    rows = tensor.shape[0] if tensor.shape else 0
    cut = cut_rows(loading, rows, config) if loading.how == "cut" and len(tensor.shape) in (1, 2) else None
    if cut is not None and not any(word in loading.renamed for word in _NOT_CUT):
        starts = [sum(cut[:i]) * math.prod(tensor.shape[1:]) for i in range(parts)]
        shapes = [(count, *tensor.shape[1:]) for count in cut]
        made = [stretch(tensor, start, shape) for start, shape in zip(starts, shapes, strict=True)]
    elif loading.how == "move" and parts == 1 and _is_rotary(loading.names[0], config):
        made = [tensor]
    else:
        yield loading.renamed, tensor
        return
    turned = [_by_halves(part, name, config) for part, name in zip(made, loading.names, strict=True)]
    if any(part is None for part in turned):
        yield loading.renamed, tensor
        return
    for name, part in zip(loading.names, turned, strict=True):
        assert part is not None
        yield name, part


def _is_rotary(name: str, config: Mapping[str, Any]) -> bool:
    kind = str(config.get("model_type") or "")
    return kind in _ROTARY and any(f".{word}." in f"{name}." for word in _TURNED)


def _by_halves(tensor: LazyTensor, name: str, config: Mapping[str, Any]) -> LazyTensor | None:
    """The rows of a rotary projection in the loader's order; none where the config tells no heads."""
    if not _is_rotary(name, config):
        return tensor
    inner = config.get(_ROTARY[str(config["model_type"])])
    heads = (inner if isinstance(inner, Mapping) else config).get("num_attention_heads")
    if not isinstance(heads, int) or heads < 1 or tensor.shape[0] % (2 * heads):
        return None
    order = np.arange(tensor.shape[0]).reshape(heads, -1, 2).transpose(0, 2, 1).ravel()
    picked = Picked(tensor, tuple(order.tolist()), math.prod(tensor.shape[1:]))
    return replace(tensor, read=partial(_read, picked, tensor.shape), read_part=picked.part, fill=None)


def _read(picked: Picked, shape: tuple[int, ...]) -> Array:
    return picked.part(0, picked.size).reshape(shape)
