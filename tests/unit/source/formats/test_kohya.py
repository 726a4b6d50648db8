"""kohya, ComfyUI and LyCORIS files, against the convolutions and products that they stand for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import tunescope
from tunescope.address import dotted
from tunescope.source import Source, open_source

RNG = np.random.default_rng(0)


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def opened(tmp_path: Path, tensors: dict[str, Any], **options: Any) -> Source:
    save_file({name: np.asarray(t) for name, t in tensors.items()}, tmp_path / "style.safetensors")
    return open_source(tmp_path / "style.safetensors", **options)


def test_linear_pair_with_alpha(tmp_path: Path) -> None:
    down, up = normal(4, 10), normal(6, 4)
    stem = "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q"
    source = opened(
        tmp_path,
        {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up, f"{stem}.alpha": np.float32(2)},
    )
    (delta,) = source.deltas
    assert (source.format, source.label) == ("kohya", "style")
    assert (delta.address.stack, delta.address.layer) == ("unet", 2)
    assert delta.address.module_type == "attentions.transformer_blocks.0.attn1.to_q"
    assert (delta.rank, delta.alpha, delta.scale) == (4, 2.0, 0.5)
    np.testing.assert_allclose(delta.open().dense(), 0.5 * up.astype(np.float64) @ down, rtol=1e-12)
    assert {entry.status for entry in source.coverage} == {"used"}


def test_scale_is_unknown_without_alpha_and_given_by_the_user(tmp_path: Path) -> None:
    tensors = {"lora_te_x.lora_down.weight": normal(2, 3), "lora_te_x.lora_up.weight": normal(3, 2)}
    assert opened(tmp_path, tensors).deltas[0].scale is None
    assert "scale-unknown" in {notice.slug for notice in opened(tmp_path, tensors).notices}
    delta = opened(tmp_path, tensors, scale=0.25).deltas[0]
    assert delta.scale == delta.open().scale == 0.25


def test_given_scale_overrides_alpha(tmp_path: Path) -> None:
    tensors = {
        "lora_te_x.lora_down.weight": normal(2, 3),
        "lora_te_x.lora_up.weight": normal(3, 2),
        "lora_te_x.alpha": np.float32(8),
    }
    assert opened(tmp_path, tensors).deltas[0].scale == 4.0
    assert opened(tmp_path, tensors, scale=1.5).deltas[0].scale == 1.5


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("tucker", [False, True])
def test_convolutions_act_as_their_product(tmp_path: Path, tucker: bool, axes: int) -> None:
    torch = pytest.importorskip("torch")
    conv = getattr(torch.nn.functional, f"conv{axes}d")
    one, three = (1,) * axes, (3,) * axes
    rank, d_in, d_out = 3, 4, 5
    down = normal(rank, d_in, *one) if tucker else normal(rank, d_in, *three)
    up, mid = normal(d_out, rank, *one), normal(rank, rank, *three)
    stem = "lora_unet_down_blocks_0_resnets_0_conv1"
    tensors = {
        f"{stem}.lora_down.weight": down,
        f"{stem}.lora_up.weight": up,
        f"{stem}.alpha": np.float32(rank),
    }
    if tucker:
        tensors[f"{stem}.lora_mid.weight"] = mid
    source = opened(tmp_path, tensors)
    (delta,) = source.deltas
    kernel = torch.from_numpy(delta.open().dense().reshape(d_out, d_in, *three))
    x = torch.from_numpy(RNG.normal(size=(1, d_in, *(6,) * axes)))
    steps = [torch.from_numpy(t.astype(np.float64)) for t in ((down, mid, up) if tucker else (down, up))]
    expected = x
    for step in steps:
        expected = conv(expected, step)
    np.testing.assert_allclose(conv(x, kernel).numpy(), expected.numpy(), rtol=1e-10, atol=1e-12)
    assert (delta.d_out, delta.d_in, delta.rank) == (d_out, d_in * 3**axes, rank)
    assert {entry.status for entry in source.coverage} == {"used"}


def test_hadamard_product(tmp_path: Path) -> None:
    a1, b1, a2, b2 = normal(6, 2), normal(2, 8), normal(6, 2), normal(2, 8)
    stem = "lora_te1_text_model_encoder_layers_3_mlp_fc1"
    source = opened(
        tmp_path,
        {f"{stem}.hada_w1_a": a1, f"{stem}.hada_w1_b": b1, f"{stem}.hada_w2_a": a2, f"{stem}.hada_w2_b": b2,
         f"{stem}.alpha": np.float32(1)},
    )  # fmt: skip
    (delta,) = source.deltas
    wide = [t.astype(np.float64) for t in (a1, b1, a2, b2)]
    np.testing.assert_allclose(
        delta.open().dense(), 0.5 * (wide[0] @ wide[1]) * (wide[2] @ wide[3]), rtol=1e-6, atol=1e-9
    )
    assert (delta.method, delta.scale, delta.component_name) == ("loha", 0.5, "L3_MLP_UP")
    assert {entry.status for entry in source.coverage} == {"used"}


def test_kronecker_product(tmp_path: Path) -> None:
    w1, a, b = normal(2, 3), normal(4, 2), normal(2, 5)
    stem = "lycoris_model_layers_0_self_attn_q_proj"
    tensors = {
        f"{stem}.lokr_w1": w1,
        f"{stem}.lokr_w2_a": a,
        f"{stem}.lokr_w2_b": b,
        f"{stem}.alpha": np.float32(4),
    }
    (delta,) = opened(tmp_path, tensors).deltas
    expected = 2.0 * np.kron(w1.astype(np.float64), a.astype(np.float64) @ b)
    np.testing.assert_allclose(delta.open().dense(), expected, rtol=1e-6, atol=1e-9)
    assert (delta.rank, delta.scale, delta.component_name) == (2, 2.0, "L0_ATTN_Q")


def test_kronecker_product_of_whole_factors_has_scale_one(tmp_path: Path) -> None:
    w1, w2 = normal(2, 3), normal(4, 5)
    tensors = {"lycoris_x.lokr_w1": w1, "lycoris_x.lokr_w2": w2, "lycoris_x.alpha": np.float32(10)}
    (delta,) = opened(tmp_path, tensors).deltas
    np.testing.assert_allclose(delta.open().dense(), np.kron(w1.astype(np.float64), w2), rtol=1e-6)


def test_whole_difference(tmp_path: Path) -> None:
    diff = normal(4, 3, 2, 2)
    source = opened(
        tmp_path, {"diffusion_model.blocks.0.x.diff": diff, "diffusion_model.blocks.0.x.diff_b": normal(4)}
    )
    np.testing.assert_array_equal(source.deltas[0].open().dense(), diff.reshape(4, 12))
    assert [e.reason for e in source.coverage if e.status != "used"] == ["bias, needs base"]


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0, 3, 1, 1)])
def test_a_whole_difference_without_an_element_is_left_out_and_said(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    stem = "diffusion_model.blocks.0"
    source = opened(tmp_path, {f"{stem}.x.diff": np.ones(shape, np.float32), f"{stem}.y.diff": normal(4, 3)})
    assert [delta.tensors for delta in source.deltas] == [(f"{stem}.y.diff",)]
    assert [notice.slug for notice in source.notices] == ["empty-tensor"]


@pytest.mark.parametrize(
    "name",
    [
        "dora_scale", "lora_magnitude_vector", "lora_magnitude_vector.weight",
        "lora_magnitude_vector.default", "lora_magnitude_vector.default.weight", "magnitude",
        "lora_magnitude", "dora_magnitude",
    ],
)  # fmt: skip
def test_dora_is_the_directional_part_and_says_so(tmp_path: Path, name: str) -> None:
    stem = "lora_unet_mid_block_attentions_0_proj_in"
    source = opened(
        tmp_path,
        {f"{stem}.lora_down.weight": normal(2, 3), f"{stem}.lora_up.weight": normal(3, 2),
         f"{stem}.alpha": np.float32(2), f"{stem}.{name}": normal(3, 1)},
    )  # fmt: skip
    (delta,) = source.deltas
    assert delta.method == "dora"
    assert "needs the base" in delta.status
    assert [e.reason for e in source.coverage if e.status != "used"] == ["DoRA magnitude, needs base"]


def test_flattened_names_of_a_text_encoder_come_back() -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    config = transformers.CLIPTextConfig(
        hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, vocab_size=50
    )
    with torch.device("meta"):
        model = transformers.CLIPTextModel(config)
    names = [n for n, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    assert len(names) == 12
    for name in names:
        assert dotted("lora_te1_" + name.replace(".", "_")) == "text_encoder." + name


@pytest.mark.parametrize(
    "name",
    [
        "down_blocks.2.attentions.1.transformer_blocks.0.attn2.to_out.0",
        "up_blocks.3.resnets.2.time_emb_proj",
        "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj",
        "up_blocks.1.upsamplers.0.conv",
        "down_blocks.0.resnets.0.conv_shortcut",
        "time_embedding.linear_1",
        "conv_in",
    ],
)
def test_flattened_names_of_a_unet_come_back(name: str) -> None:
    assert dotted("lora_unet_" + name.replace(".", "_")) == "unet." + name


@pytest.mark.parametrize(
    ("flat", "name"),
    [
        ("lora_unet_input_blocks_8_1_transformer_blocks_9_attn1_to_k",
         "unet.down_blocks.2.attentions.1.transformer_blocks.9.attn1.to_k"),
        ("lora_unet_input_blocks_3_0_op", "unet.down_blocks.0.downsamplers.0.conv"),
        ("lora_unet_middle_block_1_proj_in", "unet.mid_block.attentions.0.proj_in"),
        ("lora_unet_middle_block_2_in_layers_2", "unet.mid_block.resnets.1.conv1"),
        ("lora_unet_output_blocks_2_1_proj_out", "unet.up_blocks.0.attentions.2.proj_out"),
        ("lora_unet_output_blocks_5_0_emb_layers_1", "unet.up_blocks.1.resnets.2.time_emb_proj"),
        ("lora_unet_output_blocks_2_2_conv", "unet.up_blocks.0.upsamplers.0.conv"),
        ("lora_unet_input_blocks_0_0", "unet.conv_in"),
        ("lora_unet_double_blocks_7_img_attn_qkv", "diffusion_model.double_blocks.7.img_attn.qkv"),
        ("lora_transformer_single_transformer_blocks_3_attn_to_q",
         "transformer.single_transformer_blocks.3.attn.to_q"),
    ],
)  # fmt: skip
def test_numbered_blocks_get_their_diffusers_names(flat: str, name: str) -> None:
    assert dotted(flat) == name


def test_factors_under_pefts_names_beside_whole_differences_are_all_read(tmp_path: Path) -> None:
    a, b, whole = normal(4, 10), normal(6, 4), normal(6, 10)
    stem = "diffusion_model.blocks"
    source = opened(
        tmp_path,
        {f"{stem}.0.self_attn.q.lora_A.weight": a, f"{stem}.0.self_attn.q.lora_B.weight": b,
         f"{stem}.0.self_attn.q.diff_b": normal(6), f"{stem}.1.self_attn.q.diff": whole,
         f"{stem}.0.norm3.diff": normal(6), f"{stem}.0.norm_q.set_weight": normal(6),
         f"{stem}.1.self_attn.q.reshape_weight": np.array([6, 10], np.float32)},
    )  # fmt: skip
    found = {(d.address.layer, d.address.module_type): d.open().dense() for d in source.deltas}
    np.testing.assert_allclose(found[0, "self_attn.q"], b.astype(np.float64) @ a, rtol=1e-12)
    np.testing.assert_allclose(found[1, "self_attn.q"], whole, rtol=1e-12)
    assert not [notice for notice in source.notices if notice.slug == "not_understood"]
    assert len({entry.reason for entry in source.coverage if entry.status != "used"}) == 4


@pytest.mark.parametrize("kernel", [(3,), (3, 2), (2, 3, 2)])
def test_kronecker_product_of_a_whole_kernel_pairs_axes_from_the_left(
    kernel: tuple[int, ...], tmp_path: Path
) -> None:
    w1, w2 = normal(2, 3), normal(4, 5, *kernel)
    tensors = {"lycoris_x.lokr_w1": w1, "lycoris_x.lokr_w2": w2, "lycoris_x.alpha": np.float32(1)}
    (delta,) = opened(tmp_path, tensors).deltas
    wanted = np.kron(w1.astype(np.float64).reshape(2, 3, *(1 for _ in kernel)), w2)
    np.testing.assert_allclose(delta.open().dense(), wanted.reshape(8, -1), rtol=1e-6)


@pytest.mark.parametrize("kernel", [(3,), (3, 2), (2, 3, 2)])
def test_tucker_cores_of_products_have_one_kernel_axis_to_three(
    kernel: tuple[int, ...], tmp_path: Path
) -> None:
    t1, t2 = normal(2, 2, *kernel), normal(2, 2, *kernel)
    a1, b1, a2, b2 = normal(2, 6), normal(2, 4), normal(2, 6), normal(2, 4)
    stem = "lycoris_x.hada_"
    tensors = {
        f"{stem}t1": t1, f"{stem}w1_a": a1, f"{stem}w1_b": b1, f"{stem}t2": t2, f"{stem}w2_a": a2,
        f"{stem}w2_b": b2, "lycoris_x.alpha": np.float32(2),
    }  # fmt: skip
    (delta,) = opened(tmp_path, tensors).deltas
    whole = [
        np.einsum("pq...,po,qi->oi...", *(t.astype(np.float64) for t in three))
        for three in ((t1, a1, b1), (t2, a2, b2))
    ]
    np.testing.assert_allclose(delta.open().dense(), (whole[0] * whole[1]).reshape(6, -1), atol=1e-12)


@pytest.mark.parametrize("kind", ["set_weight", "reshape_weight", "diff_b", "diff"])
def test_what_is_no_update_of_a_matrix_is_said_in_a_finding(tmp_path: Path, kind: str) -> None:
    stem = "diffusion_model.blocks.0"
    tensors = {f"{stem}.attn.q.lora_down.weight": normal(2, 8), f"{stem}.attn.q.lora_up.weight": normal(8, 2)}
    save_file({**tensors, f"{stem}.norm3.{kind}": normal(8)}, tmp_path / "style.safetensors")
    study = tunescope.check(tmp_path / "style.safetensors", scale={"style": 1.0})
    (finding,) = [finding for finding in study.findings if finding.kind == "left_out"]
    assert f"{stem}.norm3.{kind}" in finding.text
