"""Chats whose contents are lists of parts are read as the template renders them, or by their joined text."""

import importlib.util
import json
from pathlib import Path

import pytest

from tunescope.corpus import Row, encode, read_rows
from tunescope.corpus.rows import data_hash, record_of, row_of

SHIPPED = Path((importlib.util.find_spec("trl") or pytest).origin or "").parent / "chat_templates"
TEMPLATES = sorted(path.stem for path in SHIPPED.glob("*.jinja"))
# They go through a list of parts; all others take plain text alone.
THROUGH = (
    "diffusion_gemma", "gemma3", "gemma4", "glm4moe", "idefics3", "lfm2_2_5", "llava_next", "muse_glimmer",
    "qwen2_5_vl", "qwen3_5", "qwen3_6", "qwen3_8", "qwen3_vl", "smolvlm",
)  # fmt: skip
# Of an answer it takes the first part alone.
FIRST_ALONE = "llava_next"
TURNS = [
    ("user", ["First ", "question?"]),
    ("assistant", ["An answer: né 🙂."]),
    ("user", ["Second?"]),
    ("assistant", ["  In two", " parts\n\nof it. "]),
]


def messages(turns):
    return [{"role": r, "content": [{"type": "text", "text": t} for t in texts]} for r, texts in turns]


def joined(turns):
    return [{"role": role, "content": "".join(texts)} for role, texts in turns]


def learned(tokenizer, example):
    pairs = zip(example.input_ids, example.labels, strict=True)
    return tokenizer.decode([token for token, label in pairs if label != -100])


@pytest.mark.parametrize("name", TEMPLATES)
def test_parts_are_what_every_template_that_trl_ships_makes_of_them(tokenizer, name):
    tokenizer.chat_template = (SHIPPED / f"{name}.jinja").read_text()
    (example,) = encode([row_of({"messages": messages(TURNS)})], tokenizer, 10_000)
    given = messages(TURNS) if name.startswith(THROUGH) else joined(TURNS)
    if name.startswith(FIRST_ALONE):
        given = messages([(role, ["".join(texts)]) for role, texts in TURNS])
    assert example.input_ids == tokenizer.apply_chat_template(given, tokenize=True)["input_ids"]
    text = learned(tokenizer, example)
    for part in ("An answer: né 🙂.", "In two", "parts\n\nof it."):
        assert part in text
    assert "question?" not in text
    assert "'text'" not in tokenizer.decode(example.input_ids)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}",
        "{% for m in messages %}<{{ m.role }}>{{ m.content | tojson }}<end>{% endfor %}",
        "{% for m in messages %}{{ '<' + m.role + '>' + m.content + '<end>' }}{% endfor %}",
        "{% for m in messages %}<{{ m.role }}>{{ m.content if m.content is string }}<end>{% endfor %}",
    ],
)
def test_a_template_without_a_way_for_parts_gets_the_joined_text(tokenizer, template):
    tokenizer.chat_template = template
    parts, plain = (
        encode([row_of({"messages": of(TURNS)})], tokenizer, 10_000)[0] for of in (messages, joined)
    )
    assert (parts.input_ids, parts.labels) == (plain.input_ids, plain.labels)


def test_what_a_template_puts_between_parts_stays_there(tokenizer):
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for p in m.content %}{{ p.text }}|{% endfor %}{% endif %}<end>{% endfor %}"
    )
    (example,) = encode([row_of({"messages": messages(TURNS)})], tokenizer, 10_000)
    assert "  In two| parts\n\nof it. |" in learned(tokenizer, example)


def test_plain_text_and_parts_stand_in_one_chat(tokenizer):
    tokenizer.chat_template = (SHIPPED / "qwen3_vl.jinja").read_text()
    mixed = [{"role": "system", "content": "Be brief."}, *messages(TURNS)]
    (example,) = encode([row_of({"messages": mixed})], tokenizer, 10_000)
    assert example.input_ids == tokenizer.apply_chat_template(mixed, tokenize=True)["input_ids"]


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ({"type": "image", "image": "cat.png"}, "type 'image'"),
        ({"type": "image_url", "image_url": {"url": "data:"}}, "type 'image_url'"),
        ({"type": "text"}, "a part without text"),
        ({"type": "text", "text": 3}, "a part without text"),
        (7, "a part that is int"),
    ],
)
def test_a_part_that_is_no_text_is_named_with_row_and_role(tmp_path, part, named):
    bad = [{"role": "user", "content": [{"type": "text", "text": "What?"}, part]}, *messages(TURNS[1:])]
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(json.dumps({"messages": m}) for m in (messages(TURNS), bad)))
    rows = read_rows(path)
    assert len(rows) == 1
    (rejected,) = rows.rejected
    assert rejected.line == 2
    assert named in rejected.reason
    assert "role 'user'" in rejected.reason


def test_empty_parts_are_nothing_to_learn(tmp_path):
    path = tmp_path / "chats.jsonl"
    empty = [{"role": "user", "content": "x"}, {"role": "assistant", "content": []}]
    path.write_text("\n".join(json.dumps({"messages": m}) for m in (messages(TURNS), empty)))
    assert "no assistant turn" in read_rows(path).rejected[0].reason


def test_parts_are_written_as_they_were_read():
    row = row_of({"messages": messages(TURNS)})
    assert record_of(row) == {"messages": messages(TURNS)}
    assert row_of(record_of(row)) == row
    assert data_hash([row]) != data_hash([Row(messages=tuple(joined(TURNS)))])
