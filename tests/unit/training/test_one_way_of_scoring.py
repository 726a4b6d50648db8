"""`finetune`, `importance` and `attribute` measure one loss over the same tokens."""

import json
import logging

import pytest

from tunescope import attribute, importance
from tunescope.corpus import read_rows
from tunescope.errors import BadInput
from tunescope.lm.texts import Limits, encoded
from tunescope.training.fine_tuning import finetune
from tunescope.training.recipe import Recipe

from .conftest import byte_tokenizer, llama

TOKENS = 64


@pytest.fixture(scope="module", params=[16, 256])
def sweep(request, tmp_path_factory):
    """A sweep over a model of 16 positions, shorter than most rows, and over one of 256; and its log."""
    root = tmp_path_factory.mktemp("sweep")
    llama(vocab_size=259, max_position_embeddings=request.param).save_pretrained(root / "model")
    byte_tokenizer().save_pretrained(root / "model")
    rows = [{"text": f"word {a} and {a * 7 % 11}" + " again" * (a % 4)} for a in range(30)]
    (root / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"max_steps": 2, "batch_size": 3, "accumulate": 1, "rank": 2, "max_length": TOKENS}
    recipe = Recipe(model=str(root / "model"), quantize="none", held_out=0.3, **options)
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("tunescope").addHandler(handler)
    runs = finetune(recipe, {"words": str(root / "words.jsonl")}, root / "runs", rates=[1e-2])
    logging.getLogger("tunescope").removeHandler(handler)
    return root, runs[0], request.param < TOKENS, records


def test_the_three_give_one_loss_over_the_same_tokens(sweep):
    root, run, cut, _ = sweep
    data, model = str(root / "runs" / "held_out" / "words.jsonl"), str(root / "model")
    options = {"max_length": TOKENS, "device": "cpu"}
    scored = importance(model, data, method="magnitude", layer_importance=False, **options)
    attributed = attribute(run.folder / "adapter", model, data, **options)
    summary, losses = scored.readout["summary"], run.record["losses"]["words"]
    assert losses["tokens"] == summary["tokens"] == attributed.readout["tokens"]
    assert summary["loss"] == pytest.approx(losses["before"], rel=1e-6)
    assert attributed.readout["base_loss"] == pytest.approx(losses["before"], rel=1e-6)
    assert attributed.readout["tuned_loss"] == pytest.approx(losses["after"], rel=1e-6)
    for study in (scored, attributed):
        assert any(finding.kind == "model_length" for finding in study.findings) == cut


def test_a_sweep_says_that_rows_were_cut_at_the_models_length(sweep):
    *_, cut, said = sweep
    assert any("the model takes 16 tokens" in text for text in said) == cut


def test_held_out_rows_are_written_and_were_not_trained_on(sweep):
    root, run, _, _ = sweep
    held = read_rows(root / "runs" / "held_out" / "words.jsonl")
    record = run.record["data"]["words"]
    assert len(held) == record["held_out_rows"]
    everything = list(read_rows(root / "words.jsonl"))
    assert all(row in everything for row in held)
    assert record["train_rows"] + len(held) == len(everything)


def test_tokens_that_the_model_does_not_know_are_refused(data_files):
    with pytest.raises(BadInput, match="token-range"):
        encoded(read_rows(data_files["words"]).rows, byte_tokenizer(), TOKENS, Limits(vocabulary=64))
