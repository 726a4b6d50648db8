"""Factor pairs under names that nobody wrote down."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tunescope.errors import BadInput
from tunescope.source import open_source
from tunescope.source import selection as compare

RNG = np.random.default_rng(0)


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("inner", "outer", "module"),
    [
        ("w_a_000", "w_b_000", "w_000"),
        ("layers.3.q_proj.A", "layers.3.q_proj.B", "q_proj"),
        ("layers.3.q_proj.lora.a", "layers.3.q_proj.lora.b", "q_proj"),
        ("blocks.3.attn.qkv.down.weight", "blocks.3.attn.qkv.up.weight", "attn.qkv"),
        ("layers.3.v_proj.loraA", "layers.3.v_proj.loraB", "v_proj"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_pairs_are_found_and_multiplied_the_right_way(
    tmp_path: Path, inner: str, outer: str, module: str, turned: bool
) -> None:
    a, b = normal(2, 9), normal(7, 2)
    save_file(
        {inner: a.T.copy() if turned else a, outer: b.T.copy() if turned else b}, tmp_path / "x.safetensors"
    )
    source = open_source(tmp_path / "x.safetensors")
    (delta,) = source.deltas
    assert source.format == "factor-pairs"
    assert delta.address.module_type == module
    assert delta.address.layer == (3 if "3" in inner else None)
    np.testing.assert_allclose(delta.open().dense(), b.astype(np.float64) @ a)
    assert delta.scale is None


def test_what_stands_alone_is_named(tmp_path: Path) -> None:
    tensors = {"w_a_0": normal(2, 9), "w_b_0": normal(7, 2), "w_a_1": normal(2, 9), "head": normal(3, 3)}
    save_file(tensors, tmp_path / "x.safetensors")
    source = open_source(tmp_path / "x.safetensors")
    reasons = {e.tensor: e.reason for e in source.coverage if e.status != "used"}
    assert "incomplete" in reasons["w_a_1"]
    assert reasons["head"] == "not understood"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("model.layers.0.mlp.down_proj.weight", "model.layers.0.mlp.up_proj.weight"),
        ("model.layers.0.self_attn.q_a_proj.weight", "model.layers.0.self_attn.q_b_proj.weight"),
        ("down_blocks.0.attentions.0.proj_in.weight", "up_blocks.0.attentions.0.proj_in.weight"),
    ],
)
def test_layers_of_a_whole_model_are_no_pairs(tmp_path: Path, one: str, other: str) -> None:
    save_file({one: normal(2, 9), other: normal(9, 2)}, tmp_path / "x.safetensors")
    with pytest.raises(BadInput, match="0 of 2 keys recognised"):
        open_source(tmp_path / "x.safetensors")


def test_peft_names_without_a_config_are_read_with_a_given_scale(tmp_path: Path) -> None:
    a, b = normal(2, 9), normal(7, 2)
    stem = "base_model.model.model.layers.0.self_attn.q_proj"
    save_file(
        {f"{stem}.lora_A.weight": a, f"{stem}.lora_B.weight": b}, tmp_path / "adapter_model.safetensors"
    )
    (delta,) = open_source(tmp_path, scale=0.5).deltas
    assert delta.component_name == "L0_ATTN_Q"
    np.testing.assert_allclose(delta.open().dense(), 0.5 * b.astype(np.float64) @ a)


def test_a_scale_given_for_the_files_own_label_is_not_called_unknown(tmp_path: Path) -> None:
    save_file({"w_a_0": normal(2, 9), "w_b_0": normal(7, 2)}, tmp_path / "x.safetensors")
    (silent,) = compare.open_labelled([tmp_path / "x.safetensors"])
    assert [notice.slug for notice in silent.notices] == ["scale-unknown"]
    (given,) = compare.open_labelled([tmp_path / "x.safetensors"], {"x": 1.0})
    assert given.notices == ()
    assert given.deltas[0].scale == 1.0
