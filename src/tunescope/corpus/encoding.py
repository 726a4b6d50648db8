"""Rows of text to token ids, with labels only where something is to be learned."""

from collections.abc import Iterable
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

from tunescope.corpus.rows import Message, Row
from tunescope.errors import BadInput

IGNORED = -100

Segment = tuple[str, bool]


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of one row and, of the same length, its labels: -100 where no loss is taken.

    `row` is the index of the row it came from, `truncated` whether tokens were cut off its end.
    """

    input_ids: list[int]
    labels: list[int]
    row: int = 0
    truncated: bool = False


def encode(rows: Iterable[Row], tokenizer: Any, max_length: int) -> list[Example]:
    """Each row as token ids and labels, at most `max_length` tokens (the end is cut off).

    Loss is taken on the completion and its end-of-sequence token, in a chat on the assistant's turns; a row
    whose answer lies wholly behind the cut is left out, so `len(rows) - len(result)` counts those.

    Raises `BadInput` where no example is left, or where chats meet a tokenizer without a chat template.
    """
    rows = list(rows)
    encoded = (_example(index, row, tokenizer, max_length) for index, row in enumerate(rows))
    examples = [example for example in encoded if _learns(example)]
    if not examples:
        raise BadInput(
            "data-all-cut",
            f"none of {len(rows)} rows has a token to learn within {max_length} tokens",
            fix="raise --max-length or shorten the prompts",
        )
    return examples


def _learns(example: Example) -> bool:
    # A causal model predicts token t from those before it: the first label is never scored.
    return any(label != IGNORED for label in example.labels[1:])


def _example(index: int, row: Row, tokenizer: Any, max_length: int) -> Example:
    ids: list[int] = []
    labels: list[int] = []
    if not row.messages:
        ids = _prefix(tokenizer)
        labels = [IGNORED] * len(ids)
    for text, learned in _segments(row, tokenizer):
        tokens = _tokens(tokenizer, text)
        ids += tokens
        labels += tokens if learned else [IGNORED] * len(tokens)
    if not row.messages and tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
        labels.append(tokenizer.eos_token_id)
    return Example(ids[:max_length], labels[:max_length], index, len(ids) > max_length)


def _segments(row: Row, tokenizer: Any) -> list[Segment]:
    if row.messages:
        return chat_segments(row.messages, tokenizer)
    return [(row.prompt, False), (row.completion, True)]


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []


def _prefix(tokenizer: Any) -> list[int]:
    """The beginning-of-sequence token, where the tokenizer puts one before a text."""
    special = list(tokenizer("")["input_ids"])
    return special[:1] if special and special[0] == tokenizer.bos_token_id else []


def chat_segments(messages: tuple[Message, ...], tokenizer: Any) -> list[Segment]:
    """The chat in the tokenizer's own template, cut into pieces that are learned and pieces that are not."""
    if not getattr(tokenizer, "chat_template", None):
        raise BadInput(
            "no-chat-template",
            "the data holds chats, and the model's tokenizer has no chat template",
            fix="use an instruction-tuned model, or prompt + completion columns",
        )
    whole = _render(tokenizer, messages)
    segments: list[Segment] = []
    position = 0
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        # A common prefix, since some templates render a last turn differently from an inner one.
        start = _shared(_render(tokenizer, messages[:index], prompted=True), whole)
        end = _shared(_render(tokenizer, messages[: index + 1]), whole)
        start = max(start, position)
        end = max(start, end)
        segments += [(whole[position:start], False), (whole[start:end], True)]
        position = end
    return [*segments, (whole[position:], False)]


def _render(tokenizer: Any, messages: tuple[Message, ...], prompted: bool = False) -> str:
    if not messages:
        return ""
    text: str = tokenizer.apply_chat_template(
        [dict(message) for message in messages], tokenize=False, add_generation_prompt=prompted
    )
    return text


def _shared(part: str, whole: str) -> int:
    return len(commonprefix([part, whole]))  # noqa: RUF071  (texts, not paths)
