"""Folders of language models as `transformers` reads them: configs, tokenizers, templates, weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunescope.corpus.encoding import encode
from tunescope.corpus.rows import row_of
from tunescope.lm.pretrained import load_config, load_model, load_tokenizer

from . import packing
from .kind import Kind
from .mutations import bytewise, json_values, tokenwise

_JSON = {"bytes": bytewise, "values": json_values}
_CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 258, "hidden_size": 8,
    "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
    "max_position_embeddings": 64, "rope_theta": 10000.0, "tie_word_embeddings": False, "dtype": "float32",
    "eos_token_id": 257, "pad_token_id": 256,
}  # fmt: skip
_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
_CHAT = {"messages": [{"role": role, "content": role} for role in ("user", "assistant")]}


def _model(folder: Path, name: str) -> Path:
    """A model of one layer with a tokenizer of bytes; the file of this name."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**_CONFIG)).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(_CONFIG))
    alphabet = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<pad>", "</s>"]
    tokenizer = Tokenizer(models.BPE({sign: i for i, sign in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<pad>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said | {"model_max_length": 64}))
    (folder / "chat_template.jinja").write_text(_TEMPLATE)
    return folder / name


def _file(name: str) -> Callable[[Path], Path]:
    return lambda folder: _model(folder, name)


def _encoded(path: Path) -> Any:
    return encode([row_of(_CHAT)], load_tokenizer(path.parent), 64)


LANGUAGE = {
    "lm_config": Kind(_file("config.json"), lambda p: load_config(p.parent), _JSON, slow=2),
    "lm_model_config": Kind(_file("config.json"), lambda p: load_model(p.parent), _JSON, slow=8),
    "lm_generation": Kind(_file("generation_config.json"), lambda p: load_model(p.parent), _JSON, slow=8),
    "lm_weights": Kind(
        _file("model.safetensors"), lambda p: load_model(p.parent),
        {"bytes": bytewise, "header": packing.safetensors_header, "shapes": packing.other_tensors}, slow=8,
    ),
    "tokenizer": Kind(_file("tokenizer.json"), _encoded, _JSON, slow=8, named=False),
    "tokenizer_config": Kind(_file("tokenizer_config.json"), _encoded, _JSON, slow=4, named=False),
    "tokenizer_template": Kind(
        _file("chat_template.jinja"), _encoded, {"bytes": bytewise, "tokens": tokenwise}, slow=4, named=False
    ),
}  # fmt: skip
