"""A text as the tokens of the whole, and which of them lie in given spans of its characters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from tunescope.errors import BadInput

Span = tuple[int, int]


@dataclass(frozen=True)
class Tokens:
    """Token ids of a text and, for each, whether it belongs to what is learned."""

    ids: list[int]
    learned: list[bool]


def tokenised(tokenizer: Any, text: str, learned: Sequence[Span], special: bool) -> Tokens:
    """The tokens of a text as a whole; learned are those that hold a character of the spans.

    With `special` the tokenizer puts its own tokens around the text, which are not learned. Raises
    `BadInput` where a tokenizer without offsets does not cut the text at the spans.
    """
    if not getattr(tokenizer, "is_fast", False):
        return _by_prefixes(tokenizer, text, learned, special)
    found = tokenizer(
        text, add_special_tokens=special, return_offsets_mapping=True, return_special_tokens_mask=True
    )
    ids, offsets = list(found["input_ids"]), found["offset_mapping"]
    flags: list[bool] = []
    reached = 0
    for (start, stop), added in zip(offsets, found["special_tokens_mask"], strict=True):
        # Some tokenizers leave white space out of the offsets: it belongs to the token behind it.
        start = min(start, reached)
        flags.append(not added and any(_meets((start, stop), span) for span in learned))
        reached = max(reached, stop)
    return Tokens(ids, flags)


def _meets(token: Span, span: Span) -> bool:
    if token[0] == token[1]:
        return span[0] <= token[0] < span[1]
    return token[0] < span[1] and token[1] > span[0]


def _by_prefixes(tokenizer: Any, text: str, learned: Sequence[Span], special: bool) -> Tokens:
    """The same for a tokenizer that gives no offsets: the tokens of every beginning are counted."""
    plain = _plain(tokenizer, text)
    flags = [False] * len(plain)
    for start, stop in learned:
        first, last = (_count(tokenizer, text, place, plain) for place in (start, stop))
        flags[first:last] = [True] * (last - first)
    if not special:
        return Tokens(plain, flags)
    whole = list(tokenizer(text)["input_ids"])
    shift = next((i for i in range(len(whole)) if whole[i : i + len(plain)] == plain), None)
    if shift is None:
        _refuse("the tokens around a text change the text's own")
    behind = len(whole) - shift - len(plain)
    return Tokens(whole, [False] * shift + flags + [False] * behind)


def _plain(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []


def _count(tokenizer: Any, text: str, place: int, whole: list[int]) -> int:
    if place in (0, len(text)):
        return len(whole) if place else 0
    before = _plain(tokenizer, text[:place])
    if whole[: len(before)] != before:
        _refuse(f"one token holds both sides of character {place}")
    return len(before)


def _refuse(found: str) -> NoReturn:
    raise BadInput(
        "no-offsets",
        "the tokenizer does not say which characters a token stands for, and they cannot be told otherwise",
        expected="a fast tokenizer (tokenizer.json)",
        found=found,
        fix="put the model's tokenizer.json beside it, or use rows of plain text",
    )
