"""A tiny random Llama and random tokens: enough for the trainer to move weights."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Trainer, TrainingArguments

VOCABULARY = 96

# Tiny matrices: a second thread only waits for the first.
torch.set_num_threads(1)


def llama(**changes):
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return LlamaForCausalLM(LlamaConfig(**sizes | changes))


def adapted(model=None, **changes):
    torch.manual_seed(0)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
    return get_peft_model(model or llama(), LoraConfig(**settings | changes))


def byte_tokenizer():
    """One token a byte behind three special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols = ["<pad>", "<bos>", "<eos>", *alphabet]
    plain = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(symbols)}, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    special = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}
    return PreTrainedTokenizerFast(tokenizer_object=plain, **special)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """The tiny Llama with a byte tokenizer, as a folder."""
    folder = tmp_path_factory.mktemp("model")
    llama(vocab_size=259, max_position_embeddings=256).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def data_files(tmp_path_factory):
    """Two small domains: sums with answers, and plain words."""
    folder = tmp_path_factory.mktemp("data")
    sums = [{"prompt": f"{a}+{b}=", "completion": str(a + b)} for a in range(6) for b in range(4)]
    words = [{"text": f"word {a} and {a * 7 % 11}"} for a in range(22)]
    for name, rows in (("sums", sums), ("words", words)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {name: str(folder / f"{name}.jsonl") for name in ("sums", "words")}


class Tokens(torch.utils.data.Dataset):
    def __init__(self, count=24, length=12):
        generator = torch.Generator().manual_seed(3)
        self.ids = torch.randint(3, VOCABULARY, (count, length), generator=generator)

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        return {"input_ids": self.ids[index], "labels": self.ids[index]}


def arguments(folder, **changes):
    settings = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 2,
        "max_steps": 6,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    return TrainingArguments(**settings | changes)


@pytest.fixture
def trained(tmp_path):
    """Train and return the trainer; keywords starting with `run_` go to `train`."""

    def run(capture, model=None, folder=None, callbacks=(), resume=None, data=None, **changes):
        trainer = Trainer(
            model=model if model is not None else adapted(),
            args=arguments(folder or tmp_path, **changes),
            train_dataset=data or Tokens(),
            eval_dataset=Tokens(4),
            callbacks=[capture, *callbacks],
        )
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    return run
