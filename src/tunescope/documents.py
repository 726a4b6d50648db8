"""JSON text as plain values; every way in which it may be unusable has one error."""

import json
import re
from typing import Any, NoReturn

# A whole number of more digits fits no 64 bits.
_DIGITS = 18
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


class DocumentError(ValueError):
    """Text that is no usable JSON: not UTF-8, broken, nested too deeply, or with halves of characters.

    `line` is where the text breaks off, where there is such a line.
    """

    def __init__(self, text: str, line: int | None = None) -> None:
        super().__init__(text)
        self.line = line


def parse_json(text: bytes | str, *, each_key_once: bool = False) -> Any:
    """The values of a JSON text; a byte-order mark is accepted, and NaN as Python spells it.

    Whole numbers of more than 18 digits become floats, and infinite where no float is as large.

    Raises `DocumentError`, its text saying what is wrong and where.

    >>> parse_json(b'{"r": 8}')
    {'r': 8}
    """
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        document = json.loads(
            text, object_pairs_hook=_once if each_key_once else None, parse_int=_whole_number
        )
    except UnicodeDecodeError as error:
        raise DocumentError(f"not UTF-8: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise DocumentError(f"{error.msg} at {place}", error.lineno) from None
    except RecursionError:
        raise DocumentError("nested far too deeply") from None
    if _HALF.search(text):
        _refuse_half_characters(document)
    return document


def _whole_number(digits: str) -> int | float:
    """The number, as a float where it is larger than any count: 400 digits are infinity, as 1e400 is."""
    return int(digits) if len(digits) <= _DIGITS else float(digits)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        _refuse_twice([key for key, _ in pairs])
    return document


def _refuse_twice(keys: list[str]) -> NoReturn:
    seen: set[str] = set()
    twice = next(key for key in keys if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    raise DocumentError(f"the key {twice!r} stands there twice")


def _refuse_half_characters(document: Any) -> None:
    """JSON can spell half of a surrogate pair, which no file, table or terminal takes."""
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])
        raise DocumentError(f"half of a character, {half}, in a text") from None
