"""llama.cpp's names of weights → those of transformers, by architecture, as data.

From the tables of its converter [ggml-org/llama.cpp: gguf-py/gguf/tensor_mapping.py, constants.py]. What
stands in no table keeps llama.cpp's own name.
"""

import re
from collections.abc import Mapping

_MLP = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
_EXPERTS = {
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.experts.gate_proj",
    "ffn_up_exps": "mlp.experts.up_proj",
    "ffn_down_exps": "mlp.experts.down_proj",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
}
_LLAMA = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj", "attn_output": "self_attn.o_proj", **_MLP, **_EXPERTS,
}  # fmt: skip
_LIKE_LLAMA = (
    "llama", "llama4", "mistral3", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "gemma", "gemma2",
    "gemma3", "granite", "granitemoe", "olmo", "olmo2", "olmoe", "stablelm", "smollm3", "minicpm",
    "command-r", "cohere2", "exaone4", "seed_oss", "arcee", "nemotron", "deepseek", "ernie4_5",
    "hunyuan-dense",
)  # fmt: skip
_PHI2 = {**_LLAMA, "attn_output": "self_attn.dense", "ffn_up": "mlp.fc1", "ffn_down": "mlp.fc2"}
_GPT2 = {
    "attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj", "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj",
}  # fmt: skip
# The list of blocks of an architecture, and the modules in a block.
_BLOCKS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    **dict.fromkeys(_LIKE_LLAMA, ("model.layers", _LLAMA)),
    "phi3": ("model.layers", {**_LLAMA, "ffn_up": "mlp.gate_up_proj"}),
    "phi2": ("model.layers", _PHI2),
    "starcoder2": ("model.layers", {**_LLAMA, "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}),
    "gpt2": ("transformer.h", _GPT2),
}
_OUTSIDE = {
    "model.layers": {"token_embd": "model.embed_tokens", "output": "lm_head"},
    "transformer.h": {"token_embd": "transformer.wte", "output": "lm_head"},
}
# Architectures whose query and key rows the converter puts into another order for its rotary embeddings: the
# classes of convert_hf_to_gguf.py that call `permute`.
ROTATED = frozenset({
    "llama", "mistral3", "granite", "granitemoe", "olmo", "smollm3", "minicpm", "arcee", "deepseek",
    "arctic", "baichuan", "xverse", "internlm2", "deci",
})  # fmt: skip
_BLOCK = re.compile(r"^blk\.(\d{1,6})\.(\w+)$")


def transformers_name(module: str, architecture: str) -> str:
    """The name that transformers gives a module of llama.cpp, its own where no table has it.

    >>> transformers_name("blk.3.attn_q", "llama"), transformers_name("blk.3.attn_q", "rwkv")
    ('model.layers.3.self_attn.q_proj', 'blk.3.attn_q')
    """
    blocks, modules = _BLOCKS.get(architecture, ("", {}))
    found = _BLOCK.match(module)
    if found is None:
        return _OUTSIDE.get(blocks, {}).get(module, module)
    name = modules.get(found[2])
    return module if name is None else f"{blocks}.{found[1]}.{name}"
