"""A LoRA adapter of Llama-3-8B's shape (224 modules, r = 64, bfloat16, 336 MB), made from a fixed seed."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

HIDDEN, FFN, KV, LAYERS = 4096, 14336, 1024, 32
MODULES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KV, HIDDEN),
    "self_attn.v_proj": (KV, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (FFN, HIDDEN),
    "mlp.up_proj": (FFN, HIDDEN),
    "mlp.down_proj": (HIDDEN, FFN),
}


def make(folder: Path, rank: int = 64, layers: int = LAYERS, seed: int = 0) -> Path:
    """Write the adapter unless it is there already."""
    if (folder / "adapter_config.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    tensors = {}
    for layer in range(layers):
        for module, (d_out, d_in) in MODULES.items():
            stem = f"base_model.model.model.layers.{layer}.{module}"
            A = rng.standard_normal((rank, d_in), dtype=np.float32) / np.sqrt(d_in)
            # A trained B has a decaying spectrum, not an isotropic one.
            decay = 0.01 * 0.93 ** np.arange(rank, dtype=np.float32)
            B = rng.standard_normal((d_out, rank), dtype=np.float32) * decay
            tensors[f"{stem}.lora_A.weight"] = A.astype(ml_dtypes.bfloat16)
            tensors[f"{stem}.lora_B.weight"] = B.astype(ml_dtypes.bfloat16)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": sorted(m.split(".")[1] for m in MODULES),
        "bias": "none",
        "task_type": "CAUSAL_LM",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder
