"""Further damage to what holds values: values of other kinds, and spellings that JSON forbids or leaves open.

Beside `mutations`, whose lists are part of what repeats an earlier finding and stay as they are.
"""

import io
import json
import struct
from collections.abc import Mapping
from typing import Any

import polars as pl

from .mutations import Apply, Change, _places, bytewise, json_values, tokenwise
from .packing import gguf_fields, parquet_values, safetensors_header

ODD: tuple[Any, ...] = (
    10**400, -(10**400), 2**64, -(2**63) - 1, 2**32, 10**9, 10**16, 255, 256, 65536, 1.5, -1e-320, 1e16,
    "1e999", "-1", "0", "8.0", " 8", "8 ", "\u0663", "1_0", "0x10", "true", "null", "None", "auto", "NaN",
    "Infinity",
    "\u2028", "\ufeff", "e\u0301", "\u00e9", "\x7f", "\x1b[31m", "\r\n", "\t", "\ud83d", "\udcff", "\u0000x",
    "%s%n", "{0.__class__}", "{{7*7}}", "${HOME}", "$\\frac", "~", "~nosuchuser", "C:\\x", "a\\b", "a/b",
    ".", "..",
    "/", "//", "file:///etc/passwd", "http://localhost:1/x", "<script>", "'; DROP", "=HYPERLINK(1)",
    "q_proj|", "|", "(?!x)", "(?P<n>", "\\", "[[:alpha:]]", "a{1,99999}", "(a|a)" * 40 + "b", "a?" * 40 + "b",
    "(.*)*x", "(\\w+|\\.)*!", "(?:" * 300 + ")" * 300, "x" * 300_000, "q_proj" * 1000,
    "all-linear", "LOHA", "torch.float32", "float8_e4m3fn", "LlamaForCausalLM", "BertModel", "gguf",
    [[], []], [1, "a", None], ["q_proj", 3], [True], [[[[]]]], [{}], ["\ud800"], ["a"] * 1000,
    list(range(1000)),
    [float("nan")], [10**400], [""], ["q_proj", "q_proj"],
    {"q_proj": {}}, {"q_proj": []}, {"q_proj": "x"}, {"a": {"b": {"c": {}}}}, {"0": 1}, {"\ud800": 1},
    {"(.*)*x": 2},
    {str(i): i for i in range(1000)}, {"\n": "\n"}, {"__class__": "x"}, {"$ref": "#"},
)  # fmt: skip
SPELLINGS: tuple[bytes, ...] = (
    b"1e400", b"-1e400", b"-", b"-0", b"01", b"+1", b".5", b"1.", b"0x1", b"1e", b"NaN", b"-Infinity",
    b"9" * 5000,
    b"1" + b"0" * 5000 + b".5", b"1e" + b"9" * 5000, b"[" * 100_000, b'{"a":' * 5000, b'"\\ud800"',
    b'"\\u0000"',
    b"'x'", b"//c\n1", b"/**/1", b"undefined", b"True", b"None", b'"\\x"', b'"\t"', b'"\xff"',
    b'"\xed\xa0\x80"', b'"',
    b"1,2", b"1}", b"1]", b'"a" "b"', b"\xef\xbb\xbf1", b"\x00", b"\xe2\x80\xa8",
)  # fmt: skip
_WORDS: tuple[bytes, ...] = (
    *SPELLINGS, b"\xef\xbb\xbf", b"\r", b"\r\n", b"\x0b", b"\x85", b"\x1a", b"1e400", b"0o7", b"1:30:00",
    b"2001-01-01",
    b"!!binary x", b"!!set {a}", b"!!float x", b"!!timestamp x", b"%YAML 9.9\n---\n", b"---\n---\n",
    b"...\n", b"|-\n  x",
    b"'''", b'"""', b"[a.b]\n", b"a.b = 1\n", b"[[a]]\n", b"{# ", b"#}", b"{%- for x in y %}", b"{{ x() }}",
    b"{{ 10**10 }}",
    b"{{ range(10**9) }}", b"{{ 'a' * 10**9 }}", b"{{ x.__class__.__mro__ }}", b"{{ cycler }}",
    b"\xf0\x9f\x98\x80",
    b"e\xcc\x81", b"\xe2\x80\xae", b"\x1b[2J", b"=cmd()", b"a" * 200_000,
)  # fmt: skip


def widened(ways: Mapping[str, Apply]) -> dict[str, Apply]:
    """These ways to damage an input and, where values or words are changed, the further ones."""
    added = {way: _FURTHER[way] for way in ways.values() if way in _FURTHER}
    return {**ways, **{f"odd_{name}": added[way] for name, way in ways.items() if way in added}}


def odd_values(data: bytes, change: Change) -> bytes:
    """A value of another kind, a key given twice, a spelling that is no JSON, or another encoding of all."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return odd_words(data, change)
    places = list(_places(document))
    if not places or change.b % 16 == 0:
        return _encoded(data, change.c)
    inside, key = places[change.a % len(places)]
    mark = "\x01here\x01"
    if change.b % 16 < 8:
        inside[key] = ODD[change.c % len(ODD)]
        return json.dumps(document).encode()
    if change.b % 16 < 12 or not isinstance(inside, dict):
        inside[key] = mark
        return (
            json.dumps(document)
            .encode()
            .replace(json.dumps(mark).encode(), SPELLINGS[change.c % len(SPELLINGS)])
        )
    # The key a second time, with another value.
    inside[mark] = ODD[change.c % len(ODD)]
    return json.dumps(document).encode().replace(json.dumps(mark).encode(), json.dumps(key).encode())


def odd_words(data: bytes, change: Change) -> bytes:
    """One word of a text becomes something else, or the whole another encoding."""
    if change.b % 16 == 0:
        return _encoded(data, change.c)
    words = data.split(b" ") if change.b % 2 else data.splitlines(keepends=True)
    if not words:
        return data
    place, word = change.a % len(words), _WORDS[change.c % len(_WORDS)]
    words[place] = (word, words[place] + word, word + words[place])[change.b % 3]
    return (b" " if change.b % 2 else b"").join(words)


def odd_header(data: bytes, change: Change) -> bytes:
    """As `odd_values`, of a safetensors header whose length is stated rightly afterwards."""
    return safetensors_header(data, change, odd_values)


def odd_columns(data: bytes, change: Change) -> bytes:
    """A column of a type that no table of ours has, or rows again."""
    try:
        frame = pl.read_parquet(io.BytesIO(data))
        metadata = {k: v for k, v in pl.read_parquet_metadata(io.BytesIO(data)).items() if k == "tunescope"}
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        return bytewise(data, change)
    if not frame.width:
        return bytewise(data, change)
    name, rows = frame.columns[change.a % frame.width], frame.height
    columns = (
        lambda: pl.Series(name, [[1, 2]] * rows), lambda: pl.Series(name, [{"a": 1}] * rows),
        lambda: pl.Series(name, [b"\xff"] * rows), lambda: pl.Series(name, [None] * rows, dtype=pl.Null),
        lambda: pl.Series(name, ["\u202e=1+1\n"] * rows), lambda: pl.Series(name, [True] * rows),
        lambda: pl.Series(name, [2**64 - 1] * rows, dtype=pl.UInt64), lambda: pl.Series(name, [-1] * rows,
        dtype=pl.Int8),
        lambda: pl.Series(name, ["a"] * rows, dtype=pl.Categorical), lambda: pl.Series(name, [10**5] * rows,
        dtype=pl.Date),
        lambda: pl.Series(name, [10**15] * rows, dtype=pl.Duration("us")),
        lambda: pl.Series(name, [10**18] * rows, dtype=pl.Datetime("ns", "UTC")),
        lambda: pl.Series(name, [-(10**9)] * rows), lambda: pl.Series(name, [10**12] * rows),
        lambda: pl.Series(name, [float("inf")] * rows), lambda: pl.Series(name, ["x" * 10_000] * rows),
    )  # fmt: skip
    match change.b % 8:
        case 0:
            frame = pl.concat([frame] * 3)
        case 1:
            frame = frame.reverse()
        case 2:
            frame = frame.with_columns(frame[name].alias(f"{name}{('', ' ', '.1', '_')[change.c % 4]}"))
        case _:
            frame = frame.with_columns(columns[change.c % len(columns)]())
    out = io.BytesIO()
    try:
        frame.write_parquet(out, metadata=metadata)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return bytewise(data, change)
    return out.getvalue()


_TEXTS: tuple[bytes, ...] = (
    b"", b"\xff\xfe", b"\xed\xa0\x80", b"\0", b"llama", b"mllama", b"lora", b"general.architecture",
    b"../x", b"x" * 70_000,
    b"\xe2\x80\xae", b"<script>", b"blk.99999999999.attn_q.weight.lora_a", b"blk.0.attn_q.weight.lora_b",
    b"blk.-1.x",
)  # fmt: skip


def odd_gguf(data: bytes, change: Change) -> bytes:
    """A text of the header, its length stated rightly: a key, a value, a name of a tensor."""
    found = []
    for place in range(24, max(len(data) - 16, 24)):
        length = struct.unpack_from("<Q", data, place)[0]
        text = data[place + 8 : place + 8 + length] if 0 < length < 80 else b""
        if text and len(text) == length and text.isascii() and text.decode().isprintable():
            found.append((place, length))
    if not found:
        return bytewise(data, change)
    place, length = found[change.a % len(found)]
    other, size = found[change.c % len(found)]
    text = _TEXTS[change.c % len(_TEXTS)] if change.b % 3 else data[other + 8 : other + 8 + size]
    return data[:place] + struct.pack("<Q", len(text)) + text + data[place + 8 + length :]


def _encoded(data: bytes, which: int) -> bytes:
    text = data.decode(errors="replace")
    return (
        b"\xef\xbb\xbf" + data, text.encode("utf-16"), text.encode("utf-32"),
        text.encode("latin-1", "replace"), data + data,
        data + b"\n\0", b"\n" * 1000 + data, data.replace(b"\n", b"\r"), data.replace(b'"', b"'"), b" ", b"",
    )[which % 11]  # fmt: skip


_FURTHER: dict[Apply, Apply] = {
    json_values: odd_values, tokenwise: odd_words, safetensors_header: odd_header,
    parquet_values: odd_columns,
    gguf_fields: odd_gguf,
}  # fmt: skip
