"""What is said of a model with several towers is said of one, or of all with their own numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

import tunescope

TOWERS = {
    "text_encoder": (
        "lora_te1_text_model_encoder_layers_{}",
        ("self_attn_q_proj", "self_attn_v_proj", "mlp_fc1"),
    ),
    "text_encoder_2": ("lora_te2_text_model_encoder_layers_{}", ("self_attn_q_proj", "self_attn_v_proj")),
    "unet": (
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_{}",
        ("attn1_to_q", "attn1_to_v", "attn2_to_v", "ff_net_2"),
    ),
}
SIZES = {"text_encoder": 0.1, "text_encoder_2": 0.2, "unet": 1.0}


@pytest.fixture
def adapter(tmp_path: Path) -> Any:
    """`adapter(seed)` makes a kohya file whose towers moved by sizes far apart."""

    def make(seed: int) -> Path:
        rng, tensors = np.random.default_rng(seed), {}
        for tower, (place, modules) in TOWERS.items():
            for layer in range(6):
                for module in modules:
                    key = f"{place.format(layer)}_{module}"
                    up = SIZES[tower] * rng.normal(size=(12, 2))
                    tensors[f"{key}.lora_down.weight"] = rng.normal(size=(2, 12)).astype(np.float32)
                    tensors[f"{key}.lora_up.weight"] = up.astype(np.float32)
                    tensors[f"{key}.alpha"] = np.array(2, np.float32)
        save_file(tensors, tmp_path / f"{seed}.safetensors")
        return tmp_path / f"{seed}.safetensors"

    return make


def test_families_are_those_of_the_tower_that_the_layers_are_of(adapter: Any) -> None:
    study = tunescope.norms(f"x={adapter(1)}")
    model, frame = study.readout["models"]["x"], study.table.frame
    metric = study.readout["metric"]
    assert model["layer_stack"] == "unet"
    for family, mean in model["family_means"].items():
        own = frame.filter((frame["stack"] == "unet") & (frame["family"] == family))
        assert mean == pytest.approx(own[metric].mean())
    for tower, mean in model["tower_means"].items():
        assert mean == pytest.approx(frame.filter(frame["stack"] == tower)[metric].mean())
    assert set(model["tower_means"]) == set(TOWERS)


def test_the_readout_names_the_towers(adapter: Any) -> None:
    text = tunescope.norms(f"x={adapter(1)}").markdown()
    assert "over all towers (text encoder " in text
    assert "MLP, attention and layers are of one: unet (x)." in text


def test_a_layer_in_focus_is_one_of_the_tower_that_is_named(adapter: Any) -> None:
    file = adapter(1)
    top = tunescope.norms(f"x={file}").readout["models"]["x"]["top_layers"][0]
    assert "rank 1 of 6 of the unet" in tunescope.norms(f"x={file}", focus_layer=top).markdown()


def test_overlap_by_layers_and_kinds_is_of_one_tower(adapter: Any) -> None:
    study = tunescope.subspace(f"a={adapter(1)}", f"b={adapter(2)}")
    (pair,) = study.readout["pairs"]
    assert pair["stack"] == "unet"
    own = study.tables["subspace_summary"].frame.filter(pl.col("stack") == "unet")
    means = own.group_by("layer").agg(pl.col("excess_output").mean()).sort("layer")["excess_output"]
    thirds = [np.mean(means[start : start + 2].to_list()) for start in (0, 2, 4)]
    np.testing.assert_allclose(pair["thirds_output"], thirds)
    assert "Of several towers these are of the one with the most weights: unet." in study.markdown()


@pytest.mark.parametrize(
    "place",
    [
        "lora_te3_encoder_block_{}_layer_0_SelfAttention",
        "text_encoder_2.encoder.block.{}.layer.0.SelfAttention",
    ],
)
def test_t5_is_called_the_t5_encoder_whichever_encoder_of_the_pipeline_it_is(
    place: str, tmp_path: Path
) -> None:
    rng, tensors = np.random.default_rng(0), {}
    for layer in range(3):
        for module in (f"lora_te1_text_model_encoder_layers_{layer}_mlp_fc1", place.format(layer)):
            key = module if module.endswith("fc1") else f"{module}{'.' if '.' in module else '_'}q"
            tensors[f"{key}.lora_down.weight"] = rng.normal(size=(2, 12)).astype(np.float32)
            tensors[f"{key}.lora_up.weight"] = rng.normal(size=(12, 2)).astype(np.float32)
            tensors[f"{key}.alpha"] = np.array(2, np.float32)
    save_file(tensors, tmp_path / "x.safetensors")
    study = tunescope.norms(tmp_path / "x.safetensors")
    assert set(study.table.frame["stack"]) == {"text_encoder", "t5"}
    assert "text encoder " in study.markdown()
    assert "T5 encoder " in study.markdown()
