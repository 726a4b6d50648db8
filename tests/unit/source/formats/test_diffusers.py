"""diffusers files, old and new."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tunescope.source import Source, open_source

RNG = np.random.default_rng(0)
DOWN, UP = RNG.normal(size=(2, 5)).astype(np.float32), RNG.normal(size=(4, 2)).astype(np.float32)
BLOCK = "unet.up_blocks.1.attentions.0.transformer_blocks.0.attn2"


def opened(tmp_path: Path, tensors: dict[str, Any], **metadata: str) -> Source:
    save_file(tensors, tmp_path / "pytorch_lora_weights.safetensors", metadata=metadata or None)
    return open_source(tmp_path)


@pytest.mark.parametrize(
    ("down", "up", "module"),
    [
        (f"{BLOCK}.processor.to_q_lora.down.weight", f"{BLOCK}.processor.to_q_lora.up.weight", "attn2.to_q"),
        (
            f"{BLOCK}.processor.to_out_lora.down.weight",
            f"{BLOCK}.processor.to_out_lora.up.weight",
            "attn2.to_out.0",
        ),
        (f"{BLOCK}.to_k.lora.down.weight", f"{BLOCK}.to_k.lora.up.weight", "attn2.to_k"),
        (f"{BLOCK}.to_v.lora_A.weight", f"{BLOCK}.to_v.lora_B.weight", "attn2.to_v"),
        (f"{BLOCK}.to_v.lora_A.default_0.weight", f"{BLOCK}.to_v.lora_B.default_0.weight", "attn2.to_v"),
        (
            f"{BLOCK}.to_v.lora_linear_layer.down.weight",
            f"{BLOCK}.to_v.lora_linear_layer.up.weight",
            "attn2.to_v",
        ),
    ],
)
def test_every_spelling_of_a_unet_pair(tmp_path: Path, down: str, up: str, module: str) -> None:
    source = opened(tmp_path, {down: DOWN, up: UP})
    (delta,) = source.deltas
    assert source.format == "diffusers"
    assert (delta.address.stack, delta.address.layer) == ("unet", 16)
    assert delta.address.module_type == f"attentions.transformer_blocks.0.{module}"
    assert delta.scale is None
    np.testing.assert_allclose(delta.open().dense(), UP.astype(np.float64) @ DOWN)
    assert {entry.status for entry in source.coverage} == {"used"}


@pytest.mark.parametrize(
    ("stem", "component"),
    [
        ("text_encoder.text_model.encoder.layers.2.self_attn.to_out_lora", "L2_ATTN_O"),
        ("text_encoder.text_model.encoder.layers.2.self_attn.q_proj.lora_linear_layer", "L2_ATTN_Q"),
    ],
)
def test_text_encoder_pairs(tmp_path: Path, stem: str, component: str) -> None:
    source = opened(tmp_path, {f"{stem}.down.weight": DOWN, f"{stem}.up.weight": UP})
    assert [(d.address.stack, d.component_name) for d in source.deltas] == [("text_encoder", component)]


def test_alpha_tensor_gives_the_scale(tmp_path: Path) -> None:
    tensors = {f"{BLOCK}.to_q.lora.down.weight": DOWN, f"{BLOCK}.to_q.lora.up.weight": UP}
    source = opened(tmp_path, tensors | {f"{BLOCK}.to_q.alpha": np.ones((), np.float32)})
    assert (source.deltas[0].alpha, source.deltas[0].scale) == (1.0, 0.5)
    assert {entry.status for entry in source.coverage} == {"used"}


def test_metadata_gives_the_scale_by_its_patterns(tmp_path: Path) -> None:
    tensors = {
        f"{BLOCK}.{module}.lora_{factor}.weight": value
        for module in ("to_q", "to_k", "to_v")
        for factor, value in (("A", DOWN), ("B", UP))
    }
    said = {
        "unet.r": 2,
        "unet.lora_alpha": 6,
        "unet.alpha_pattern": {"to_k": 1},
        "unet.rank_pattern": {".*attn2.to_v": 3},
    }
    source = opened(tmp_path, tensors, lora_adapter_metadata=json.dumps(said))
    assert {d.address.module_type[-4:]: d.scale for d in source.deltas} == {
        "to_q": 3.0,
        "to_k": 0.5,
        "to_v": 2.0,
    }


def test_metadata_with_rank_stabilised_scale(tmp_path: Path) -> None:
    tensors = {"transformer.x.lora_A.weight": DOWN, "transformer.x.lora_B.weight": UP}
    said = {"transformer.r": 4, "transformer.lora_alpha": 6, "transformer.use_rslora": True}
    assert opened(tmp_path, tensors, lora_adapter_metadata=json.dumps(said)).deltas[0].scale == 3.0


def test_broken_metadata_is_noticed(tmp_path: Path) -> None:
    tensors = {"transformer.x.lora_A.weight": DOWN, "transformer.x.lora_B.weight": UP}
    source = opened(tmp_path, tensors, lora_adapter_metadata="{")
    assert source.deltas[0].scale is None
    assert "bad-metadata" in {notice.slug for notice in source.notices}


def test_two_stacks_in_one_file_have_unique_names(tmp_path: Path) -> None:
    tensors = {}
    for stem in ("text_encoder", "text_encoder_2"):
        name = f"{stem}.text_model.encoder.layers.0.self_attn.q_proj"
        tensors |= {f"{name}.lora_A.weight": DOWN, f"{name}.lora_B.weight": UP}
    names = [delta.component_name for delta in opened(tmp_path, tensors).deltas]
    assert names == ["TEXT_ENCODER_L0_ATTN_Q", "TEXT_ENCODER_2_L0_ATTN_Q"]


def test_lora_bias_and_half_a_pair_are_accounted_for(tmp_path: Path) -> None:
    tensors = {
        "transformer.x.lora_A.weight": DOWN,
        "transformer.x.lora_B.weight": UP,
        "transformer.x.lora_B.bias": np.zeros(4, np.float32),
        "transformer.y.lora_A.weight": DOWN,
    }
    source = opened(tmp_path, tensors)
    reasons = {entry.tensor: entry.reason for entry in source.coverage if entry.status != "used"}
    assert reasons["transformer.x.lora_B.bias"] == "bias, needs base"
    assert "incomplete" in reasons["transformer.y.lora_A.weight"]
    assert "half_saved" in {notice.slug for notice in source.notices}


def test_blocks_of_two_kinds_never_share_an_address(tmp_path: Path) -> None:
    stems = [
        "transformer.transformer_blocks.3.attn.to_q",
        "transformer.single_transformer_blocks.3.attn.to_q",
        "transformer.refiner_blocks.3.attn.to_q",
    ]
    tensors = {f"{stem}.lora_{f}.weight": t for stem in stems for f, t in (("A", DOWN), ("B", UP))}
    deltas = opened(tmp_path, tensors).deltas
    assert len({delta.address for delta in deltas}) == 3
    assert {delta.address.layer for delta in deltas} == {3}
    assert len({delta.component_name for delta in deltas}) == 3


@pytest.mark.parametrize(("down", "up"), [((), ()), ((2, 5), (4,)), ((5,), (4, 2))])
def test_factors_of_fewer_than_two_axes_are_left_out_by_name(tmp_path, down, up):
    factors = {
        "unet.y.lora_A.weight": np.ones(down, np.float32),
        "unet.y.lora_B.weight": np.ones(up, np.float32),
    }
    whole = {f"{BLOCK}.to_k.lora.down.weight": DOWN, f"{BLOCK}.to_k.lora.up.weight": UP}
    source = opened(tmp_path, factors | whole)
    assert len(source.deltas) == 1
    left = {entry.tensor: entry.reason for entry in source.coverage if entry.status != "used"}
    assert set(left) == set(factors)
    assert all("two axes" in reason for reason in left.values())
