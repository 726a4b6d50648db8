"""A row is one text: its tokens are those of the whole, and offsets say which of them are learned."""

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from tunescope.corpus import Row, encode
from tunescope.corpus.tokens import tokenised
from tunescope.errors import BadInput

LETTERS = sorted(set("▁abcdefghijklmnopqrstuvwxyz():,."))


def fast(plain, **special):
    return PreTrainedTokenizerFast(tokenizer_object=plain, **special)


@pytest.fixture
def prepending():
    """As Llama 2's: a "▁" before every text it is given, one token a character otherwise."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {c: i + 3 for i, c in enumerate(LETTERS)}
    plain = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    plain.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    plain.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    plain.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return fast(plain, unk_token="<unk>", eos_token="</s>", bos_token="<s>")


def learned(example):
    return [label for label in example.labels if label != -100]


@pytest.mark.parametrize(
    ("prompt", "completion"), [("def f(a):", " return a"), ("def f(a):", "return a"), ("", "a")]
)
def test_the_ids_are_those_of_the_whole_text_with_an_end(prepending, prompt, completion):
    (example,) = encode([Row(prompt, completion)], prepending, 100)
    assert example.input_ids == [*prepending(prompt + completion)["input_ids"], 2]
    assert prepending.decode(learned(example)).strip() == completion.strip() + "</s>"


def test_a_token_of_both_sides_is_learned():
    """`b` and `c` are one token, whose half is the answer's."""
    plain = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "c": 2, "bc": 3}, merges=[("b", "c")]))
    (example,) = encode([Row("ab", "ca")], fast(plain), 10)
    assert example.input_ids == [0, 3, 0]
    assert example.labels == [-100, 3, 0]


def test_white_space_that_offsets_leave_out_belongs_to_the_token_behind_it():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    (example,) = encode([Row("a:", "  né 🙂 ")], fast(plain), 100)
    assert example.labels[:2] == [-100, -100]
    assert example.labels[2:] == example.input_ids[2:]
    assert len(example.input_ids) == len("a:  né 🙂 ".encode())


def test_an_end_that_the_tokenizer_puts_itself_is_learned_and_not_doubled(prepending):
    prepending.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    (example,) = encode([Row("a", "b")], prepending, 10)
    assert example.input_ids == prepending("ab")["input_ids"]
    assert learned(example) == prepending("ab")["input_ids"][-2:]


class Slow:
    """A tokenizer without offsets: a token a letter, and one for "ab"; 0 stands before every text."""

    eos_token_id = bos_token_id = None

    def __call__(self, text, add_special_tokens=True):
        letters = text.replace("ab", "X")
        return {"input_ids": [0] * add_special_tokens + [ord(letter) for letter in letters]}


def test_a_tokenizer_without_offsets_counts_the_tokens_before_a_span():
    (example,) = encode([Row("aba", "cab")], Slow(), 10)
    assert example.input_ids == [0, ord("X"), ord("a"), ord("c"), ord("X")]
    assert example.labels == [-100, -100, -100, ord("c"), ord("X")]
    assert tokenised(Slow(), "abcab", [(0, 2), (3, 5)], special=False).learned == [True, False, True]


def test_a_tokenizer_without_offsets_that_does_not_cut_there_is_refused():
    with pytest.raises(BadInput, match="no-offsets"):
        encode([Row("ca", "bc")], Slow(), 10)
