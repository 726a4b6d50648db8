"""torchtune's own adapters against its export for PEFT: one adapter, whatever the order of rows."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import tunescope
from tunescope.source import open_source
from tunescope.source.against import opener
from tunescope.source.whole import open_whole

RNG = np.random.default_rng(0)
HEADS, KEYS, SIZE, WIDTH, RANK = 6, 2, 8, 40, 3
MODULES = {
    "attn.q_proj": ("self_attn.q_proj", (HEADS * SIZE, WIDTH)),
    "attn.k_proj": ("self_attn.k_proj", (KEYS * SIZE, WIDTH)),
    "attn.v_proj": ("self_attn.v_proj", (KEYS * SIZE, WIDTH)),
    "attn.output_proj": ("self_attn.o_proj", (WIDTH, HEADS * SIZE)),
    "mlp.w1": ("mlp.gate_proj", (56, WIDTH)),
    "mlp.w2": ("mlp.down_proj", (WIDTH, 56)),
    "mlp.w3": ("mlp.up_proj", (56, WIDTH)),
}
MODEL = {"num_attention_heads": HEADS, "num_key_value_heads": KEYS, "hidden_size": WIDTH, "head_dim": SIZE}


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def alternating(rows: Any, heads: int) -> Any:
    """Row i of the first half of a head and row i of the second, one after the other, one by one."""
    out = np.empty_like(rows)
    for head in range(heads):
        for i in range(SIZE // 2):
            out[head * SIZE + 2 * i] = rows[head * SIZE + i]
            out[head * SIZE + 2 * i + 1] = rows[head * SIZE + SIZE // 2 + i]
    return out


def epoch(folder: Path, model: dict[str, Any] | None, turned: bool = True) -> tuple[Path, Path]:
    """A folder of torchtune's own file and one with its export."""
    own, export = {"output.lora_a.weight": normal(RANK, WIDTH), "output.lora_b.weight": normal(64, RANK)}, {}
    for side in "ab":
        export[f"base_model.model.lm_head.lora_{side.upper()}.weight"] = own[f"output.lora_{side}.weight"]
    for layer in range(2):
        for short, (name, (d_out, d_in)) in MODULES.items():
            a, b = normal(RANK, d_in), normal(d_out, RANK)
            heads = {"attn.q_proj": HEADS, "attn.k_proj": KEYS}.get(short)
            own[f"layers.{layer}.{short}.lora_a.weight"] = a
            own[f"layers.{layer}.{short}.lora_b.weight"] = alternating(b, heads) if heads and turned else b
            stem = f"base_model.model.model.layers.{layer}.{name}"
            export |= {f"{stem}.lora_A.weight": a, f"{stem}.lora_B.weight": b}
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 6, "target_modules": ["lm_head", "q_proj"]}
    for name, tensors in (("own", own), ("export", export)):
        (folder / name).mkdir()
        save_file(tensors, folder / name / "adapter_model.safetensors")
        (folder / name / "adapter_config.json").write_text(json.dumps(config))
        if model is not None:
            (folder / name / "config.json").write_text(json.dumps(model))
    return folder / "own", folder / "export"


@pytest.mark.parametrize(
    "model",
    [
        {"model_type": "llama", **MODEL},
        {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", **MODEL}},
    ],
)
def test_both_files_of_torchtune_are_one_adapter(tmp_path: Path, model: dict[str, Any]) -> None:
    mine, other = (open_source(folder) for folder in epoch(tmp_path, model))
    assert (mine.format, other.format) == ("torchtune", "peft")
    assert {d.address for d in mine.deltas} == {d.address for d in other.deltas}
    assert {d.scale for d in mine.deltas} == {2.0}
    theirs = {d.address: d.open().dense() for d in other.deltas}
    for delta in mine.deltas:
        np.testing.assert_allclose(delta.open().dense(), theirs[delta.address], rtol=1e-6)
    (row,) = tunescope.norms(mine, other).tables["similarity"].frame.to_dicts()
    assert row["delta_cosine"] == pytest.approx(1.0, abs=1e-12)
    assert not [n for n in mine.notices if n.slug == "rows-of-torchtune"]


@pytest.mark.parametrize("model", [None, {"model_type": "llama"}, {"model_type": "llama", "head_dim": 7}])
def test_rows_that_nothing_lets_turn_back_are_said_to_be_as_they_were(tmp_path: Path, model: Any) -> None:
    own, export = epoch(tmp_path, model)
    mine, other = open_source(own), open_source(export)
    (notice,) = [n for n in mine.notices if n.slug == "rows-of-torchtune"]
    assert notice.text.startswith("4 query and key updates")
    theirs = {d.address: d.open().dense() for d in other.deltas}
    for delta in mine.deltas:
        same = np.allclose(delta.open().dense(), theirs[delta.address], rtol=1e-6)
        assert same is not delta.address.module_type.endswith(("q_proj", "k_proj"))


def test_families_whose_rows_are_not_turned_are_left_alone(tmp_path: Path) -> None:
    mine, other = (open_source(f) for f in epoch(tmp_path, {"model_type": "qwen2", **MODEL}, turned=False))
    (row,) = tunescope.norms(mine, other).tables["similarity"].frame.to_dicts()
    assert row["delta_cosine"] == pytest.approx(1.0, abs=1e-12)
    assert not [n for n in mine.notices if n.slug == "rows-of-torchtune"]


def test_of_a_folder_with_both_the_export_is_read_and_said(tmp_path: Path) -> None:
    _, export = epoch(tmp_path, None)
    (export / "adapter_model.pt").write_bytes(b"a pickle that nobody opens")
    source = open_source(export)
    assert source.format == "peft"
    assert "torchtune-export" in {notice.slug for notice in source.notices}


def test_a_file_without_its_config_has_no_scale(tmp_path: Path) -> None:
    save_file({f"layers.0.mlp.w1.lora_{s}.weight": normal(4, 4) for s in "ab"}, tmp_path / "x.safetensors")
    source = open_source(tmp_path / "x.safetensors")
    assert [d.scale for d in source.deltas] == [None]
    assert [n.slug for n in source.notices] == ["scale-unknown"]


def test_a_check_attaches_torchtunes_own_names_by_their_place(tmp_path: Path) -> None:
    own, _ = epoch(tmp_path, {"model_type": "llama", **MODEL})
    weights = {f"model.layers.{n}.{name}.weight": np.zeros(shape, np.float16)
               for n in range(2) for name, shape in MODULES.values()}  # fmt: skip
    (tmp_path / "base").mkdir()
    save_file({**weights, "lm_head.weight": np.zeros((64, WIDTH), np.float16)},
              tmp_path / "base" / "model.safetensors")  # fmt: skip
    study = tunescope.check(own, base=tmp_path / "base")
    assert study.readout["models"]["own"]["attached"] == 15


@pytest.mark.parametrize(("short", "heads"), [("attn.q_proj", HEADS), ("attn.k_proj", KEYS), ("mlp.w1", 0)])
def test_dora_is_exact_beside_the_base_though_its_magnitudes_are_in_metas_order(
    tmp_path: Path, short: str, heads: int
) -> None:
    name, (d_out, d_in) = MODULES[short]
    A, B, m, W = normal(RANK, d_in), normal(d_out, RANK), np.abs(normal(d_out)) + 1, normal(d_out, d_in)
    stem = f"layers.0.{short}"
    own = {
        f"{stem}.lora_a.weight": A,
        f"{stem}.lora_b.weight": alternating(B, heads) if heads else B,
        f"{stem}.magnitude": alternating(m, heads) if heads else m,
    }
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 6, "use_dora": True, "target_modules": ["q_proj"]}
    for folder, tensors in (("own", own), ("base", {f"model.layers.0.{name}.weight": W})):
        (tmp_path / folder).mkdir()
        save_file(tensors, tmp_path / folder / "model.safetensors")
        (tmp_path / folder / "config.json").write_text(json.dumps({"model_type": "llama", **MODEL}))
    (tmp_path / "own" / "model.safetensors").rename(tmp_path / "own" / "adapter_model.safetensors")
    (tmp_path / "own" / "adapter_config.json").write_text(json.dumps(config))
    (source,) = opener(open_whole(tmp_path / "base"))(str(tmp_path / "own"))
    (delta,) = source.deltas
    moved = W.astype(np.float64) + 2 * B.astype(np.float64) @ A
    wanted = m[:, None] * moved / np.linalg.norm(moved, axis=1, keepdims=True) - W
    assert delta.status == "ok"
    np.testing.assert_allclose(delta.open().dense(), wanted, atol=1e-6)
    for told_by_base in (True, False):
        (tmp_path / ("own" if told_by_base else "base") / "config.json").unlink()
        (source,) = opener(open_whole(tmp_path / "base"))(str(tmp_path / "own"))
        assert (source.deltas[0].status == "ok") == (told_by_base or heads == 0)
