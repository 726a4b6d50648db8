"""What PEFT targets in an architecture where a config leaves it open."""

from collections.abc import Mapping, Sequence

Targets = Sequence[str] | str


def default_targets(method: object, kind: object) -> Targets | None:
    """The targets of a method in a model of a type; empty where PEFT has none, `None` where it is unknown.

    >>> default_targets("LORA", "llama"), default_targets("VERA", "phi"), default_targets("IA3", "llama")
    (('q_proj', 'v_proj'), ('q_proj', 'v_proj'), None)
    """
    if not isinstance(kind, str) or not isinstance(method, str):
        return None
    if method not in _SAME_DEFAULTS and method not in _DIFFERENT:
        return None
    return _DIFFERENT.get(method, {}).get(kind, DEFAULTS.get(kind, ()))


# By `model_type` [huggingface/peft: src/peft/utils/constants.py].
_QUERY_VALUE, _FUSED = ("q_proj", "v_proj"), ("query_key_value",)
DEFAULTS: Mapping[str, Targets] = {
    **dict.fromkeys(("t5", "mt5"), ("q", "v")),
    **dict.fromkeys(("bart", "opt", "gptj", "gpt_neo", "llama", "llama4", "mistral"), _QUERY_VALUE),
    **dict.fromkeys(("mixtral", "stablelm", "gemma", "gemma2", "gemma3_text"), _QUERY_VALUE),
    **dict.fromkeys(("qwen2", "qwen3"), _QUERY_VALUE),
    **dict.fromkeys(["bloom", "gpt_neox", "chatglm", "RefinedWebModel", "RefinedWeb", "falcon"], _FUSED),
    **dict.fromkeys(["bert", "roberta", "xlm-roberta", "electra", "layoutlm"], ("query", "value")),
    **dict.fromkeys(("gpt2", "gpt_bigcode"), ("c_attn",)),
    "blip-2": ("q", "v", "q_proj", "v_proj"),
    "deberta-v2": ("query_proj", "value_proj"),
    "deberta": ("in_proj",),
    "mpt": ("Wqkv",),
    "btlm": ("c_proj", "c_attn"),
    "codegen": ("qkv_proj",),
    "phi": ("q_proj", "v_proj", "fc1", "fc2"),
    "gemma4": r".*language_model\..*\.(q_proj|v_proj)",
    "nemotron_h": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "rwkv": ("key", "value", "receptance", "output"),
    "rwkv7": ("r_proj", "k_proj", "v_proj", "o_proj", "key", "value"),
}  # fmt: skip
# Methods with that table, and those with another row or two.
_SAME_DEFAULTS = frozenset({
    "LORA", "LOHA", "LOKR", "OFT", "BOFT", "HRA", "MISS", "RANDLORA", "ROAD", "DELORA", "GLORA", "GRALORA",
    "HIRA", "LILY", "PEANUT", "POLY", "PSOFT", "TINYLORA", "UNILORA", "DEFT", "SUPERTUNING",
})  # fmt: skip
_PHI, _DOWN = {"phi": _QUERY_VALUE}, dict.fromkeys(("gpt2", "gpt_bigcode"), ("mlp.c_proj",))
_DIFFERENT: Mapping[str, Mapping[str, Targets]] = {
    "VERA": _PHI,
    "SHIRA": _PHI,
    "FROD": _PHI | {"vit": ("query", "value")},
    "PVERA": _PHI | {"dinov2": ("query", "value")},
    "ADAMSS": {"vit": ("query", "value")},
    "C3A": _DOWN,
    "FOURIERFT": _DOWN,
    "WAVEFT": _DOWN | dict.fromkeys(("btlm", "rwkv", "rwkv7"), ()),
}
