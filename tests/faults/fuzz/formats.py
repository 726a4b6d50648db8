"""Adapters of tools that keep no PEFT config, and folders of `torch.distributed.checkpoint`."""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from tunescope.questions.norms.study import norms
from tunescope.source import open_source

from . import packing
from .kind import Kind, _pairs
from .mutations import bytewise, json_values, tokenwise
from .pickles import packed_numbers, pickle_values

_A, _B = (2, 6), (4, 2)
_ATTENTION = "layers.{}.attn.q_proj"


def _file(shapes: Mapping[str, tuple[int, ...]]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "x.safetensors"
        path.write_bytes(save({name: np.full(shape, 0.5, np.float32) for name, shape in shapes.items()}))
        return path

    return make


_HADA = {"hada_w1_a": _B, "hada_w1_b": _A, "hada_w2_a": _B, "hada_w2_b": _A, "alpha": ()}
_LYCORIS = {
    **{f"lora_unet_down_blocks_0_attentions_0_proj_in.{name}": shape for name, shape in _HADA.items()},
    "lora_unet_mid_block_attentions_0_proj_in.diff": (4, 6),
    "lora_unet_mid_block_resnets_0_conv1.lokr_w1": (2, 2),
    "lora_unet_mid_block_resnets_0_conv1.lokr_w2": (2, 3),
    "lora_unet_up_blocks_1_resnets_0_conv1.lora_down.weight": (2, 6, 1, 1),
    "lora_unet_up_blocks_1_resnets_0_conv1.lora_mid.weight": (2, 2, 3, 3),
    "lora_unet_up_blocks_1_resnets_0_conv1.lora_up.weight": (4, 2, 1, 1),
}
_LAYERS = {
    f"{module}.{side}": shape
    for module, inner, outer in (
        ("decoder.layers.3.mlp.linear_fc1", "adapter.linear_in.weight", "adapter.linear_out.weight"),
        ("transformer.h.3.mlp.c_proj", "lora_A", "lora_B"),
        ("double_blocks.3.processor.qkv_lora1", "down.weight", "up.weight"),
    )
    for side, shape in ((inner, _A), (outer, _B))
}  # fmt: skip
_OWN_NAMING = {f"w_{side}_{i:03d}": shape for i in range(2) for side, shape in (("a", _A), ("b", _B))}
_TORCHTUNE = {
    f"{_ATTENTION.format(layer)}.lora_{side}.weight": shape
    for layer in range(2)
    for side, shape in (("a", _A), ("b", _B))
}


def _torchtune(folder: Path) -> Path:
    path = _file(_TORCHTUNE)(folder).rename(folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    model = {"num_attention_heads": 2, "num_key_value_heads": 1, "hidden_size": 6, "head_dim": 2}
    (folder / "config.json").write_text(json.dumps(model))
    return path


def _torchtune_model(folder: Path) -> Path:
    return _torchtune(folder).with_name("config.json")


def _litgpt(folder: Path) -> Path:
    """Settings of litgpt beside an adapter with PEFT's names but no config of it."""
    stem = "transformer.h.0.attn.attn"
    _file({f"{stem}.lora_A": _A, f"{stem}.lora_B": _B})(folder)
    path = folder / "hyperparameters.yaml"
    path.write_text("precision: bf16-true\nlora_r: 2\nlora_alpha: 16\nlora_dropout: 0.05\ndata:\n  seed: 1\n")
    return path


def _megatron(folder: Path) -> Path:
    """Settings of Megatron-Bridge beside a layer of it."""
    stem = "decoder.layers.0.mlp.linear_fc2.adapter.linear_"
    _file({f"{stem}in.weight": _A, f"{stem}out.weight": _B})(folder)
    path = folder / "run_config.yaml"
    path.write_text("model: &m\n  layers: [1, 2]\npeft:\n  dim: 2\n  alpha: 32\n  targets: [a]\nagain: *m\n")
    return path


def _first_sd(folder: Path) -> Path:
    import torch

    factors = [torch.ones(shape) for _ in range(2) for shape in (_B, _A)]
    torch.save(factors, folder / "style.pt")
    return folder / "style.pt"


def _distributed(folder: Path) -> Path:
    """An adapter as torch.distributed.checkpoint saves it, its config beside it; the index."""
    import torch
    import torch.distributed.checkpoint as dcp

    with warnings.catch_warnings():
        # It says that one process saves alone, which is meant.
        warnings.simplefilter("ignore")
        dcp.save({n: torch.from_numpy(a) for n, a in _pairs().items()}, checkpoint_id=folder, no_dist=True)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 4}')
    return folder / ".metadata"


def _distributed_chunk(folder: Path) -> Path:
    return next(_distributed(folder).parent.glob("*.distcp"))


def _measure(path: Path) -> Any:
    return norms(path.parent)


_WEIGHTS = {
    "header": packing.safetensors_header, "shapes": packing.other_tensors, "floats": packing.floats,
}  # fmt: skip
_TEXT = {"bytes": bytewise, "tokens": tokenwise}
FORMATS = {
    "lycoris": Kind(_file(_LYCORIS), norms, _WEIGHTS),
    "lora_layers": Kind(_file(_LAYERS), norms, _WEIGHTS),
    "own_naming": Kind(_file(_OWN_NAMING), norms, _WEIGHTS),
    "torchtune": Kind(_torchtune, _measure, _WEIGHTS),
    "torchtune_model": Kind(_torchtune_model, _measure, {"bytes": bytewise, "values": json_values}),
    "litgpt_settings": Kind(_litgpt, _measure, _TEXT),
    "megatron_settings": Kind(_megatron, _measure, _TEXT),
    "first_sd": Kind(_first_sd, open_source, {"bytes": bytewise, "members": packing.zip_members}, slow=60),
    "distributed_index": Kind(_distributed, _measure, {"bytes": bytewise, "values": pickle_values}, slow=4),
    "distributed_chunk": Kind(
        _distributed_chunk, _measure, {"bytes": bytewise, "values": packed_numbers}, slow=4
    ),
}
