"""Rows of text to token ids, with labels only where something is to be learned."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tunescope.corpus.chat import Chat, ChatTemplate
from tunescope.corpus.rows import Row
from tunescope.corpus.tokens import Tokens, tokenised
from tunescope.errors import BadInput
from tunescope.words import counted

IGNORED = -100
# Models with such templates stop where they would open another speaker's turn, which no row has to learn.
ENDLESS = "by the model's chat template nothing behind an answer is learned: {} teach no end of a turn"


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of one row and, of the same length, its labels: -100 where no loss is taken.

    `row` is the index of the row it came from, `truncated` whether tokens were cut off its end, `endless`
    whether nothing of its chat behind an answer, where the turn would end, is learned.
    """

    input_ids: list[int]
    labels: list[int]
    row: int = 0
    truncated: bool = False
    endless: bool = False


def encode(rows: Iterable[Row], tokenizer: Any, max_length: int) -> list[Example]:
    """Each row as token ids and labels, at most `max_length` tokens (the end is cut off).

    A row is one text: its ids are those of prompt and completion together with the tokenizer's own tokens
    and an end-of-sequence token, or those of the rendered chat. Loss is taken on the completion and its
    end-of-sequence token, in a chat on every assistant turn; a token with characters of both sides is
    learned. A row whose answer lies wholly behind the cut is left out, so `len(rows) - len(result)` counts
    those.

    Raises `BadInput` where no example is left, where chats meet a tokenizer without a chat template or with
    one that refuses them, and where an assistant turn would not be learned.
    """
    rows = list(rows)
    encoder = _Encoder(tokenizer, max_length)
    examples = [e for index, row in enumerate(rows) if _learns(e := encoder.example(index, row))]
    if not examples:
        raise BadInput(
            "data-all-cut",
            f"none of {counted(len(rows), 'row')} has a token to learn within {max_length} tokens",
            expected="a row with an answer before the cut",
            found="none",
            fix="raise --max-length or shorten the prompts",
        )
    return examples


def _learns(example: Example) -> bool:
    # A causal model predicts token t from those before it: the first label is never scored.
    return any(label != IGNORED for label in example.labels[1:])


class _Encoder:
    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self._tokenizer, self._max_length = tokenizer, max_length

    @cached_property
    def _template(self) -> ChatTemplate:
        return ChatTemplate(self._tokenizer)

    def example(self, index: int, row: Row) -> Example:
        chat = self._chat(index, row) if row.messages else None
        tokens = self._text(row) if chat is None else self._rendered(chat)
        pairs = zip(tokens.ids, tokens.learned, strict=True)
        labels = [token if learned else IGNORED for token, learned in pairs]
        length = self._max_length
        endless = chat is not None and not chat.ends_turns
        return Example(tokens.ids[:length], labels[:length], index, len(tokens.ids) > length, endless)

    def _text(self, row: Row) -> Tokens:
        text = row.prompt + row.completion
        tokens = tokenised(self._tokenizer, text, [(len(row.prompt), len(text))], special=True)
        end = self._tokenizer.eos_token_id
        if end is None:
            return tokens
        if tokens.ids[-1:] == [end]:
            return Tokens(tokens.ids, [*tokens.learned[:-1], True])
        return Tokens([*tokens.ids, end], [*tokens.learned, True])

    def _chat(self, index: int, row: Row) -> Chat:
        line = row.line or index + 1
        chat = self._template(row.messages, line)
        _check_turns(chat, line)
        return chat

    def _rendered(self, chat: Chat) -> Tokens:
        return tokenised(self._tokenizer, chat.text, chat.learned, special=False)


def _check_turns(chat: Chat, row: int) -> None:
    """Refuse a turn that has content and lies outside what the template marks as the assistant's."""
    for turn, (start, stop) in chat.contents.items():
        if not any(first < stop and last > start for first, last in chat.learned):
            raise BadInput(
                "turn-not-learned",
                f"row {row}, turn {turn + 1}: nothing of this assistant turn can be learned",
                expected="a template whose {% generation %} marks hold every assistant turn",
                found="a turn outside them",
                fix="use a template that marks every turn, or one that marks none",
            )
