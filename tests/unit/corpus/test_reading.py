"""Every accepted file format and column shape becomes rows; everything else is named by its line."""

import gzip
import json

import polars
import pytest

from tunescope.corpus import data_hash, read_rows
from tunescope.corpus.hub import parse_spec
from tunescope.corpus.parts import is_learned
from tunescope.corpus.rows import Row, record_of, row_of
from tunescope.corpus.unread import ignored_in
from tunescope.errors import BadInput, Missing, UsageError

SUMS = [{"prompt": "1+1=", "completion": "2"}, {"prompt": "2+2=", "completion": "4"}]


def written(path, records):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    elif path.suffix == ".json":
        path.write_text(json.dumps(records))
    elif path.suffix == ".parquet":
        polars.DataFrame(records).write_parquet(path)
    else:
        polars.DataFrame(records).write_csv(path)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet", "a.csv"])
def test_the_same_rows_come_from_every_file_format(tmp_path, name):
    rows = read_rows(written(tmp_path / name, SUMS))
    assert rows.rows == (Row("1+1=", "2"), Row("2+2=", "4"))
    assert rows.rejected == []
    assert data_hash(rows) == data_hash([Row("1+1=", "2"), Row("2+2=", "4")])


def test_fields_of_messages_that_hold_nothing_are_no_matter(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"messages": [{"role": "assistant", "content": "a", "tool_calls": [], "thinking": null}]}\n'
    )
    assert read_rows(path)[0].messages == ({"role": "assistant", "content": "a"},)


def test_gzip_is_undone(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(SUMS[0]).encode(), mtime=0))
    assert read_rows(path)[0] == Row("1+1=", "2")


@pytest.mark.parametrize(
    ("record", "row"),
    [
        ({"text": "hello"}, Row("", "hello")),
        ({"question": "Why?", "solution": "So."}, Row("Question: Why?\nAnswer:", " So.")),
        ({"question": "Why?", "answer": "So."}, Row("Question: Why?\nAnswer:", " So.")),
        (
            {"instruction": "Add", "input": "1 1", "output": "2"},
            Row("Instruction: Add\nInput: 1 1\nResponse:", " 2"),
        ),
        ({"instruction": "Greet", "output": "hi"}, Row("Instruction: Greet\nResponse:", " hi")),
        ({"prompt": "", "completion": "x", "text": "ignored"}, Row("", "x")),
    ],
)
def test_accepted_columns(tmp_path, record, row):
    assert read_rows(written(tmp_path / "a.jsonl", [record])).rows == (row,)


def test_chats_keep_their_turns(tmp_path):
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    (row,) = read_rows(written(tmp_path / "a.jsonl", [{"messages": turns}]))
    assert [dict(turn) for turn in row.messages] == turns
    (split,) = read_rows(written(tmp_path / "b.jsonl", [{"prompt": turns[:1], "completion": turns[1:]}]))
    assert split == row


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{broken", "not JSON"),
        ("[1]", "named fields"),
        ('{"text": 3}', "int, not text"),
        ('{"text": "  "}', "empty"),
        ('{"code": "x"}', "no known fields"),
        ('{"messages": [{"role": "user", "content": "hi"}]}', "no assistant turn"),
        ('{"messages": "hi"}', "list of messages"),
        ('{"messages": [{"role": "user"}]}', "must be text"),
        ('{"prompt": "a", "completion": null}', "no known fields"),
        (
            '{"messages": [{"role": "assistant", "content": "a", "reasoning_content": "b"}]}',
            "reasoning_content",
        ),
        (
            '{"messages": [{"role": "assistant", "content": "a", "tool_calls": [{"name": "f"}]}]}',
            "tool_calls",
        ),
    ],
)
def test_bad_rows_are_named_by_line(tmp_path, line, reason):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "good"}\n\n' + line + "\n")
    rows = read_rows(path)
    assert len(rows) == 1
    assert [rejected.line for rejected in rows.rejected] == [3]
    assert reason in rows.rejected[0].reason


def test_bad_csv_rows_are_named_by_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text\n"two\nlines"\nthree,four\n')
    rows = read_rows(path)
    assert rows[0].completion == "two\nlines"
    assert rows.rejected[0].line == 4


@pytest.mark.parametrize(
    ("name", "content", "slug"),
    [
        ("a.jsonl", b"", "data-no-rows"),
        ("a.json", b"", "data-empty"),
        ("a.jsonl", b'{"code": 1}\n', "data-no-rows"),
        ("a.json", b"[1, ", "data-json"),
        ("a.txt", b"plain words", "data-format"),
        ("a.jsonl", b'{"text": "\xff"}', "data-encoding"),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\n", "lfs-pointer"),
        ("a.json", b"<!DOCTYPE html><html>", "html-page"),
        ("a.jsonl", b"\n <!-- saved from --><html>login</html>", "html-page"),
        ("a.json", b"<?xml version='1.0'?><Error/>", "html-page"),
        ("a.jsonl.gz", gzip.compress(b"<html>denied</html>", mtime=0), "html-page"),
        ("a.jsonl.gz", gzip.compress(b"[" * 2**25, mtime=0), "data-bomb"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 99, mtime=0)[:-20], "data-truncated"),
        ("a.json", b'[{"text": ' + b"9" * 10**6 + b"}]", "data-json"),
        ("a.jsonl", b'{"text": ' + b"9" * 10**6 + b"}", "data-no-rows"),
        ("a.jsonl", b'{"text": 1e999}', "data-no-rows"),
        ("a.json", b"[" * 10**5, "data-json"),
        ("a.parquet", b"PAR1broken", "data-parquet"),
        ("a.jsonl.gz", b"\x1f\x8bbroken", "data-truncated"),
    ],
)
def test_files_that_hold_nothing_usable_are_refused(tmp_path, name, content, slug):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        read_rows(path)
    assert caught.value.slug == slug
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "record",
    [
        r'{"text": "\ud800"}',
        r'{"\udfff": 1}',
        r'{"prompt": "a", "completion": "\udc80b"}',
        r'{"messages": [{"role": "\ud800", "content": "a"}, {"role": "assistant", "content": "b"}]}',
        r'{"messages": [{"role": "assistant", "content": "b\ud800"}]}',
    ],
)
def test_halves_of_characters_are_rejected_with_a_reason_that_can_be_written(tmp_path, record):
    path = tmp_path / "a.jsonl"
    path.write_text(record + '\n{"text": "whole"}\n')
    rows = read_rows(path)
    assert [row.completion for row in rows] == ["whole"]
    assert rows.rejected[0].line == 1
    assert rows.rejected[0].reason.encode()


@pytest.mark.parametrize("spec", ["nowhere/rows.jsonl", "./org/name", "rows.jsonl", "/no/such/file"])
def test_what_looks_like_a_path_is_never_looked_up_on_the_hub(spec, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Missing, match="no data file"):
        read_rows(spec)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no regular file"):
        read_rows(tmp_path)


def test_hub_specifications():
    assert parse_spec("a/b") == ("a/b", None, None, "train")
    assert parse_spec("a/b@v1:cfg:test") == ("a/b", "v1", "cfg", "test")
    with pytest.raises(UsageError):
        parse_spec("a/b:c:d:e")


def test_the_hash_follows_text_and_order():
    a, b = Row("p", "c"), Row(messages=({"role": "assistant", "content": "x"},))
    assert data_hash([a, b]) != data_hash([b, a])
    assert data_hash([Row("pc", "")]) != data_hash([a])


def test_half_a_character_is_named_by_its_line(tmp_path):
    path = tmp_path / "a.jsonl"
    chat = '{"messages": [{"role": "assistant", "content": "\\udfff"}]}'
    path.write_text('{"text": "b\\u00e9"}\n{"text": "\\ud800"}\n' + chat + "\n")
    rows = read_rows(path)
    assert rows.rows == (Row("", "bé"),)
    assert [bad.line for bad in rows.rejected] == [2, 3]
    assert "half of a character" in rows.rejected[0].reason


def test_a_broken_csv_line_costs_only_itself(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('prompt,completion\na,b\n"c"d,e\nf,g\n')
    rows = read_rows(path)
    assert rows.rows == (Row("a", "b"), Row("f", "g"))
    assert [bad.line for bad in rows.rejected] == [3]


def test_a_csv_field_may_be_a_whole_document(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text\n" + "x" * 200_000 + "\nshort\n")
    rows = read_rows(path)
    assert [len(row.completion) for row in rows] == [200_000, 5]
    assert rows.rejected == []


def test_one_object_over_many_lines_is_refused_as_such(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"data": SUMS}, indent=1))
    with pytest.raises(BadInput) as caught:
        read_rows(path)
    assert caught.value.slug == "data-json"
    assert "data" in str(caught.value.found)


def _said(role, content, **more):
    return {"role": role, "content": content, **more}


CHAT = [_said("user", "hi"), _said("assistant", "yo")]


@pytest.mark.parametrize(
    ("record", "named"),
    [
        ({"messages": CHAT, "tools": [{"type": "function"}]}, "tools"),
        ({"messages": CHAT, "images": ["a.png"]}, "images"),
        ({"messages": CHAT, "loss_mask": [0, 0]}, "loss_mask"),
        ({"messages": CHAT, "system": "be brief"}, "system"),
        (
            {"prompt": "a", "completion": "b", "chat_template_kwargs": {"enable_thinking": False}},
            "chat_template",
        ),
        ({"instruction": "a", "output": "b", "history": [["q", "a"]]}, "history"),
        ({"messages": [*CHAT[:1], _said("assistant", "yo", reasoning="since")]}, "reasoning"),
        (
            {"messages": [*CHAT[:1], _said("assistant", "yo", tool_responses=[{"name": "f"}])]},
            "tool_responses",
        ),
        ({"messages": [*CHAT[:1], _said("assistant", "yo", end_turn=False)]}, "end_turn"),
        ({"messages": [*CHAT[:1], _said("assistant", "yo", recipient="browser")]}, "recipient"),
    ],
)
def test_what_changes_the_text_and_is_not_read_is_rejected_by_name(tmp_path, record, named):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "fine"}) + "\n" + json.dumps(record) + "\n")
    (bad,) = read_rows(path).rejected
    assert bad.line == 2
    assert named in bad.reason


@pytest.mark.parametrize(
    "record",
    [
        {
            "messages": CHAT,
            "tools": [],
            "images": None,
            "history": [],
            "system": "",
            "source": "web",
            "id": 3,
        },
        {"messages": [*CHAT[:1], _said("assistant", "yo", recipient="all", end_turn=True, index=2)]},
        {"text": "a picture", "image": "a.png"},
    ],
)
def test_fields_that_change_nothing_are_no_matter(tmp_path, record):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(record) + "\n")
    (row,) = read_rows(path)
    assert row.ignored == ()


def test_unknown_keys_of_messages_are_named_with_their_first_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    odd = {"messages": [_said("user", "hi", citation="p. 3"), _said("assistant", "yo", explanation="since")]}
    path.write_text("\n".join(json.dumps(record) for record in ({"messages": CHAT}, odd, odd)))
    said = ignored_in(read_rows(path))
    assert said is not None
    assert all(part in said for part in ("'citation', 'explanation'", "2 rows", "line 2"))
    assert ignored_in(read_rows(path)[:1]) is None


def test_what_the_prompt_of_a_chat_says_is_given_and_not_learned(tmp_path):
    prompt = [_said("user", "hi"), _said("assistant", "first"), _said("user", "go on")]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": prompt, "completion": [_said("assistant", "yo")]}))
    (row,) = read_rows(path)
    assert [is_learned(turn) for turn in row.messages if turn["role"] == "assistant"] == [False, True]
    assert row_of(record_of(row)) == row
