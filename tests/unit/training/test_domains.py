"""The data of a sweep: what is held out, what is left out, and that it is said."""

import json
import logging

import pytest
import torch

from tunescope.corpus import Row, Rows
from tunescope.errors import BadInput
from tunescope.lm.texts import Limits
from tunescope.training.collation import Padding
from tunescope.training.domains import read_domains, split
from tunescope.training.evaluation import held_out_loss
from tunescope.training.recipe import Recipe

from .conftest import byte_tokenizer, llama


def test_a_row_that_equals_a_held_out_one_is_not_trained_on():
    rows = Rows(tuple(Row("", text) for text in "abcabcdefg"))
    train, held = split(rows, 0.3, 64)
    assert len(held) == 3
    assert not set(train) & set(held)
    assert split(rows, 0.3, 64) == (train, held)
    assert len(split(rows, 0.3, 2)[1]) == 2


def test_what_is_left_out_is_counted_and_named_by_line(tmp_path, caplog):
    lines = [{"prompt": f"{i}", "completion": "yes"} for i in range(20)]
    lines += [
        {"prompt": "p" * 40, "completion": "cut away"},
        {"prompt": "q", "completion": "r" * 40},
        {"code": 1},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "broken\n")
    recipe = Recipe(model="x", max_length=16)
    with caplog.at_level(logging.WARNING, "tunescope"):
        domain = read_domains({"d": str(path)}, byte_tokenizer(), recipe)["d"]
    record = domain.record
    assert record["rejected_rows"] == 2
    assert [bad["line"] for bad in record["rejected"]] == [23, 24]
    assert (record["cut_rows"], record["truncated_rows"], record["rows"]) == (1, 1, 22)
    assert record["train_rows"] + record["held_out_rows"] == 21
    assert "d: 2 rows rejected (line 23" in caplog.text
    assert "1 row lost the end" in caplog.text


def test_the_loss_is_the_mean_over_tokens_whatever_the_batches(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"prompt": "p", "completion": "x" * n}) + "\n" for n in range(1, 21)))
    recipe = Recipe(model="x", max_length=64, held_out=0.5)
    domain = read_domains({"d": str(path)}, byte_tokenizer(), recipe)["d"]
    model = llama(vocab_size=259)
    model.train()
    losses = [held_out_loss(model, domain.held_out, Padding(0), size) for size in (1, 3, 10)]
    assert model.training
    assert {at.tokens for at in losses} == {sum(len(e.labels) - 1 for e in domain.held_out)}
    torch.testing.assert_close(losses[1].loss, losses[0].loss, rtol=1e-5, atol=0)
    torch.testing.assert_close(losses[2].loss, losses[0].loss, rtol=1e-5, atol=0)


def test_rows_are_cut_at_the_models_own_length(tmp_path, caplog):
    path = tmp_path / "long.jsonl"
    path.write_text("".join(json.dumps({"text": f"{i} " * 30}) + "\n" for i in range(5)))
    recipe = Recipe(model="unused", max_length=64)
    with caplog.at_level(logging.WARNING, "tunescope"):
        domain = read_domains({"a": str(path)}, byte_tokenizer(), recipe, Limits(259, 16))["a"]
    assert max(len(example.input_ids) for example in domain.train) == 16
    assert "5 rows lost the end, after 16 tokens" in caplog.text


def test_tokens_without_an_embedding_are_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"row {i}"}) + "\n" for i in range(3)))
    with pytest.raises(BadInput) as caught:
        read_domains({"a": str(path)}, byte_tokenizer(), Recipe(model="unused"), Limits(64))
    assert caught.value.slug == "token-range"
