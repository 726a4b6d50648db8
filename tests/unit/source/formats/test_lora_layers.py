"""LoRA files of training libraries that keep no config, against the products that they stand for."""

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import tunescope
from tunescope.errors import BadInput
from tunescope.source import Source, open_source
from tunescope.source.against import opener
from tunescope.source.formats.lora_layers import PARTS_UNKNOWN
from tunescope.source.whole import open_whole

RNG = np.random.default_rng(0)


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def opened(tmp_path: Path, tensors: dict[str, Any], **options: Any) -> Source:
    save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, tmp_path / "x.safetensors")
    return open_source(tmp_path / "x.safetensors", **options)


LIBRARIES = {
    "megatron-bridge": ("decoder.layers.3.self_attention.linear_proj", "adapter.linear_in.weight",
                        "adapter.linear_out.weight"),
    "canonical": ("decoder.layers.3.self_attention.linear_qkv", "adapter.adapter_q.linear_in.weight",
                  "adapter.adapter_q.linear_out.weight"),
    "nemo 1": ("model.decoder.layers.3.mlp", "adapter_layer.lora_4htoh_adapter.linear_in.weight",
               "adapter_layer.lora_4htoh_adapter.linear_out.weight"),
    "nemo 1, a part": ("decoder.layers.3.self_attention",
                       "adapter_layer.lora_unfused_kqv_adapter.v_adapter.linear_in.weight",
                       "adapter_layer.lora_unfused_kqv_adapter.v_adapter.linear_out.weight"),
    "torchtune": ("layers.3.attn.v_proj", "lora_a.weight", "lora_b.weight"),
    "loralib": ("transformer.h.3.mlp.c_proj", "lora_A", "lora_B"),
    "peft names": ("layers.3.attention.wq", "lora_A.weight", "lora_B.weight"),
    "with the adapter's name": ("blocks.3.self_attn.q", "lora_A.my-style.weight", "lora_B.my-style.weight"),
    "the other way round": ("layers.3.attn.proj", "lora_A", "lora_B"),
    "xlabs": ("double_blocks.3.processor.qkv_lora1", "down.weight", "up.weight"),
}  # fmt: skip


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_pair_of_every_library_is_its_product_of_unknown_scale(library: str, tmp_path: Path) -> None:
    module, inner, outer = LIBRARIES[library]
    a, b = normal(4, 10), normal(6, 4)
    stored = (a.T, b.T) if library == "the other way round" else (a, b)
    tensors = dict(zip((f"{module}.{inner}", f"{module}.{outer}"), stored, strict=True))
    source = opened(tmp_path, tensors)
    (delta,) = source.deltas
    assert (delta.d_out, delta.d_in, delta.rank, delta.scale) == (6, 10, 4, None)
    assert (delta.address.layer, delta.status) == (3, "ok")
    np.testing.assert_allclose(delta.open().dense(), b.astype(np.float64) @ a)
    assert [notice.slug for notice in source.notices] == ["scale-unknown"]
    given = opened(tmp_path, tensors, scale=0.5)
    assert given.deltas[0].scale == 0.5
    assert not given.notices


def test_two_adapters_under_names_of_their_own_are_refused(tmp_path: Path) -> None:
    stem = "blocks.0.self_attn.q"
    names = [f"{stem}.lora_{x}.{adapter}.weight" for adapter in ("first", "second") for x in "AB"]
    with pytest.raises(BadInput, match="several-adapters"):
        opened(tmp_path, {name: normal(4, 4) for name in names})


def test_magnitudes_beside_plain_factors_make_the_update_directional(tmp_path: Path) -> None:
    stem = "transformer_blocks.0.attn.to_q"
    tensors = {f"{stem}.lora_A.weight": normal(2, 8), f"{stem}.lora_B.weight": normal(6, 2)}
    for name in ("lora_magnitude_vector", "lora_magnitude_vector.weight", "dora_scale"):
        source = opened(tmp_path, {**tensors, f"{stem}.{name}": normal(6)})
        assert source.deltas[0].method == "dora"
        assert "directional" in source.deltas[0].status


@pytest.mark.parametrize(
    ("rows", "widths"), [((12, 12), 12), ((12, 12, 12), 12), ((12, 4, 4), 12), ((12, 4), 12)]
)
def test_parts_of_a_fused_projection_are_one_pair_each(
    rows: tuple[int, ...], widths: int, tmp_path: Path
) -> None:
    rank = 2
    downs, ups = [normal(rank, widths) for _ in rows], [normal(height, rank) for height in rows]
    stem = "transformer.h.1.attn.attn"
    source = opened(
        tmp_path, {f"{stem}.lora_A": np.concatenate(downs), f"{stem}.lora_B": np.concatenate(ups)}
    )
    (delta,) = source.deltas
    expected = np.concatenate([u.astype(np.float64) @ d for u, d in zip(ups, downs, strict=True)])
    np.testing.assert_allclose(delta.open().dense(), expected)
    assert (delta.d_out, delta.d_in, delta.status) == (sum(rows), widths, PARTS_UNKNOWN)


@pytest.mark.parametrize(
    ("adapter", "module", "component"),
    [
        ("self_attention.adapter_layer.lora_kqv_adapter", "self_attention.linear_qkv", "ATTN_QKV"),
        ("self_attention.adapter_layer.lora_dense_attention_adapter", "self_attention.linear_proj", "ATTN_O"),
        ("mlp.adapter_layer.lora_unfused_hto4h_adapter.gate_adapter", "mlp.linear_fc1.gate", None),
        ("mlp.adapter_layer.lora_4htoh_adapter", "mlp.linear_fc2", "MLP_DOWN"),
    ],
)
def test_adapters_of_the_first_nemo_are_called_after_the_module_they_stand_beside(
    adapter: str, module: str, component: str | None, tmp_path: Path
) -> None:
    stem = f"model.decoder.layers.7.{adapter}"
    tensors = {f"{stem}.linear_in.weight": normal(4, 10), f"{stem}.linear_out.weight": normal(12, 4)}
    (delta,) = opened(tmp_path, tensors).deltas
    assert (delta.address.layer, delta.address.module_type) == (7, module)
    assert component in (None, delta.address.component)


@pytest.mark.parametrize("name", ["decoder.layers.1.self_attention.linear_proj", "layers.2.mlp.linear_fc2"])
def test_a_magnitude_of_megatron_is_read_beside_the_base_and_named_without(name: str, tmp_path: Path) -> None:
    """NVIDIA-NeMo/Megatron-Bridge: src/megatron/bridge/peft/dora_layers.py."""
    rng = np.random.default_rng(4)
    A, B, m, W = (rng.normal(size=s).astype(np.float32) for s in ((3, 20), (12, 3), (12,), (12, 20)))
    stem = f"{name}.adapter"
    save_file(
        {f"{stem}.linear_in.weight": A, f"{stem}.linear_out.weight": B, f"{stem}.weight_magnitude": m},
        tmp_path / "x.safetensors",
    )
    save_file({f"{name}.weight": W}, tmp_path / "base.safetensors")
    (alone,) = open_source(tmp_path / "x.safetensors", scale=0.5).deltas
    assert (alone.method, "the DoRA magnitude needs the base" in alone.status) == ("dora", True)
    (source,) = opener(open_whole(tmp_path / "base.safetensors"))(str(tmp_path / "x.safetensors"), scale=0.5)
    (whole,) = source.deltas
    moved = W.astype(np.float64) + 0.5 * B.astype(np.float64) @ A
    wanted = m[:, None] * moved / np.linalg.norm(moved, axis=1, keepdims=True) - W
    np.testing.assert_allclose(whole.open().dense(), wanted, atol=1e-6)
    assert (whole.status, {e.status for e in source.coverage}) == ("ok", {"used"})


@pytest.mark.parametrize("head", ["classifier.dense", "classifier.out_proj", "score", "qa_outputs"])
def test_the_head_of_a_task_beside_loralibs_factors_is_a_saved_module(head: str, tmp_path: Path) -> None:
    """microsoft/LoRA's own checkpoints of GLUE hold the classifier that was trained whole."""
    stem = "roberta.encoder.layer.0.attention.self.query"
    ones = np.ones((3, 8), np.float32)
    tensors = {f"{stem}.lora_A": ones, f"{stem}.lora_B": ones.T.copy(), f"{head}.weight": ones}
    save_file(tensors, tmp_path / "mnli.safetensors")
    source = open_source(tmp_path / "mnli.safetensors", scale=1.0)
    assert source.notices == ()
    assert [e.reason for e in source.coverage if e.status != "used"] == ["saved module, needs base"]


def test_the_file_that_litgpt_writes_is_read_under_its_own_suffix(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    stem = "transformer.h.1.attn.proj"
    tensors = {f"{stem}.lora_A": torch.ones(2, 8), f"{stem}.lora_B": torch.ones(8, 2)}
    torch.save({"model": tensors}, tmp_path / "lit_model.pth.lora")
    for place in (tmp_path, tmp_path / "lit_model.pth.lora"):
        (delta,) = open_source(place).deltas
        assert (delta.address.layer, delta.rank) == (1, 2)


SETTINGS = "checkpoint_dir: checkpoints/some/model\n{}lora_dropout: 0.05\ntrain:\n  lora_r: 99\n"


def beside_settings(tmp_path: Path, lines: str) -> Path:
    stem = "transformer.h.1.attn"
    tensors = {f"{stem}.proj.lora_A": normal(4, 12), f"{stem}.proj.lora_B": normal(12, 4)}
    tensors |= {f"{stem}.attn.lora_A": normal(8, 12), f"{stem}.attn.lora_B": normal(16, 4)}
    save_file(tensors, tmp_path / "lit_model.safetensors")
    (tmp_path / "hyperparameters.yaml").write_text(SETTINGS.format(lines))
    return tmp_path / "lit_model.safetensors"


def test_alpha_over_r_of_the_settings_that_litgpt_writes_beside_its_weights_is_the_scale(
    tmp_path: Path,
) -> None:
    path = beside_settings(tmp_path, "lora_r: 4\nlora_alpha: 10  # twice and a half\n")
    source = open_source(path)
    assert [(d.scale, d.alpha) for d in source.deltas] == [(2.5, 10.0)] * 2
    assert source.notices == ()
    assert source.deltas[0].open().scale == 2.5
    assert [d.scale for d in open_source(path, scale=0.5).deltas] == [0.5, 0.5]
    rules = tunescope.check(path).table.frame["scale_rule"].to_list()
    assert rules == ["alpha/rank, both from hyperparameters.yaml"] * 2


@pytest.mark.parametrize("lines", ["lora_r: 4\n", "lora_r: 8\nlora_alpha: 16\n", ""])
def test_settings_of_another_rank_or_without_one_of_both_leave_the_scale_unknown(
    lines: str, tmp_path: Path
) -> None:
    source = open_source(beside_settings(tmp_path, lines))
    assert [d.scale for d in source.deltas] == [None, None]
    assert [n.slug for n in source.notices] == ["scale-unknown"]


@pytest.mark.parametrize(("r", "alpha"), [("4", "null"), ("0", "16"), ("4", ".inf"), ("four", "8")])
def test_settings_that_are_no_numbers_are_refused(r: str, alpha: str, tmp_path: Path) -> None:
    path = beside_settings(tmp_path, f"lora_r: {r}\nlora_alpha: {alpha}\n")
    with pytest.raises(BadInput) as caught:
        open_source(path)
    assert caught.value.slug == "config-value"
    assert str(caught.value.file) == str(tmp_path / "hyperparameters.yaml")


def test_a_nemo_archive_is_called_one_with_a_way_in(tmp_path: Path) -> None:
    save_file(
        {"decoder.layers.0.mlp.linear_fc2.adapter.linear_in.weight": normal(2, 8)}, tmp_path / "w.safetensors"
    )
    with tarfile.open(tmp_path / "a.nemo", "w") as archive:
        archive.add(tmp_path / "w.safetensors", "w.safetensors")
    with pytest.raises(BadInput) as caught:
        open_source(tmp_path / "a.nemo")
    assert (caught.value.slug, caught.value.found) == ("wrong-type", "tar archive")
    assert "tar xf" in str(caught.value.fix)


MEGATRON = """model:
  alpha: 3
peft:
  _target_: megatron.bridge.peft.lora.LoRA
  target_modules: [linear_fc2]
  dim: {dim}
  alpha: {alpha}
"""


def megatron(folder: Path, dim: object = 4, alpha: object = 32) -> Path:
    """A layer of Megatron-Bridge of rank 4, beside what its training wrote."""
    stem = "decoder.layers.0.mlp.linear_fc2.adapter.linear_"
    tensors = {f"{stem}in.weight": normal(4, 8), f"{stem}out.weight": normal(6, 4)}
    save_file(tensors, folder / "adapter.safetensors")
    (folder / "run_config.yaml").write_text(MEGATRON.format(dim=dim, alpha=alpha))
    return folder


@pytest.mark.parametrize("alpha", [10**400, ".inf", "yes"])
def test_an_alpha_of_megatron_that_is_no_number_a_float_holds_is_refused(
    tmp_path: Path, alpha: object
) -> None:
    with pytest.raises(BadInput, match="config-value"):
        open_source(megatron(tmp_path, alpha=alpha))


@pytest.mark.parametrize("alpha", ["!!timestamp x", "!!int ''", "!!bool maybe"])
def test_a_run_config_with_a_tag_that_does_not_fit_states_nothing(tmp_path: Path, alpha: str) -> None:
    (delta,) = open_source(megatron(tmp_path, alpha=alpha)).deltas
    assert delta.scale is None


def test_alpha_over_dim_of_megatron_bridges_run_config_is_the_scale(tmp_path: Path) -> None:
    (delta,) = open_source(megatron(tmp_path)).deltas
    assert (delta.scale, delta.alpha, delta.open().scale) == (8.0, 32.0, 8.0)
    assert tunescope.check(tmp_path).table.frame["scale_rule"].to_list() == [
        "alpha/rank, both from run_config.yaml"
    ]
    assert [d.scale for d in open_source(tmp_path, scale=0.5).deltas] == [0.5]


@pytest.mark.parametrize(
    "text", ["peft: null\n", "peft: {dim: 8, alpha: 32}\n", "a: !!python/name:os.system\n", "- 1"]
)
def test_run_configs_without_a_lora_of_this_rank_leave_the_scale_unknown(text: str, tmp_path: Path) -> None:
    megatron(tmp_path)
    (tmp_path / "run_config.yaml").write_text(text)
    assert [d.scale for d in open_source(tmp_path).deltas] == [None]


@pytest.mark.parametrize(("dim", "alpha"), [(0, 8), (4, ".nan"), ("four", 8), (4, "true")])
def test_run_configs_whose_numbers_are_none_are_refused(dim: object, alpha: object, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="config-value") as caught:
        open_source(megatron(tmp_path, dim, alpha))
    assert str(caught.value.file) == str(tmp_path / "run_config.yaml")
