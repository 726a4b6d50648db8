"""Ways to damage an input, byte by byte or value by value; each is plain data, so that it can be repeated."""

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# What no honest file holds in the place of a value, or holds seldom.
HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**25, 0.5, -0.0, 1e308, 1e-320,
    float("nan"), float("inf"),
    "", "x", "8", "NaN", "\ud800", "😀", "a" * 10_000, "\0", "../x", "/etc/passwd", "(a+)+b", "[", "=1+1",
    "a.b.c.d", "layers.7.q_proj", "layers.99999999999.q_proj", "LORA", "int8", [], [1], [None], [[]], {},
    {"a": 1}, {"": None}, [0] * 300, "\u202e", "\n",
)  # fmt: skip
TOKENS: tuple[bytes, ...] = (
    b"", b"0", b"-1", b"1e999", b"9" * 400, b"nan", b"null", b"~", b"[", b"{", b'"', b"'", b",", b"\n", b"\t",
    b"\0", b"\xff", b"\xed\xa0\x80", b"!!python/object:os.system", b"&a [*a]", b"*a", b"1979-99-99", b"0x_",
    b"{{", b"{%", b"}}", b"%}", b"a" * 5000, b"=1+1", b"true", b"[[[[", b"- - - -", b"? :", b"<<: 1",
    b"\\ud800", b"1_000", b"__import__",
)  # fmt: skip
_TOKEN = re.compile(rb"\w+|[^\w\s]|\s+")


@dataclass(frozen=True)
class Change:
    """One change: what is done, and three numbers that say where and with what."""

    how: str
    a: int
    b: int
    c: int


Apply = Callable[[bytes, Change], bytes]


def draw(dice: random.Random, hows: list[str]) -> list[Change]:
    """One to four changes."""
    return [
        Change(dice.choice(hows), *(dice.randrange(2**30) for _ in range(3)))
        for _ in range(dice.choice((1, 1, 2, 4)))
    ]


def bytewise(data: bytes, change: Change) -> bytes:
    """Change bytes: flip, set, delete, repeat or swap some, or cut the end off."""
    if not data:
        return b"\0" * (change.a % 9)
    place, length = change.a % len(data), 1 + change.b % 16
    match change.b % 7:
        case 0:
            return data[:place] + bytes([data[place] ^ (1 << change.c % 8)]) + data[place + 1 :]
        case 1:
            return data[:place] + bytes([(0, 255, 0x7F, 0x80, 0x22, 0x5B)[change.c % 6]]) + data[place + 1 :]
        case 2:
            return data[:place] + data[place + length :]
        case 3:
            return data[:place] + data[place : place + length] * (2 + change.c % 3) + data[place + length :]
        case 4:
            other = change.c % len(data)
            return data[:place] + data[other : other + length] + data[place + length :]
        case 5:
            wide = (2 ** (8 * (1 + change.c % 8)) - 1 - change.c % 2).to_bytes(8, "little")
            return data[:place] + wide + data[place + 8 :]
        case _:
            return data[:place]


def tokenwise(data: bytes, change: Change) -> bytes:
    """Change one word of a text: to something hostile, to another of its words, or to nothing."""
    words = _TOKEN.findall(data)
    if not words:
        return TOKENS[change.c % len(TOKENS)]
    place = change.a % len(words)
    others = (TOKENS[change.c % len(TOKENS)], words[change.c % len(words)], b"", words[place] * 3)
    words[place] = others[(0, 0, 0, 1, 2, 3)[change.b % 6]]
    return b"".join(words)


def valuewise(document: Any, change: Change) -> Any:
    """Change one value of a JSON document: to something hostile, to another of its values, or away."""
    places = list(_places(document))
    if not places:
        return HOSTILE[change.c % len(HOSTILE)]
    inside, key = places[change.a % len(places)]
    match change.b % 8:
        case 0:
            del inside[key]
        case 1:
            other, name = places[change.c % len(places)]
            inside[key] = json.loads(json.dumps(other[name]))
        case 2 if isinstance(inside, dict):
            named = [str(h) for h in HOSTILE if isinstance(h, str | int)]
            inside[named[change.c % len(named)]] = inside.pop(key)
        case 3:
            deep: Any = inside[key]
            for _ in range(50 if change.c % 2 else 3000):
                deep = [deep]
            inside[key] = deep if change.c % 2 else "[" * 3000
        case _:
            inside[key] = json.loads(json.dumps(HOSTILE[change.c % len(HOSTILE)]))
    return document


def _places(value: Any) -> Any:
    """Every (container, key) of a document, outermost first."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def json_values(data: bytes, change: Change) -> bytes:
    """`valuewise` for a JSON text; what is no JSON any more is changed by tokens."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return tokenwise(data, change)
    return json.dumps(valuewise(document, change)).encode()
