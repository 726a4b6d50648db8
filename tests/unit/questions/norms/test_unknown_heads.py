"""Attention weights without a map of heads are said to be so, with the reason, and never guessed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import tunescope
from tunescope.questions.norms import heads, unknown_heads
from tunescope.questions.norms.page import content

D = 16
WAY = "--heads Q/KV states them"


def model(folder: Path, shift: float, modules: dict[str, tuple[int, ...]], **config: Any) -> Path:
    draw = np.random.default_rng(0)
    tensors = {
        f"model.layers.{k}.{name}": (draw.standard_normal(s) + shift * draw.standard_normal(s)).astype("f4")
        for k in range(2)
        for name, s in modules.items()
    }
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def pair(tmp_path: Path, modules: dict[str, tuple[int, ...]], **config: Any) -> Any:
    before, after = (model(tmp_path / n, s, modules, **config) for n, s in (("base", 0.0), ("tuned", 0.1)))
    return tunescope.norms(after, base=before)


Q, QKV = "self_attn.q_proj.weight", "self_attn.qkv_proj.weight"
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 4}


@pytest.mark.parametrize(
    ("modules", "config", "why"),
    [
        ({Q: (D, D)}, {}, "no config.json states their numbers"),
        ({Q: (2 * D, D)}, HEADS | {"head_dim": 4}, "they are not divided into 4/4 heads of 4"),
        (
            {QKV: (3 * D, D)},
            HEADS | {"model_type": "made_up"},
            "the layout of model_type made_up is not known",
        ),
        ({Q: (D, D)}, HEADS | {"kv_lora_rank": 8}, "latent attention has no heads in its weights"),
    ],
)
def test_why_heads_are_not_known_is_in_the_document_the_readout_and_on_the_page(
    tmp_path: Path, modules: dict[str, tuple[int, ...]], config: dict[str, Any], why: str
) -> None:
    study = pair(tmp_path, modules, **config)
    kind = "ATTN_QKV" if QKV in modules else "ATTN_Q"
    assert "heads" not in study.tables
    assert study.readout["heads_unknown"] == {"tuned": {why: [kind]}}
    assert f"No heads known of {kind} in tuned ({why})" in study.markdown()
    (check,) = [check for check in content(study).checks if check.name == "heads"]
    assert why in check.text
    assert (WAY in check.text) == (not config)


def test_of_known_heads_and_of_models_without_attention_nothing_is_said(tmp_path: Path) -> None:
    biases_and_norms = {"self_attn.q_proj.bias": (D,), "self_attn.q_norm.weight": (4,)}
    known = pair(tmp_path, {Q: (D, D), **biases_and_norms}, **HEADS)
    assert known.tables["heads"].frame.height == 8
    assert known.readout["heads_unknown"] == {}
    (tmp_path / "mlp").mkdir()
    assert pair(tmp_path / "mlp", {"mlp.up_proj.weight": (D, D)}).readout["heads_unknown"] == {}


def test_models_of_which_the_same_is_not_known_share_a_sentence(tmp_path: Path) -> None:
    folders = [model(tmp_path / n, s, {Q: (D, D)}) for n, s in (("base", 0.0), ("a", 0.1), ("b", 0.2))]
    study = tunescope.norms(*folders[1:], base=folders[0])
    assert study.markdown().count("No heads known of") == 1
    assert "in a and b (no config.json" in study.markdown()


def test_the_config_is_read_for_a_model_and_not_for_each_of_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four weights without known heads: one look at the files for their reason."""
    looks = []

    def readable(source: Any) -> Any:
        looks.append(source.label)
        return heads.readable_config(source)

    monkeypatch.setattr(unknown_heads, "readable_config", readable)
    study = pair(tmp_path, {Q: (D, D), "self_attn.o_proj.weight": (D, D)})
    assert study.readout["heads_unknown"]["tuned"]["no config.json states their numbers"] == [
        "ATTN_O",
        "ATTN_Q",
    ]
    assert looks == ["tuned"]
