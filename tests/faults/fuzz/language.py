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
from .pickles import packed_numbers

_JSON = {"bytes": bytewise, "values": json_values}
_TEXT = {"bytes": bytewise, "tokens": tokenwise}
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


def _pickled_model(folder: Path) -> Path:
    """The same model, its weights in the form of older days."""
    import torch
    from safetensors.torch import load_file

    weights = _model(folder, "model.safetensors")
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    return folder / "pytorch_model.bin"


def _sharded_model(folder: Path) -> Path:
    """The same model, its weights in one shard; the index."""
    whole = _model(folder, "model.safetensors")
    shard = whole.rename(folder / "model-00001-of-00001.safetensors")
    header = json.loads(shard.read_bytes()[8:][: int.from_bytes(shard.read_bytes()[:8], "little")])
    names = [name for name in header if name != "__metadata__"]
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, shard.name)}))
    return index


def _slow_tokenizer(name: str) -> Callable[[Path], Path]:
    """A tokenizer in the files of GPT-2: a vocabulary, merges, and tokens that have names."""

    def make(folder: Path) -> Path:
        from tokenizers import pre_tokenizers

        _model(folder, "config.json")
        (folder / "tokenizer.json").unlink()
        signs = sorted(pre_tokenizers.ByteLevel.alphabet())
        words = [*signs, "as", "us", "</s>", "<pad>"]
        (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
        (folder / "merges.txt").write_text("#version: 0.2\na s\nu s\n")
        named = {"eos_token": "</s>", "pad_token": {"content": "<pad>", "lstrip": False}, "unk_token": "</s>"}
        (folder / "special_tokens_map.json").write_text(json.dumps(named))
        (folder / "added_tokens.json").write_text(json.dumps({"<new>": len(words)}))
        (folder / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "GPT2Tokenizer"} | named)
        )
        return folder / name

    return make


def _onto_model(method: str) -> Callable[[Path], Path]:
    """An adapter of the small model as PEFT saves it; its config."""

    def make(folder: Path) -> Path:
        import peft

        kinds = {
            "lora": lambda: peft.LoraConfig(r=2, target_modules=["q_proj"]),
            "oft": lambda: peft.OFTConfig(oft_block_size=2, target_modules=["q_proj"], init_weights=False),
        }
        _model(folder / "model", "config.json")
        model = peft.get_peft_model(load_model(folder / "model"), kinds[method]())
        model.save_pretrained(folder / "adapter")
        return folder / "adapter" / "adapter_config.json"

    return make


def _opened_on_model(path: Path) -> Any:
    from tunescope.questions.attribution.subject import open_subject

    return open_subject(str(path.parent), base=load_model(path.parents[1] / "model"))


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
        _file("chat_template.jinja"), _encoded, _TEXT, slow=4, named=False
    ),
    "tokenizer_vocabulary": Kind(_slow_tokenizer("vocab.json"), _encoded, _JSON, slow=8, named=False),
    "tokenizer_merges": Kind(_slow_tokenizer("merges.txt"), _encoded, _TEXT, slow=8, named=False),
    "tokenizer_names": Kind(_slow_tokenizer("special_tokens_map.json"), _encoded, _JSON, slow=8, named=False),
    "tokenizer_added": Kind(_slow_tokenizer("added_tokens.json"), _encoded, _JSON, slow=8, named=False),
    "lm_index": Kind(_sharded_model, lambda p: load_model(p.parent), _JSON, slow=8),
    "lm_pickle": Kind(
        _pickled_model, lambda p: load_model(p.parent),
        {"bytes": bytewise, "members": packing.zip_members, "values": packed_numbers}, slow=16,
    ),
    "lora_on_model": Kind(_onto_model("lora"), _opened_on_model, _JSON, slow=12),
    "oft_on_model": Kind(_onto_model("oft"), _opened_on_model, _JSON, slow=12),
}  # fmt: skip
