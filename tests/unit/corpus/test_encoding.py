"""Labels stand on answers only, and the ids are the tokenizer's own."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tunescope.corpus import Row, encode
from tunescope.errors import BadInput

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture
def tokenizer():
    """One token a byte, plus an end-of-sequence token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate([*alphabet, "<eos>"])}
    plain = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<eos>")


def learned(example, tokenizer):
    assert len(example.input_ids) == len(example.labels)
    assert all(label in (-100, token) for label, token in zip(example.labels, example.input_ids, strict=True))
    return tokenizer.decode([label for label in example.labels if label != -100])


def test_loss_is_taken_on_the_answer_and_its_end(tokenizer):
    (example,) = encode([Row("1+1=", "2")], tokenizer, 64)
    assert tokenizer.decode(example.input_ids) == "1+1=2<eos>"
    assert learned(example, tokenizer) == "2<eos>"
    assert not example.truncated


def test_plain_text_is_learned_whole(tokenizer):
    (example,) = encode([Row("", "hello")], tokenizer, 64)
    assert learned(example, tokenizer) == "hello<eos>"


def test_a_leading_token_of_the_tokenizer_is_kept_and_not_learned(tokenizer):
    from tokenizers.processors import TemplateProcessing

    tokenizer.add_special_tokens({"bos_token": "<bos>"})
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
    )
    (example,) = encode([Row("a", "b")], tokenizer, 64)
    assert tokenizer.decode(example.input_ids) == "<bos>ab<eos>"
    assert learned(example, tokenizer) == "b<eos>"


def test_the_end_is_cut_off_and_said_so(tokenizer):
    examples = encode([Row("ab", "cdef"), Row("a" * 9, "b"), Row("x", "y")], tokenizer, 5)
    assert [example.row for example in examples] == [0, 2]
    assert [example.truncated for example in examples] == [True, False]
    assert tokenizer.decode(examples[0].input_ids) == "abcde"


def test_nothing_left_to_learn_is_an_error(tokenizer):
    with pytest.raises(BadInput, match="none of 1 row "):
        encode([Row("a" * 9, "b")], tokenizer, 5)


def test_chats_learn_the_assistants_turns_in_the_models_template(tokenizer):
    tokenizer.chat_template = TEMPLATE
    turns = ("user", "hi"), ("assistant", "ho"), ("user", "more"), ("assistant", "no")
    row = Row(messages=tuple({"role": role, "content": content} for role, content in turns))
    (example,) = encode([row], tokenizer, 200)
    text = "<user>hi<end><assistant>ho<end><user>more<end><assistant>no<end>"
    assert tokenizer.decode(example.input_ids) == text
    assert learned(example, tokenizer) == "ho<end>no<end>"


def test_a_chat_without_a_template_is_refused(tokenizer):
    row = Row(messages=({"role": "assistant", "content": "x"},))
    with pytest.raises(BadInput, match="chat template"):
        encode([row], tokenizer, 10)
