"""A tiny random Llama and random tokens: enough for the trainer to move weights."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

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
