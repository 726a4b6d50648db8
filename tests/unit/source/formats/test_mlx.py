"""MLX adapters, against what their layers compute."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tunescope.errors import BadInput
from tunescope.source import open_source

RNG = np.random.default_rng(0)
STEM = "model.layers.3.self_attn.q_proj"


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def folder(tmp_path: Path, tensors: dict[str, Any], **parameters: Any) -> Path:
    save_file(tensors, tmp_path / "adapters.safetensors")
    config = {"fine_tune_type": "lora", "num_layers": 4, "lora_parameters": parameters}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    return tmp_path


def test_update_acts_as_the_layer_does(tmp_path: Path) -> None:
    a, b, x = normal(6, 2), normal(2, 5), normal(7, 6)
    source = open_source(folder(tmp_path, {f"{STEM}.lora_a": a, f"{STEM}.lora_b": b}, rank=2, scale=20.0))
    (delta,) = source.deltas
    np.testing.assert_allclose(x @ delta.open().dense().T, 20.0 * (x @ a @ b), rtol=1e-4)
    assert (source.format, delta.d_out, delta.d_in, delta.rank, delta.scale) == ("mlx", 5, 6, 2, 20.0)
    assert delta.component_name == "L3_ATTN_Q"


def test_npz_without_config(tmp_path: Path) -> None:
    a, b = normal(6, 2).astype(np.float16), normal(2, 5).astype(np.float16)
    np.savez(tmp_path / "adapters.npz", **{f"{STEM}.lora_a": a, f"{STEM}.lora_b": b})
    source = open_source(tmp_path)
    assert source.deltas[0].scale is None
    np.testing.assert_array_equal(source.deltas[0].open().dense(), (a.astype(np.float64) @ b).T)
    assert [(e.dtype, e.bytes) for e in source.coverage] == [("F16", 24), ("F16", 20)]
    assert open_source(tmp_path, scale=3.0).deltas[0].scale == 3.0


@pytest.mark.parametrize("flat", [False, True])
def test_experts_are_one_update_each(tmp_path: Path, flat: bool) -> None:
    experts, rank, d_in, d_out = 4, 2, 6, 5
    a, b = normal(experts, rank, d_in), normal(experts, d_out, rank)
    stem = "model.layers.1.mlp.switch_mlp.gate_proj"
    stored = a.reshape(experts * rank, d_in) if flat else a
    source = open_source(folder(tmp_path, {f"{stem}.lora_a": stored, f"{stem}.lora_b": b}, scale=10.0))
    assert [d.address.expert for d in source.deltas] == [0, 1, 2, 3]
    assert [d.component_name for d in source.deltas] == [f"L1_MLP_GATE_E{e}" for e in range(4)]
    for expert, delta in enumerate(source.deltas):
        np.testing.assert_allclose(
            delta.open().dense(), 10.0 * b[expert].astype(np.float64) @ a[expert], rtol=1e-12
        )
    assert {e.status for e in source.coverage} == {"used"}


def test_dora_magnitude_needs_the_base(tmp_path: Path) -> None:
    tensors = {f"{STEM}.lora_a": normal(6, 2), f"{STEM}.lora_b": normal(2, 5), f"{STEM}.m": normal(5)}
    source = open_source(folder(tmp_path, tensors, scale=1.0))
    assert source.deltas[0].method == "dora"
    assert {e.tensor: e.reason for e in source.coverage}[f"{STEM}.m"] == "DoRA magnitude, needs base"


def test_quantised_factors_are_named(tmp_path: Path) -> None:
    packed = {
        f"{STEM}.lora_a": np.zeros((2, 3), np.uint32),
        f"{STEM}.lora_b": np.zeros((5, 1), np.uint32),
        f"{STEM}.lora_a_scales": normal(2, 1),
        f"{STEM}.lora_a_biases": normal(2, 1),
    }
    other = STEM.replace("q_proj", "v_proj")
    source = open_source(
        folder(tmp_path, packed | {f"{other}.lora_a": normal(6, 2), f"{other}.lora_b": normal(2, 5)})
    )
    assert [d.component_name for d in source.deltas] == ["L3_ATTN_V"]
    assert {e.reason for e in source.coverage if e.status != "used"} == {"quantised factors"}


@pytest.mark.parametrize("scale", ["20", float("nan"), True])
def test_scale_that_is_no_number(tmp_path: Path, scale: object) -> None:
    tensors = {f"{STEM}.lora_a": normal(6, 2), f"{STEM}.lora_b": normal(2, 5)}
    with pytest.raises(BadInput, match="config-value"):
        open_source(folder(tmp_path, tensors, scale=scale))


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"lora_layers": 16}, 10.0 * 16 / 8),
        ({"num_layers": 16}, 10.0),
        ({"fine_tune_type": "lora"}, 10.0),
    ],
)
def test_an_alpha_counts_where_the_first_mlx_lm_wrote_the_config(
    tmp_path: Path, config: dict[str, Any], scale: float
) -> None:
    source = folder(tmp_path, {f"{STEM}.lora_a": normal(20, 8), f"{STEM}.lora_b": normal(8, 20)})
    stated = {**config, "lora_parameters": {"rank": 8, "alpha": 16, "scale": 10.0, "dropout": 0.0}}
    (source / "adapter_config.json").write_text(json.dumps(stated))
    assert [delta.scale for delta in open_source(source).deltas] == [scale]


def test_layers_trained_whole_are_said_to_be_weights_with_the_way_to_measure_them(tmp_path: Path) -> None:
    save_file({f"{STEM}.weight": normal(4, 4)}, tmp_path / "adapters.safetensors")
    config = {"fine_tune_type": "full", "num_layers": 4, "lora_parameters": {"rank": 8, "scale": 20.0}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match="fine_tune_type full") as caught:
        open_source(tmp_path)
    assert caught.value.slug == "full-model"
    assert "mlx_lm.fuse" in str(caught.value)
    assert "norms MERGED --base BASE" in str(caught.value)
