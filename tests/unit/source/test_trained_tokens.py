"""Tokens trained on their own: the rows that PEFT's merge changes in the table, and no others."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import tunescope
from tunescope.errors import BadInput

TABLE = np.random.default_rng(0).standard_normal((32, 16)).astype(np.float32)
ROWS = np.random.default_rng(1).standard_normal((2, 16)).astype(np.float32)
EMBED = "model.embed_tokens"


def base(folder: Path) -> Path:
    folder.mkdir()
    save_file({f"{EMBED}.weight": TABLE}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "tie_word_embeddings": True}))
    return folder


def adapter(folder: Path, key: str, **config: Any) -> Path:
    folder.mkdir()
    save_file({f"base_model.model.{key}": ROWS}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


LORA = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}
IN_LORA, ALONE = f"{EMBED}.token_adapter.trainable_tokens_delta", f"{EMBED}.trainable_tokens_delta"


@pytest.mark.parametrize(
    ("key", "config"),
    [
        (IN_LORA, LORA | {"trainable_token_indices": [7, 3]}),
        (IN_LORA, LORA | {"trainable_token_indices": {"embed_tokens": [7, 3], "lm_head": [1]}}),
        (
            ALONE,
            {"peft_type": "TRAINABLE_TOKENS", "token_indices": [7, 3], "target_modules": ["embed_tokens"]},
        ),
    ],
    ids=["list", "by module", "alone"],
)
def test_trained_tokens_are_rows_against_theirs_in_the_base(
    key: str, config: dict[str, Any], tmp_path: Path
) -> None:
    study = tunescope.norms(adapter(tmp_path / "a", key, **config), base=base(tmp_path / "base"))
    row = study.table.frame.row(0, named=True)
    change = ROWS.astype(float) - TABLE[[7, 3]].astype(float)
    assert row["frobenius_norm"] == pytest.approx(np.linalg.norm(change), rel=1e-9)
    assert row["relative_norm"] == pytest.approx(np.linalg.norm(change) / np.linalg.norm(TABLE[[7, 3]]))
    assert (row["d_out"], row["d_in"], row["changed_fraction"]) == (16, 2, 1.0)
    assert row["status"] == "the rows of 2 trained tokens, of 32; all numbers are of these rows"
    ledger = study.tables["coverage"].frame
    assert ledger.filter(ledger["tensor"] == f"base_model.model.{key}")["status"].to_list() == ["used"]


@pytest.mark.parametrize("said", [[7], [7, 99], [7, -1], "all", [True, 3]])
def test_tokens_that_are_not_those_of_the_rows_are_refused(said: Any, tmp_path: Path) -> None:
    place = adapter(tmp_path / "a", IN_LORA, **LORA, trainable_token_indices=said)
    with pytest.raises(BadInput) as caught:
        tunescope.norms(place, base=base(tmp_path / "base"))
    assert caught.value.slug == "other-base"


def test_peft_puts_these_rows_in_the_table(tmp_path: Path) -> None:
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlamaConfig(vocab_size=32, num_key_value_heads=2, **sizes)
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(tmp_path / "base")
    before = model.get_input_embeddings().weight.detach().double().numpy().copy()
    tuned = peft.get_peft_model(
        model, peft.LoraConfig(r=2, target_modules=["q_proj"], trainable_token_indices=[3, 7])
    )
    state = {n: p for n, p in tuned.named_parameters() if "trainable_tokens" in n}
    next(iter(state.values())).data.add_(0.25)
    tuned.save_pretrained(tmp_path / "adapter")
    after = tuned.merge_and_unload().get_input_embeddings().weight.detach().double().numpy()
    frame = tunescope.norms(tmp_path / "adapter", base=tmp_path / "base").table.frame
    row = frame.filter(frame["family"] == "embedding").row(0, named=True)
    assert row["frobenius_norm"] == pytest.approx(np.linalg.norm(after - before), rel=1e-6)
