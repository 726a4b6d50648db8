"""Whole models, what stands beside them, and adapters that are held against them."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import save

import tunescope
from tunescope.questions.norms.study import norms

from . import packing
from .kind import Kind, _adapter, _pairs
from .mutations import bytewise, json_values

_JSON = {"bytes": bytewise, "values": json_values}
_WEIGHTS = {
    "bytes": bytewise, "header": packing.safetensors_header, "shapes": packing.other_tensors,
    "floats": packing.floats,
}  # fmt: skip
_CONFIG = {
    "model_type": "llama", "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 2,
    "hidden_size": 6, "tie_word_embeddings": False, "num_hidden_layers": 2, "rope_scaling": {"factor": 2.0},
    "architectures": ["LlamaForCausalLM"],
}  # fmt: skip


def _model(folder: Path, seed: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    shapes = {
        f"model.layers.{layer}.self_attn.{module}.weight": (4, 6)
        for layer in range(2)
        for module in ("q_proj", "v_proj")
    } | {"model.embed_tokens.weight": (5, 6), "lm_head.weight": (5, 6), "model.norm.weight": (6,)}
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    (folder / "model.safetensors").write_bytes(save(tensors, {"format": "pt"}))
    (folder / "config.json").write_text(json.dumps(_CONFIG))
    return folder


def _two(name: str) -> Callable[[Path], Path]:
    """A base and a tuned model side by side; the file to damage is of the tuned one."""

    def make(folder: Path) -> Path:
        _model(folder / "base", 0)
        return _model(folder / "tuned", 1) / name

    return make


def _index(folder: Path) -> Path:
    _model(folder / "base", 0)
    tuned = _model(folder / "tuned", 1)
    whole = tuned / "model.safetensors"
    shard = whole.rename(tuned / "model-00001-of-00001.safetensors")
    names = [*json.loads(shard.read_bytes()[8:][: int.from_bytes(shard.read_bytes()[:8], "little")])]
    document = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names[1:], shard.name)}
    index = tuned / "model.safetensors.index.json"
    index.write_text(json.dumps(document))
    return index


def _against_base(folder: Path) -> Path:
    _model(folder / "base", 0)
    return _adapter(folder / "tuned") / "adapter_model.safetensors"


def _patterned(folder: Path) -> Path:
    """An adapter beside its base, its config, which says in every way which modules are meant."""
    _against_base(folder)
    said = {
        "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.0.v_proj": 8}, "exclude_modules": ["k_proj"],
        "layers_to_transform": [0, 1], "layers_pattern": ["layers"], "modules_to_save": [],
        "use_rslora": False,
        "layer_replication": [[0, 2]], "target_parameters": None, "bias": "none", "use_dora": False,
        "fan_in_fan_out": False, "base_model_name_or_path": "x", "task_type": "CAUSAL_LM", "revision": None,
    }  # fmt: skip
    return _adapter(folder / "tuned", **said) / "adapter_config.json"


def _compare(path: Path) -> object:
    return norms(path.parent, base=path.parents[1] / "base")


def _checked(path: Path) -> object:
    return tunescope.check(path.parent, base=path.parents[1] / "base", deep=True)


def _subspaces(path: Path) -> object:
    return tunescope.subspace(path.parent, path.parent, base=path.parents[1] / "base")


def _merged(folder: Path) -> Path:
    _model(folder / "base", 0)
    _adapter(folder / "adapter")
    return _model(folder / "tuned", 0) / "model.safetensors"


def _verified(path: Path) -> object:
    return tunescope.verify(path.parent, path.parents[1] / "adapter", base=path.parents[1] / "base")


def _whole_checkpoints(folder: Path) -> Path:
    for step in (1, 2, 3):
        _model(folder / f"checkpoint-{step}", step)
        (folder / f"checkpoint-{step}" / "trainer_state.json").write_text(
            json.dumps({"global_step": step, "log_history": []})
        )
    return folder / "checkpoint-2" / "model.safetensors"


def _pipeline(folder: Path) -> Path:
    """A base and a tuned pipeline of two parts; the index of the tuned one."""
    document = {"_class_name": "FluxPipeline", "unet": ["diffusers", "UNet"], "vae": ["diffusers", "VAE"]}
    for seed, name in enumerate(("base", "tuned")):
        for part in ("unet", "vae"):
            _model(folder / name / part, seed)
        (folder / name / "model_index.json").write_text(json.dumps(document))
    return folder / "tuned" / "model_index.json"


def _packed(folder: Path) -> Path:
    """A base and a tuned model whose weights bitsandbytes packed to four and eight bits."""
    import torch
    from bitsandbytes import functional

    four, eight = (f"model.layers.0.self_attn.{name}_proj.weight" for name in "qv")
    for seed, name in enumerate(("base", "tuned")):
        W = torch.randn((8, 16), generator=torch.Generator().manual_seed(seed))
        codes, state = functional.quantize_4bit(W, quant_type="nf4", compress_statistics=True, blocksize=64)
        whole, scales, _ = functional.int8_vectorwise_quant(W.half())
        tensors = {four: codes, eight: whole, eight.replace("weight", "SCB"): scales}
        tensors |= {f"{four}.{part}": value for part, value in state.as_dict(packed=True).items()}
        (folder / name).mkdir(parents=True)
        arrays = {key: value.contiguous().numpy() for key, value in tensors.items()}
        (folder / name / "model.safetensors").write_bytes(save(arrays))
        (folder / name / "config.json").write_text(json.dumps(_CONFIG))
    return folder / "tuned" / "model.safetensors"


def _gguf(folder: Path) -> Path:
    """A LoRA adapter of llama.cpp, as the format's description has it."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    pairs = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("adapter.lora.alpha") + struct.pack("<If", 6, 4.0),
        text("some.names") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"),
        text("some.numbers") + struct.pack("<IIQ3i", 9, 5, 3, 1, 2, 3),
    ]
    infos, data = b"", b""
    for name, array in _pairs().items():
        side = "a" if "lora_A" in name else "b"
        key = f"blk.{name.split('layers.')[1][0]}.attn_{name.split('_attn.')[1][0]}.weight.lora_{side}"
        data += bytes(-len(data) % 32)
        infos += text(key) + struct.pack("<I2Q", 2, *array.shape[::-1]) + struct.pack("<IQ", 0, len(data))
        data += array.tobytes()
    head = b"GGUF" + struct.pack("<IQQ", 3, len(_pairs()), len(pairs)) + b"".join(pairs) + infos
    path = folder / "lora.gguf"
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    return path


MODELS = {
    "whole_model": Kind(_two("model.safetensors"), _compare, _WEIGHTS, slow=2),
    "model_config": Kind(_two("config.json"), _compare, _JSON, slow=2),
    "model_index": Kind(_index, _compare, _JSON, slow=2),
    "pipeline_index": Kind(_pipeline, _compare, _JSON, slow=4),
    "packed_weights": Kind(_packed, _compare, _WEIGHTS, slow=4),
    "adapter_on_base": Kind(_against_base, _compare, _WEIGHTS, slow=2),
    "checked": Kind(_against_base, _checked, _WEIGHTS, slow=2),
    "config_on_base": Kind(_patterned, _compare, _JSON, slow=2),
    "checked_config": Kind(_patterned, _checked, _JSON, slow=2),
    "subspace_config": Kind(_patterned, _subspaces, _JSON, slow=8),
    "verified_config": Kind(
        _patterned,
        lambda path: tunescope.verify(path.parents[1] / "base", path.parent, base=path.parents[1] / "base"),
        _JSON,
        slow=2,
    ),
    "subspace_on_base": Kind(_against_base, _subspaces, _WEIGHTS, slow=8),
    "verified": Kind(_merged, _verified, _WEIGHTS, slow=2),
    "whole_checkpoints": Kind(
        _whole_checkpoints, lambda path: tunescope.trajectory(path.parents[1]), _WEIGHTS, slow=4
    ),
    "gguf": Kind(_gguf, norms, {"bytes": bytewise, "values": packing.gguf_fields}),
}
