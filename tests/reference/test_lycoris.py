"""OFT, BOFT, GLoRA and DoRA of LyCORIS and sd-scripts beside their base, against what those merge."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

import tunescope
from tunescope.delta import Delta
from tunescope.errors import BadInput
from tunescope.source.against import opener
from tunescope.source.opened import Source
from tunescope.source.whole import open_whole

Numbers = NDArray[np.float32]
FLAT = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
DOTTED = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"


def ramp(*shape: int) -> Numbers:
    """Numbers without a pattern that every machine makes alike."""
    count = int(np.prod(shape))
    return (0.3 * np.sin(1.7 * np.arange(1, count + 1))).reshape(shape).astype(np.float32)


def base_weight(*shape: int) -> Numbers:
    return np.cos(0.9 * np.arange(int(np.prod(shape)))).reshape(shape).astype(np.float32)


def beside(tmp_path: Path, weight: Numbers, parameters: dict[str, Any], flat: str = FLAT) -> Source:
    (tmp_path / "base" / "unet").mkdir(parents=True, exist_ok=True)
    file = tmp_path / "base" / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({DOTTED: weight, "conv_in.weight": ramp(3, 2, 1, 1)}, file)
    save_file({f"{flat}.{k}": np.asarray(v) for k, v in parameters.items()}, tmp_path / "x.safetensors")
    (source,) = opener(open_whole(tmp_path / "base"))(str(tmp_path / "x.safetensors"))
    return source


def only(source: Source) -> Delta:
    (delta,) = source.deltas
    assert (delta.status, delta.scale) == ("ok", 1.0)
    assert {entry.status for entry in source.coverage} == {"used"}
    assert source.notices == ()
    return delta


# The first six numbers of ΔW and its norm, from the merge of lycoris-lora 4.1.3 (of LoHa: from what its
# forward adds, since its merge applies the scale twice): shape of W, parameters, numbers.
LORA = {"lora_up.weight": ramp(5, 2, 1, 1), "lora_down.weight": ramp(2, 4, 3, 3), "alpha": np.float32(3)}
LOHA = {
    "hada_w1_a": ramp(5, 2), "hada_w1_b": ramp(2, 4), "hada_w2_a": ramp(5, 2), "hada_w2_b": ramp(2, 4),
    "alpha": np.float32(3),
}  # fmt: skip
MERGED: dict[str, tuple[tuple[int, ...], dict[str, Any], list[float]]] = {
    "oft": (
        (6, 4), {"oft_blocks": ramp(3, 2, 2), "alpha": np.int64(0)},
        [0.268903, 0.033165, -0.227672, -0.316211, 0.456236, 0.256658, 1.228664],
    ),
    "oft, bounded and rescaled": (
        (6, 4), {"oft_blocks": ramp(3, 2, 2), "rescale": 1 + ramp(6, 1), "alpha": np.float32(0.05)},
        [0.558971, 0.228542, -0.274843, -0.570232, 0.342351, 0.174844, 1.198299],
    ),
    "boft": (
        (8, 3), {"oft_blocks": ramp(3, 4, 2, 2), "alpha": np.float32(0)},
        [-1.031161, -0.821188, 0.010244, 0.640014, 0.785597, 0.336656, 2.80178],
    ),
    "boft of a convolution": (
        (8, 2, 3, 3),
        {"oft_blocks": ramp(2, 2, 4, 4), "rescale": 1 + ramp(8, 1, 1, 1), "alpha": np.float32(0.04)},
        [0.172272, -0.033721, -0.214194, -0.232569, -0.074941, 0.139401, 2.405503],
    ),
    "glora": (
        (5, 4),
        {"a1.weight": ramp(4, 2), "a2.weight": ramp(2, 4), "b1.weight": ramp(5, 2), "b2.weight": ramp(2, 4),
         "alpha": np.float32(3)},
        [0.150429, 0.016046, -0.154563, 0.023783, -0.120308, -0.037968, 0.345936],
    ),
    "glora of a convolution": (
        (5, 4, 3, 3),
        {"a1.weight": ramp(4, 2, 1, 1), "a2.weight": ramp(2, 4, 1, 1), "b1.weight": ramp(5, 2, 1, 1),
         "b2.weight": ramp(2, 4, 3, 3), "alpha": np.float32(3)},
        [0.231749, 0.066007, -0.047567, 0.044274, -0.043167, -0.229793, 1.750961],
    ),
    "dora of outputs": (
        (5, 4, 3, 3), {**LORA, "dora_scale": 2 + ramp(5, 1, 1, 1)},
        [-0.400936, -0.328244, 0.046976, 0.476429, 0.468075, 0.035615, 4.995155],
    ),
    "dora of inputs": (
        (5, 4, 3, 3), {**LORA, "dora_scale": 2 + ramp(1, 4, 1, 1)},
        [-0.457694, -0.356038, 0.064051, 0.516945, 0.508689, 0.052212, 5.547668],
    ),
    "ia3 of outputs": (
        (6, 4), {"weight": ramp(6), "on_input": np.int64(0)},
        [0.297499, 0.184929, -0.067592, -0.268961, 0.068748, 0.01616, 0.768658],
    ),
    "ia3 of inputs": (
        (6, 4), {"weight": ramp(4), "on_input": np.int64(1)},
        [0.297499, -0.047654, 0.063104, -0.134014, -0.266785, 0.01616, 0.765568],
    ),
    "ia3 of a convolution's outputs": (
        (6, 2, 3, 3), {"weight": ramp(1, 6, 1, 1), "on_input": np.int64(0)},
        [0.297499, 0.184929, -0.067592, -0.268961, -0.266785, -0.062712, 1.62996],
    ),
    "ia3 of a convolution's channels": (
        (6, 2, 3, 3), {"weight": ramp(1, 2, 1, 1), "on_input": np.int64(1)},
        [0.297499, 0.184929, -0.067592, -0.268961, -0.266785, -0.062712, 1.59003],
    ),
    "loha with dora of outputs": (
        (5, 4), {**LOHA, "dora_scale": 2 + ramp(5, 1)},
        [0.537676, 0.327326, -0.108886, -0.474558, -0.248849, -0.059314, 1.550343],
    ),
    "loha with dora of inputs": (
        (5, 4), {**LOHA, "dora_scale": 2 + ramp(1, 4)},
        [0.530008, 0.282898, 0.010378, -0.217667, -0.460179, -0.09569, 1.075093],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MERGED)
def test_the_update_is_what_lycoris_merges(name: str, tmp_path: Path) -> None:
    shape, parameters, (*first, norm) = MERGED[name]
    delta = only(beside(tmp_path, base_weight(*shape), parameters))
    update = delta.open().dense()
    assert update.shape == (shape[0], int(np.prod(shape[1:])))
    np.testing.assert_allclose(update.reshape(-1)[:6], first, atol=3e-6)
    np.testing.assert_allclose(np.linalg.norm(update), norm, rtol=2e-6)
    frame = tunescope.norms(tmp_path / "x.safetensors", base=tmp_path / "base").table.frame
    assert frame["frobenius_norm"].to_list() == pytest.approx([norm], rel=1e-5)
    assert delta.base is not None
    np.testing.assert_array_equal(delta.base.matrix(update.shape), base_weight(*shape).reshape(update.shape))


@pytest.mark.parametrize("blocks", [(4, 8, 8), (3, 8, 4, 4)])
def test_a_rotation_keeps_every_inner_product_of_columns(blocks: tuple[int, ...], tmp_path: Path) -> None:
    weight = base_weight(32, 20)
    delta = only(beside(tmp_path, weight, {"oft_blocks": ramp(*blocks), "alpha": np.float32(0)}))
    W = weight.astype(np.float64)
    moved = W + delta.open().dense()
    assert np.linalg.norm(moved - W) > 1
    np.testing.assert_allclose(moved.T @ moved, W.T @ W, atol=1e-12)


def sd_scripts(blocks: Numbers, alpha: float, weight: Numbers) -> NDArray[np.float64]:
    """The merge of sd-scripts' networks/oft.py: Q clamped to alpha·d_out, then each block of rows turned."""
    count, size, _ = blocks.shape
    Q = blocks.astype(np.float64) - blocks.astype(np.float64).transpose(0, 2, 1)
    norm = np.sqrt((Q**2).sum())
    Q *= (min(norm, alpha * count * size) + 1e-8) / (norm + 1e-8)
    rotated = np.zeros(weight.shape)
    for k in range(count):
        R = (np.eye(size) + Q[k]) @ np.linalg.inv(np.eye(size) - Q[k])
        rows = slice(k * size, (k + 1) * size)
        rotated[rows] = R.T @ weight[rows].astype(np.float64)
    return rotated


@pytest.mark.parametrize("alpha", [0.0, 0.01, 5.0])
def test_the_rotation_of_sd_scripts_is_clamped_by_its_alpha_and_no_rotation_at_zero(
    alpha: float, tmp_path: Path
) -> None:
    weight, blocks = base_weight(24, 10), ramp(4, 6, 6)
    flat = FLAT.replace("lora_unet_", "oft_unet_")
    delta = only(beside(tmp_path, weight, {"oft_blocks": blocks, "alpha": np.float32(alpha)}, flat))
    wanted = sd_scripts(blocks, float(np.float32(alpha)), weight) - weight
    np.testing.assert_allclose(delta.open().dense(), wanted, atol=1e-12)
    assert (np.abs(wanted).max() > 0.01) == (alpha > 0)


def test_fused_projections_of_flux_are_turned_part_by_part(tmp_path: Path) -> None:
    weight, alpha = base_weight(30, 7), 0.02
    parts = [ramp(2, 3, 3), 2 * ramp(2, 6, 6), -ramp(2, 6, 6)]
    tensors = {f"oft_unet_double_blocks_3_img_attn_qkv.oft_blocks.{i}": part for i, part in enumerate(parts)}
    tensors["oft_unet_double_blocks_3_img_attn_qkv.alpha"] = np.asarray(alpha, np.float32)
    save_file(tensors, tmp_path / "flux.safetensors")
    save_file({"double_blocks.3.img_attn.qkv.weight": weight}, tmp_path / "base.safetensors")
    (source,) = opener(open_whole(tmp_path / "base.safetensors"))(str(tmp_path / "flux.safetensors"))
    rows = np.split(weight, [6, 18])
    wanted = np.vstack([sd_scripts(p, float(np.float32(alpha)), w) for p, w in zip(parts, rows, strict=True)])
    np.testing.assert_allclose(only(source).open().dense(), wanted - weight, atol=1e-12)


def first_terms(triangles: Numbers, size: int) -> NDArray[np.float64]:
    """The rotations of OFTv2 by OneTrainer's modules/module/oft_utils.py: five terms of Cayley's series."""
    found = []
    for numbers in triangles.astype(np.float64):
        Q = np.zeros((size, size))
        Q[np.triu_indices(size, 1)] = numbers
        Q = Q - Q.T
        found.append(np.eye(size) + 2 * Q + 2 * Q @ Q + 2 * Q @ Q @ Q + Q @ Q @ Q @ Q)
    return np.stack(found)


@pytest.mark.parametrize("shape", [(7, 12), (5, 3, 2, 2)])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_oftv2_turns_the_inputs_of_a_matrix_and_the_kernel_of_a_convolution(
    shape: tuple[int, ...], shared: bool, scaled: bool, tmp_path: Path
) -> None:
    weight, triangles = base_weight(*shape), ramp(1 if shared else 3, 6)
    parameters = {"oft_R.weight": triangles} | ({"oft_R.scaled_oft": np.int64(1)} if scaled else {})
    update = only(beside(tmp_path, weight, parameters)).open().dense()
    R = first_terms(triangles / (np.sqrt(6) if scaled else 1), 4).repeat(3 if shared else 1, axis=0)
    parts = weight.astype(np.float64).reshape(shape[0], 3, 4)
    turned = "ork,rck->orc" if len(shape) == 2 else "ork,rkc->orc"
    wanted = np.einsum(turned, parts, R).reshape(update.shape) - weight.reshape(update.shape)
    np.testing.assert_allclose(update, wanted, atol=1e-12)
    assert np.abs(wanted).max() > 0.05


def test_oftv2_of_a_linear_layer_is_what_peft_merges(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    torch = pytest.importorskip("torch")
    weight, triangles = base_weight(7, 12), ramp(3, 6)
    holder = torch.nn.Sequential(torch.nn.Linear(12, 7, bias=False))
    holder[0].weight.data = torch.from_numpy(weight.copy())
    model = peft.get_peft_model(holder, peft.OFTConfig(r=0, oft_block_size=4, target_modules=["0"]))
    model.base_model.model[0].oft_R["default"].weight.data = torch.from_numpy(triangles)
    merged = model.merge_and_unload()[0].weight.detach().numpy()
    update = only(beside(tmp_path, weight, {"oft_R.weight": triangles})).open().dense()
    np.testing.assert_allclose(update, merged - weight, atol=2e-6)


def test_a_magnitude_beside_oftv2_is_that_of_the_turned_weight(tmp_path: Path) -> None:
    weight, triangles, m = base_weight(7, 12), ramp(3, 6), 2 + ramp(7, 1)
    parameters = {"oft_R.weight": triangles, "dora_scale": m}
    update = only(beside(tmp_path, weight, parameters)).open().dense()
    moved = np.einsum("ork,rck->orc", weight.reshape(7, 3, 4).astype(float), first_terms(triangles, 4))
    moved = moved.reshape(7, 12)
    wanted = m * moved / np.linalg.norm(moved, axis=1, keepdims=True) - weight
    np.testing.assert_allclose(update, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("parameters", "needed"),
    [
        ({"oft_R.weight": ramp(3, 6)}, "?×12 is needed"),
        ({"oft_R.weight": ramp(1, 6)}, "?×a multiple of 4 is needed"),
        ({"weight": ramp(9), "on_input": np.int64(0)}, "9×? is needed"),
        ({"weight": ramp(9), "on_input": np.int64(1)}, "?×9 is needed"),
        ({"weight": ramp(1, 9, 1, 1), "on_input": np.int64(1)}, "?×a multiple of 9 is needed"),
    ],
)
def test_what_is_needed_of_a_base_of_another_size_is_said(
    parameters: dict[str, Any], needed: str, tmp_path: Path
) -> None:
    source = beside(tmp_path, base_weight(7, 10), parameters)
    assert source.deltas == ()
    assert needed in next(n.text for n in source.notices if "does not have so" in n.text)


def test_names_of_pefts_without_their_config_are_no_oftv2(tmp_path: Path) -> None:
    """Its config says how many terms the series has."""
    save_file({"base_model.model.x.q_proj.oft_R.weight": ramp(3, 6)}, tmp_path / "x.safetensors")
    with pytest.raises(BadInput) as caught:
        tunescope.open_source(tmp_path / "x.safetensors")
    assert caught.value.slug == "no-adapter-config"


@pytest.mark.parametrize(
    ("parameters", "method", "shape"),
    [
        ({"oft_R.weight": 0 * ramp(3, 6)}, "oftv2", "?×12"),
        ({"weight": 0 * ramp(7), "on_input": np.int64(0)}, "ia3", "7×?"),
    ],
)
def test_check_says_which_modules_turn_or_rescale_nothing(
    parameters: dict[str, Any], method: str, shape: str, tmp_path: Path
) -> None:
    beside(tmp_path, base_weight(7, 12), parameters)
    study = tunescope.check(tmp_path / "x.safetensors", base=tmp_path / "base", deep=True)
    (row,) = study.table.frame.iter_rows(named=True)
    assert (row["status"], row["expected_shape"], row["found_shape"]) == ("attached", shape, "7×12")
    assert row["weight"] == DOTTED
    assert "untrained" in {finding.kind for finding in study.findings}
    assert study.readout["models"]["x"]["methods"] == [method]
    assert "needs_base" not in {finding.kind for finding in study.findings}


def test_older_files_of_glora_hold_their_pairs_the_other_way_round(tmp_path: Path) -> None:
    weight = base_weight(9, 9)
    four = {
        "a1.weight": ramp(3, 9),
        "a2.weight": ramp(9, 3),
        "b1.weight": 2 * ramp(3, 9),
        "b2.weight": ramp(9, 3),
    }
    delta = only(beside(tmp_path, weight, {**four, "alpha": np.float32(6)}))
    a1, a2, b1, b2 = (four[f"{k}.weight"].astype(np.float64) for k in ("a1", "a2", "b1", "b2"))
    wanted = 2 * (b2 @ b1 + weight.astype(np.float64) @ a2 @ a1)
    np.testing.assert_allclose(delta.open().dense(), wanted, atol=1e-12)


def test_without_the_base_the_fix_names_it_and_works(tmp_path: Path) -> None:
    shape, parameters, (*_, norm) = MERGED["boft"]
    beside(tmp_path, base_weight(*shape), parameters)
    with pytest.raises(BadInput) as caught:
        tunescope.norms(tmp_path / "x.safetensors")
    assert caught.value.slug == "needs-base"
    assert "--base BASE" in str(caught.value.fix)
    frame = tunescope.norms(tmp_path / "x.safetensors", base=tmp_path / "base").table.frame
    assert frame["frobenius_norm"].to_list() == pytest.approx([norm], rel=1e-5)


def test_a_lora_beside_rotations_is_read_without_the_base_and_the_rotations_are_named(tmp_path: Path) -> None:
    pair = {"lora_te_x.lora_down.weight": ramp(2, 3), "lora_te_x.lora_up.weight": ramp(3, 2)}
    tensors = {f"{FLAT}.oft_blocks": ramp(3, 2, 2), f"{FLAT}.alpha": ramp(1), **pair}
    save_file(tensors, tmp_path / "mixed.safetensors")
    source = tunescope.open_source(tmp_path / "mixed.safetensors")
    assert [delta.address.module_type for delta in source.deltas] == ["text_encoder.x"]
    assert "needs-base" in {notice.slug for notice in source.notices}
    reasons = {e.tensor: e.reason for e in source.coverage if e.status != "used"}
    assert reasons == {f"{FLAT}.oft_blocks": "oft: needs the base", f"{FLAT}.alpha": "oft: needs the base"}


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"oft_blocks": ramp(3, 2, 2)}, "alpha, which bounds the rotation"),
        ({"oft_blocks": ramp(3, 2, 3), "alpha": np.float32(0)}, "no square blocks"),
        ({"oft_blocks": ramp(4, 4, 2, 2), "alpha": np.float32(0)}, "no square blocks"),
        ({"oft_blocks": ramp(3, 2, 2), "rescale": ramp(5, 1), "alpha": np.float32(0)}, "6 outputs"),
        ({"oft_blocks": ramp(3, 2, 2), "dora_scale": ramp(6, 1), "alpha": np.float32(0)}, "another method"),
        (
            {**MERGED["glora"][1], "a2.weight": ramp(2, 5)},
            "do not fit together",
        ),
        ({**MERGED["glora"][1], "dora_scale": ramp(5, 1)}, "not written by any library"),
        ({"oft_R.weight": ramp(2, 2)}, "no upper triangles"),
        ({"oft_R.weight": ramp(2, 1), "rescale": ramp(6, 1)}, "another method"),
        ({"weight": ramp(6), "on_input": np.int64(2)}, "neither 0 nor 1"),
        ({"weight": ramp(2, 3), "on_input": np.int64(0)}, "no row of numbers"),
        ({"weight": ramp(6), "on_input": np.int64(0), "dora_scale": ramp(6, 1)}, "another method"),
        ({"on_input": np.int64(0)}, "stands without the numbers"),
    ],
)  # fmt: skip
def test_damaged_modules_are_left_out_with_the_reason(
    parameters: dict[str, Any], said: str, tmp_path: Path
) -> None:
    source = beside(tmp_path, base_weight(6, 4), parameters)
    assert source.deltas == ()
    (notice,) = [n for n in source.notices if n.slug == "factor-left-out"]
    assert said in notice.text
    assert all(entry.reason for entry in source.coverage if entry.status != "used")


@pytest.mark.parametrize("shape", [(7, 4), (12, 4)])
def test_a_base_of_another_size_is_said_and_not_multiplied(shape: tuple[int, ...], tmp_path: Path) -> None:
    source = beside(tmp_path, base_weight(*shape), {"oft_blocks": ramp(3, 2, 2), "alpha": np.float32(0)})
    assert source.deltas == ()
    notice = next(n for n in source.notices if "does not have so" in n.text)
    assert f"it is {shape[0]}×4, and 6×? is needed" in notice.text


def test_a_scale_that_does_not_apply_is_said(tmp_path: Path) -> None:
    shape, parameters, _ = MERGED["oft"]
    plain = only(beside(tmp_path, base_weight(*shape), parameters)).open().dense()
    (source,) = opener(open_whole(tmp_path / "base"))(str(tmp_path / "x.safetensors"), scale=2.0)
    assert "scale-not-used" in {notice.slug for notice in source.notices}
    np.testing.assert_array_equal(source.deltas[0].open().dense(), plain)


def test_a_magnitude_that_does_not_fit_leaves_the_directional_part(tmp_path: Path) -> None:
    (delta,) = beside(tmp_path, base_weight(5, 4, 3, 3), {**LORA, "dora_scale": ramp(1, 7, 1, 1)}).deltas
    assert "the DoRA magnitude needs the base" in delta.status


def test_a_magnitude_beside_an_unknown_scale_leaves_the_directional_part(tmp_path: Path) -> None:
    lora = {name: tensor for name, tensor in LORA.items() if name != "alpha"}
    (delta,) = beside(tmp_path, base_weight(5, 4, 3, 3), {**lora, "dora_scale": ramp(5, 1, 1, 1)}).deltas
    assert (delta.scale, delta.method) == (None, "dora")
    assert "the DoRA magnitude needs the base" in delta.status


def test_check_says_where_rotations_attach_and_which_were_never_trained(tmp_path: Path) -> None:
    beside(tmp_path, base_weight(6, 4), {"oft_blocks": 0 * ramp(3, 2, 2), "alpha": np.float32(0)})
    study = tunescope.check(tmp_path / "x.safetensors", base=tmp_path / "base", deep=True)
    (row,) = study.table.frame.iter_rows(named=True)
    assert (row["status"], row["expected_shape"], row["found_shape"]) == ("attached", "6×?", "6×4")
    assert "untrained" in {finding.kind for finding in study.findings}
    assert study.readout["models"]["x"]["methods"] == ["oft"]
    assert f"--base {tmp_path / 'base'}" in study.question.following(study, None)[0]


def test_check_without_a_base_describes_the_file(tmp_path: Path) -> None:
    beside(tmp_path, base_weight(5, 4), MERGED["glora"][1])
    study = tunescope.check(tmp_path / "x.safetensors")
    (row,) = study.table.frame.iter_rows(named=True)
    assert (row["status"], row["expected_shape"]) == (None, "5×4")
    assert study.readout["models"]["x"]["ranks"] == [2]
    assert "--base BASE" in study.question.following(study, None)[0]


def test_subspace_beside_the_base_compares_the_directions_of_the_whole_update(tmp_path: Path) -> None:
    weight = np.random.default_rng(3).normal(size=(12, 200)).astype(np.float32)
    delta = only(beside(tmp_path, weight, {"oft_blocks": ramp(6, 2, 2), "alpha": np.float32(0)}))
    U, values, _ = np.linalg.svd(delta.open().dense())
    assert values[-1] > 1e-3
    pair = {
        "lora_down.weight": ramp(2, 200),
        "lora_up.weight": U[:, :2].astype(np.float32),
        "alpha": np.float32(2),
    }
    save_file({f"{FLAT}.{k}": np.asarray(v) for k, v in pair.items()}, tmp_path / "y.safetensors")
    study = tunescope.subspace(tmp_path / "x.safetensors", tmp_path / "y.safetensors", base=tmp_path / "base")
    (row,) = study.table.frame.iter_rows(named=True)
    assert (row["rank_a"], row["rank_b"]) == (12, 2)
    assert row["overlap_output"] == pytest.approx(1, abs=1e-5)


def test_whole_updates_among_factored_ones_are_drawn_without_the_grids_that_they_lack(tmp_path: Path) -> None:
    """The first kinds of the network, which figures show, are those without factors."""
    for name in ("x", "y"):
        tensors: dict[str, Any] = {}
        for module, (one, other) in {"attn1_to_q": ((2, 2), (3, 4)), "ff_net_2": ((20, 2), (30, 2))}.items():
            stem = f"lora_unet_mid_block_attentions_0_transformer_blocks_0_{module}"
            scale = np.float32(1 if name == "x" else 2)
            tensors |= {f"{stem}.lokr_w1": scale * ramp(*one), f"{stem}.lokr_w2": ramp(*other)[::-1].copy()}
        save_file(tensors, tmp_path / f"{name}.safetensors")
    study = tunescope.subspace(tmp_path / "x.safetensors", tmp_path / "y.safetensors")
    names = [name for name in study.figures() if name.startswith("subspace_x_vs_y")]
    assert "subspace_x_vs_y_delta_output" in names
    for name in names:
        assert study.figure(name).axes


# Several transformer blocks at one place of a U-Net are layers of their own, in tens and ones: adapter names,
# base names, and the layers of four modules.
PLACES = [f"down_blocks.{i}.attentions.0.transformer_blocks.{k}.attn1.to_q" for i in (1, 2) for k in (0, 1)]
ORIGINAL = [f"input_blocks.{i}.1.transformer_blocks.{k}.attn1.to_q" for i in (4, 7) for k in (0, 1)]


@pytest.mark.parametrize("names", [PLACES, ORIGINAL])
@pytest.mark.parametrize("of_base", [PLACES, [f"model.diffusion_model.{name}" for name in ORIGINAL]])
@pytest.mark.parametrize("method", ["oft", "boft", "glora", "ia3 of outputs", "ia3 of inputs"])
def test_what_multiplies_the_base_meets_each_of_several_blocks_at_a_place(
    tmp_path: Path, names: list[str], of_base: list[str], method: str
) -> None:
    shape, parameters, expected = MERGED[method]
    save_file({f"{name}.weight": base_weight(*shape) for name in of_base}, tmp_path / "base.safetensors")
    every = {
        f"lora_unet_{name.replace('.', '_')}.{k}": np.asarray(v)
        for name in names
        for k, v in parameters.items()
    }
    save_file(every, tmp_path / "x.safetensors")
    (source,) = opener(open_whole(tmp_path / "base.safetensors"))(str(tmp_path / "x.safetensors"))
    assert source.notices == ()
    assert [delta.address.layer for delta in source.deltas] == [40, 41, 70, 71]
    for delta in source.deltas:
        assert np.linalg.norm(delta.open().dense()) == pytest.approx(expected[-1], rel=1e-5)


def test_an_adapter_of_the_first_block_of_each_place_counts_layers_as_its_base(tmp_path: Path) -> None:
    shape, parameters, expected = MERGED["oft"]
    save_file({f"{name}.weight": base_weight(*shape) for name in PLACES}, tmp_path / "base.safetensors")
    whole = {"lora_up.weight": ramp(6, 2), "lora_down.weight": ramp(2, 4), "alpha": np.float32(2)}
    names = ["lora_unet_" + PLACES[k].replace(".", "_") for k in (0, 2)]
    given = {f"{names[0]}.{k}": np.asarray(v) for k, v in parameters.items()}
    save_file(
        given | {f"{names[1]}.{k}": np.asarray(v) for k, v in whole.items()}, tmp_path / "x.safetensors"
    )
    (source,) = opener(open_whole(tmp_path / "base.safetensors"))(str(tmp_path / "x.safetensors"))
    found = {delta.address.layer: delta for delta in source.deltas}
    assert (sorted(found), source.notices) == ([40, 70], ())
    assert np.linalg.norm(found[40].open().dense()) == pytest.approx(expected[-1], rel=1e-5)
    assert (found[70].status, found[70].base is None) == ("ok", False)
