"""Models and texts by name: causal and masked, what is missing, what is cut."""

import json

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from tunescope.corpus.encoding import IGNORED, Example
from tunescope.errors import BadInput, Missing, UsageError
from tunescope.lm.loss import predicts_next_token
from tunescope.lm.pretrained import load_model, load_tokenizer
from tunescope.lm.texts import hidden, limits_of, read_batches
from tunescope.lm.verification import said_of
from tunescope.questions.attribution.attribution import attribute_batches
from tunescope.study.finding import noticed

SIZES = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
         "num_attention_heads": 2, "max_position_embeddings": 32}  # fmt: skip


class Letters:
    """A tokenizer with a token per letter, 0 to pad with, 1 to hide with, 2 at the end."""

    pad_token_id, mask_token_id, eos_token_id, bos_token_id = 0, 1, 2, None
    all_special_ids = (0, 1, 2)

    def __call__(self, text, **_):
        return {"input_ids": [3 + (ord(letter) - 97) % 26 for letter in text]}


def masked_model(seed):
    torch.manual_seed(seed)
    return BertForMaskedLM(BertConfig(**SIZES)).eval()


def test_the_architecture_decides_causal_or_masked(tmp_path):
    """A saved model comes back as what it is, in float32 on the CPU, with the same numbers."""
    masked_model(0).save_pretrained(tmp_path / "masked")
    causal = LlamaForCausalLM(LlamaConfig(**SIZES)).bfloat16()
    causal.save_pretrained(tmp_path / "causal")
    assert not predicts_next_token(load_model(tmp_path / "masked"))
    found = load_model(tmp_path / "causal")
    assert predicts_next_token(found)
    assert found.dtype == torch.float32
    assert torch.equal(found.lm_head.weight, causal.lm_head.weight.float())
    assert load_model(tmp_path / "causal", "bfloat16").dtype == torch.bfloat16


@pytest.mark.parametrize("settings", ["null", "[1]", "3"])
def test_settings_of_a_tokenizer_that_are_none_are_refused(tmp_path, settings):
    """Valid JSON, and nothing that could be asked for code of its own."""
    masked_model(0).save_pretrained(tmp_path / "masked")
    (tmp_path / "masked" / "tokenizer_config.json").write_text(settings)
    with pytest.raises(BadInput, match="tokenizer cannot be loaded") as caught:
        load_tokenizer(tmp_path / "masked")
    assert "holds no settings" in str(caught.value)


def test_what_cannot_be_loaded_is_named(tmp_path):
    """Missing paths, broken configs, unknown dtypes; never a model with made-up weights."""
    with pytest.raises(Missing, match="not a hub lookup"):
        load_model(tmp_path / "absent")
    masked_model(0).save_pretrained(tmp_path / "masked")
    with pytest.raises(UsageError, match="int3"):
        load_model(tmp_path / "masked", "int3")
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "config.json").write_text(json.dumps({"model_type": "no-such-type"}))
    with pytest.raises(BadInput, match="cannot be loaded"):
        load_model(tmp_path / "strange")
    (tmp_path / "strange" / "config.json").write_text("{")
    with pytest.raises(BadInput, match="not a valid JSON file"):
        load_model(tmp_path / "strange")
    with pytest.raises(BadInput, match="the tokenizer cannot be loaded"):
        load_tokenizer(tmp_path / "masked")
    weights = tmp_path / "masked" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(BadInput, match="deserializing"):
        load_model(tmp_path / "masked")
    masked_model(0).bert.save_pretrained(tmp_path / "headless")
    with pytest.raises(BadInput, match="lacks") as caught:
        load_model(tmp_path / "headless")
    assert caught.value.slug == "weights-missing"


def test_how_long_a_sequence_may_be():
    """The config says it, under whatever name; a model without a config says nothing."""
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=2, n_positions=24))
    assert limits_of(gpt2.config).length == 24
    assert limits_of(masked_model(0).config).length == 32
    assert limits_of(None).length is None


def test_hidden_tokens_are_few_fixed_and_never_special():
    """15 % behind the mask token, labelled with what they were; the row and the seed decide which."""
    example = Example([5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 2], [-100] * 14, row=3)
    first = hidden(example, Letters(), seed=1)
    places = [i for i, token in enumerate(first.input_ids) if token == 1]
    assert len(places) == 2
    assert 13 not in places
    assert [first.labels[i] for i in places] == [example.input_ids[i] for i in places]
    assert sum(label != IGNORED for label in first.labels) == 2
    assert hidden(example, Letters(), seed=1).input_ids == first.input_ids
    others = [hidden(example, Letters(), seed).input_ids for seed in range(2, 6)]
    assert any(other != first.input_ids for other in others)


def test_batches_say_what_was_left_out(tmp_path):
    """Records that are no examples, answers behind the cut, texts that were shortened."""
    rows = [
        {"text": "abcdefghijkl"},
        {"prompt": "a" * 30, "completion": "b"},
        {"nothing": 1},
        {"text": "abc"},
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    batches, notices = read_batches(path, Letters(), max_length=8, batch_size=4)
    assert [tuple(b["input_ids"].shape) for b in batches] == [(2, 8)]
    assert [notice.slug for notice in notices] == ["data-rejected", "data-left-out", "data-cut"]
    assert batches[0]["attention_mask"].sum(1).tolist() == [8, 4]
    assert read_batches(path, Letters(), sequences=1)[0][0]["input_ids"].shape == (1, 13)


def test_a_masked_model_s_gain_is_attributed(tmp_path):
    """Hidden tokens predicted in place: base and tuned loss are torch's, and the cells add up."""
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in ("abcdefgh", "hgfedcbaabc", "bdfh")))
    batches, _ = read_batches(path, Letters(), masked_model(0), batch_size=2)
    base, tuned = masked_model(0), masked_model(1)
    table = attribute_batches(tuned, batches, base=base, nodes=16)
    summary = table.summary
    for model, key in ((base, "base_loss"), (tuned, "tuned_loss")):
        with torch.no_grad():
            pairs = [(model(b["input_ids"], b["attention_mask"]).logits, b["labels"]) for b in batches]
        nats = sum(
            torch.nn.functional.cross_entropy(
                x.flatten(0, 1), y.flatten(), ignore_index=-100, reduction="sum"
            )
            for x, y in pairs
        )
        assert summary[key] == pytest.approx(nats.item() / summary["tokens"], rel=1e-5)
    assert summary["tokens"] == sum(int((b["labels"] != -100).sum()) for b in batches)
    assert summary["converged"]


def test_layers_that_the_config_does_not_count_are_said_and_not_used(tmp_path):
    LlamaForCausalLM(LlamaConfig(**SIZES | {"num_hidden_layers": 3})).save_pretrained(tmp_path)
    assert said_of(load_model(tmp_path), tmp_path) == []
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    model = load_model(tmp_path)
    assert len(model.model.layers) == 2
    (notice,) = said_of(model, tmp_path)
    assert notice.slug == "layers-unused"
    assert notice.text.startswith("9 tensors of the files not used, of layers that the config")
    assert "model.layers.2.input_layernorm.weight" in notice.text
    finding = noticed("m", notice)
    assert (finding.kind, finding.severity) == ("layers_unused", "warning")


def test_a_head_that_the_model_has_no_place_for_is_noticed_and_no_warning(tmp_path):
    torch.manual_seed(0)
    BertForPreTraining(BertConfig(**SIZES)).save_pretrained(tmp_path)
    model = load_model(tmp_path)
    assert not predicts_next_token(model)
    (notice,) = said_of(model, tmp_path)
    assert notice.slug == "weights-unused"
    assert "cls.seq_relationship.bias" in notice.text
    assert noticed("m", notice).severity == "note"
