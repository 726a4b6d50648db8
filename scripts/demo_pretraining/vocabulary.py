"""The byte-level BPE tokenizer of the small model, with a chat template, as transformers loads it."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from demo_pretraining.corpus import Document

VOCABULARY = 3072
PAD, END, USER, ASSISTANT = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"
FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
SAMPLE_CHARACTERS = {"library": 10_000_000, "headers": 6_000_000}
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}<|assistant|>"
    "{% generation %}{{ message['content'] }}<|end|>{% endgeneration %}"
    "{% else %}<|user|>{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def sample(documents: Sequence[Document]) -> list[str]:
    """All exercises and a bounded share of the far larger sources, which would crowd out the rest."""
    left, texts = dict(SAMPLE_CHARACTERS), []
    for document in documents:
        room = left.get(document.source, len(document.text))
        if room >= len(document.text):
            left[document.source] = room - len(document.text)
            texts.append(document.text)
    return texts


def train(documents: Sequence[Document], folder: Path) -> None:
    """Learn the merges; write ``tokenizer.json``, ``tokenizer_config.json``, ``chat_template.jinja``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    digits, byte_level = (
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, END, USER, ASSISTANT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sample(documents), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        bos_token=END,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)


def copy(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(source / name, folder)
