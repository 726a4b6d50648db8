"""Module path → its family, and its component without the layer."""

import re

FAMILIES = ("attention", "mlp", "norm", "embedding", "other")

_CROSS = r"(EncDecAttention|encoder_attn|crossattention|cross_attn|cross_attention|attn2)\..*?\b"

# (regular expression on the end of module_type, family, component); the first that fits wins.
_RULES: tuple[tuple[str, str, str], ...] = (
    (r"(norm|ln|layernorm|layer_norm)[^.]*$", "norm", ""),
    (r"(^|\.)ln_\w+$", "norm", ""),
    (rf"{_CROSS}(q|q_proj|query|to_q|to_query)$", "attention", "XATTN_Q"),
    (rf"{_CROSS}(k|k_proj|key|to_k|to_key)$", "attention", "XATTN_K"),
    (rf"{_CROSS}(v|v_proj|value|to_v|to_value)$", "attention", "XATTN_V"),
    (rf"{_CROSS}(k_img|add_k_proj)$", "attention", "XATTN_K_IMG"),
    (rf"{_CROSS}(v_img|add_v_proj)$", "attention", "XATTN_V_IMG"),
    (rf"{_CROSS}(qkv|to_qkv)$", "attention", "XATTN_QKV"),
    (rf"{_CROSS}(kv|to_kv)$", "attention", "XATTN_KV"),
    (rf"{_CROSS}(o|out_proj|output_proj|output\.dense|to_out(\.0)?|out_layer)$", "attention", "XATTN_O"),
    (r"\b(add_q_proj)$", "attention", "ATTN_ADD_Q"),
    (r"\b(add_k_proj)$", "attention", "ATTN_ADD_K"),
    (r"\b(add_v_proj)$", "attention", "ATTN_ADD_V"),
    (r"\bto_added_qkv$", "attention", "ATTN_ADD_QKV"),
    (r"\bto_add_out$", "attention", "ATTN_ADD_O"),
    (
        r"\b(q_proj|query|to_q|to_query|q_lin|wq|SelfAttention\.q|self\.q|(self_)?attn\.q|attention\.q)$",
        "attention",
        "ATTN_Q",
    ),
    (
        r"\b(k_proj|key|to_k|to_key|k_lin|wk|SelfAttention\.k|self\.k|(self_)?attn\.k|attention\.k)$",
        "attention",
        "ATTN_K",
    ),
    (
        r"\b(v_proj|value|to_v|to_value|v_lin|wv|SelfAttention\.v|self\.v|(self_)?attn\.v|attention\.v)$",
        "attention",
        "ATTN_V",
    ),
    (
        r"\b(qkv_proj|query_key_value|c_attn|qkv|to_qkv|linear_qkv|Wqkv|wqkv|W_pack|in_proj_weight|attn\.in_proj|att_proj)$",
        "attention",
        "ATTN_QKV",
    ),
    (
        r"\b(o_proj|to_out(\.0)?|out_lin|attn_out|attention\.projection_layer|attention\.output\.dense|SelfAttention\.o|attention\.dense|"
        r"self_attention\.(dense|linear_proj|out_layer)|attention\.wo|attention\.out_proj|"
        r"(?:self_)?attn\.(o|Wo|c_proj|proj|out_proj|output_proj|dense))$",
        "attention",
        "ATTN_O",
    ),
    # llama.cpp's names [ggml-org/llama.cpp: gguf-py/gguf/constants.py].
    (r"(^|\.)attn_q$", "attention", "ATTN_Q"),
    (r"(^|\.)attn_k$", "attention", "ATTN_K"),
    (r"(^|\.)attn_v$", "attention", "ATTN_V"),
    (r"(^|\.)attn_qkv$", "attention", "ATTN_QKV"),
    (r"(^|\.)attn_output$", "attention", "ATTN_O"),
    (r"(^|\.)ffn_gate_inp$", "mlp", "MLP_ROUTER"),
    (r"(^|\.)ffn_gate(_exps)?$", "mlp", "MLP_GATE"),
    (r"(^|\.)ffn_up(_exps)?$", "mlp", "MLP_UP"),
    (r"(^|\.)ffn_down(_exps)?$", "mlp", "MLP_DOWN"),
    (r"(^|\.)token_embd$", "embedding", "EMBED"),
    (r"\b(q_norm|k_norm)$", "norm", ""),
    (r"(^|\.)(mlp|block_sparse_moe|feed_forward|moe)\.(gate|router)(\.\w+)?$", "mlp", "MLP_ROUTER"),
    (r"\bshared_experts?\.gate_proj$", "mlp", "MLP_SHARED_GATE"),
    (r"\bshared_experts?\.up_proj$", "mlp", "MLP_SHARED_UP"),
    (r"\bshared_experts?\.down_proj$", "mlp", "MLP_SHARED_DOWN"),
    (r"\bff_context\.net\.0\.proj$", "mlp", "MLP_CONTEXT_UP"),
    (r"\bff_context\.net\.2$", "mlp", "MLP_CONTEXT_DOWN"),
    (r"\btxt_mlp\.net\.0\.proj$", "mlp", "MLP_TXT_UP"),
    (r"\btxt_mlp\.net\.2$", "mlp", "MLP_TXT_DOWN"),
    # The gate of an attention's output, called as an MLP's.
    (r"att(n|ention)\.(gate_proj|gate)$", "attention", "ATTN_GATE"),
    (r"att(n|ention)\.(up_proj|down_proj|gate_up_proj)$", "attention", ""),
    (r"\b(gate_up_proj|gate_and_up_proj)$", "mlp", "MLP_GATE_UP"),
    # OLMo's and Molmo's, whose up projection comes first.
    (r"(^|\.)ff_proj$", "mlp", "MLP_UP_GATE"),
    (r"\b(gate_proj|w1|wi_0)$", "mlp", "MLP_GATE"),
    (
        r"\b(up_proj|w3|wi_1|wi|c_fc|intermediate\.dense|dense_h_to_4h|fc1|lin1|fc_in|net\.0\.proj|"
        r"linear_fc1|proj_mlp|(mlp|ffn|feed_forward)\.(0|in_layer|layer1))$",
        "mlp",
        "MLP_UP",
    ),
    (
        r"\b(down_proj|w2|mlp\.c_proj|dense_4h_to_h|fc2|lin2|fc_out|output\.dense|DenseReluDense\.wo|net\.2|"
        r"linear_fc2|(^|mlp\.)ff_out|(mlp|ffn|feed_forward)\.(2|out_layer|layer2))$",
        "mlp",
        "MLP_DOWN",
    ),
    (r"(^|\.)(lm_head|embed_out|transformer\.ff_out)$", "embedding", "LM_HEAD"),
    (
        r"(^|\.)(embed_tokens|wte|wte\.embedding|word_embeddings|tok_embeddings|embed_in|shared|token_embedding)$",
        "embedding",
        "EMBED",
    ),
    (r"(^|\.)(wpe|position_embeddings?|embed_positions)$", "embedding", "EMBED_POSITION"),
    (r"embed", "embedding", ""),
)
_COMPILED = tuple((re.compile(pattern), family, component) for pattern, family, component in _RULES)
_ATTENTION = re.compile(r"att(n|ention)", re.IGNORECASE)
_MLP = re.compile(
    r"mlp|ffn|feed_?forward|ff\.|ff_context\.|\bff_in$|experts|moe|DenseReluDense", re.IGNORECASE
)
_FAMILY_PREFIX = {"attention": "ATTN", "mlp": "MLP", "norm": "NORM", "embedding": "EMBED"}
_classified: dict[str, tuple[str, str]] = {}


def classify(module_type: str) -> tuple[str, str]:
    """Family and component of a module path, such as `("attention", "ATTN_Q")`."""
    if module_type not in _classified:
        _classified[module_type] = _classify_afresh(module_type)
    return _classified[module_type]


def _classify_afresh(module_type: str) -> tuple[str, str]:
    module, bias = (module_type[:-5], "_BIAS") if module_type.endswith(".bias") else (module_type, "")
    for pattern, family, component in _COMPILED:
        if pattern.search(module):
            return family, (component or spelled(_last_word(module), family)) + bias
    family = "attention" if _ATTENTION.search(module) else "mlp" if _MLP.search(module) else "other"
    return family, spelled(_last_word(module), family) + bias


def _last_word(module: str) -> str:
    """The last part of a path, with what it is numbered after where it is a number itself."""
    parts = module.split(".")
    word = next((i for i in reversed(range(len(parts))) if not parts[i].isdigit()), 0)
    return ".".join(parts[word:])


def spelled(path: str, family: str) -> str:
    """A path in capitals, behind its family's prefix unless that says nothing new."""
    tail = re.sub(r"[^A-Za-z0-9]+", "_", path).strip("_").upper() or "ROOT"
    prefix = _FAMILY_PREFIX.get(family)
    return tail if prefix is None or prefix in tail else f"{prefix}_{tail}"
