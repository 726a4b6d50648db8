"""JSON text that cannot be used is named, whatever is wrong with it."""

import json
import math
from pathlib import Path

import pytest

from tunescope.documents import DocumentError, parse_json
from tunescope.errors import BadInput, Missing
from tunescope.source.files.documents import read_object
from tunescope.yaml_text import parse_yaml


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"\xff{}", "not UTF-8"),
        (b'{"a": }', "line 1 column 7"),
        (b"[" * 100_000, "nested"),
        (rb'{"a": "\ud800"}', "half of a character"),
        (rb'{"\udfff": 1}', "half of a character"),
        (b"", "line 1"),
    ],
)
def test_each_kind_of_unusable_text_says_what_it_is(text: bytes, said: str) -> None:
    with pytest.raises(DocumentError, match=said):
        parse_json(text)


def test_a_whole_pair_of_surrogates_and_a_byte_order_mark_are_fine() -> None:
    assert parse_json('\ufeff{"a": "\\ud83d\\ude00"}'.encode()) == {"a": "😀"}


def test_a_key_given_twice_is_refused_where_asked_for() -> None:
    assert parse_json('{"r": 1, "r": 2}') == {"r": 2}
    with pytest.raises(DocumentError, match="'r' stands there twice"):
        parse_json('{"r": 1, "r": 2}', each_key_once=True)


def test_a_whole_number_beyond_64_bits_is_the_float_that_it_would_be_with_an_exponent() -> None:
    assert parse_json(f"[1{'0' * 400}, -1{'0' * 25}, 123456789012345678]") == [
        math.inf,
        -1e25,
        123456789012345678,
    ]


def test_ordinary_documents_are_read_as_json_reads_them() -> None:
    text = json.dumps({"a": [1, -2.5e300, None, True, "é"], "b": {"c": 2**53}})
    assert parse_json(text) == json.loads(text)


@pytest.mark.parametrize("content", ["[1]", "5", "", '{"a": '])
def test_a_file_without_an_object_is_refused_with_its_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(BadInput) as caught:
        read_object(path, "bad-json", "the file")
    assert caught.value.slug == "bad-json"
    assert str(path) in str(caught.value.file)
    assert caught.value.expected


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Missing):
        read_object(tmp_path / "absent.json", "bad-json", "the file")


@pytest.mark.parametrize(
    "text",
    [
        "!!bool 2", "!!int ''", "!!int 0x", "!!float ''", "!!timestamp x", "!!timestamp 2026-13-40",
        "2026-13-40", "? !!bool x\n: 1", "[" * 100_000, "a: [", "!!python/object/apply:os.getcwd []",
        "!x 1", "&a [*a, *a]\n---\n1",
    ],
)  # fmt: skip
def test_yaml_whose_values_are_not_as_tagged_is_named(text: str) -> None:
    with pytest.raises(DocumentError):
        parse_yaml(text)


def test_yaml_refuses_floods_of_aliases_and_keys_given_twice() -> None:
    assert parse_yaml("a: 1\na: 2\n2: x") == {"a": 2, 2: "x"}
    with pytest.raises(DocumentError, match="a is given twice"):
        parse_yaml("a: 1\na: 2", each_key_once=True)
    with pytest.raises(DocumentError, match="more than 20 aliases"):
        parse_yaml("a: &a [1]\nb: [" + "*a, " * 40 + "]")
