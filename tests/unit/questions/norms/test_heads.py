"""Attention heads of adapters and whole models, against blocks cut out of the dense update."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

import tunescope
from tunescope.errors import UsageError
from tunescope.page.panels import Maps
from tunescope.questions.norms.heads import Heads, heads_of, parse_heads
from tunescope.questions.norms.page import content
from tunescope.questions.norms.parts import head_maps

D, Q_HEADS, KV_HEADS, SIZE = 24, 6, 2, 4
SHAPES = {"q_proj": (24, D), "k_proj": (8, D), "v_proj": (8, D), "o_proj": (D, 24)}


def adapter(folder: Path, shapes: dict[str, tuple[int, int]], **config: Any) -> dict[str, np.ndarray]:
    draw, held, updates = np.random.default_rng(0), {}, {}
    for kind, (d_out, d_in) in shapes.items():
        A, B = draw.standard_normal((3, d_in)), draw.standard_normal((d_out, 3))
        stem = f"base_model.model.model.layers.0.self_attn.{kind}"
        held |= {f"{stem}.lora_A.weight": A.astype("f4"), f"{stem}.lora_B.weight": B.astype("f4")}
        updates[kind] = 2 * B.astype("f4").astype(float) @ A.astype("f4").astype(float)
    folder.mkdir()
    save_file(held, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 3, "lora_alpha": 6, "target_modules": list(shapes)}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return updates


def test_rows_of_q_k_v_and_columns_of_o(tmp_path: Path) -> None:
    updates = adapter(tmp_path / "a", SHAPES, num_attention_heads=Q_HEADS, num_key_value_heads=KV_HEADS)
    study = tunescope.norms(tmp_path / "a")
    heads = study.tables["heads"].frame
    for kind, delta in updates.items():
        part = heads.filter(pl.col("module_type").str.ends_with(kind)).sort("head")
        blocks = np.split(delta, len(part), axis=1 if kind == "o_proj" else 0)
        assert len(part) == (KV_HEADS if kind in ("k_proj", "v_proj") else Q_HEADS)
        wanted = [np.linalg.norm(block) for block in blocks]
        assert part["frobenius_norm"].to_list() == pytest.approx(wanted, rel=1e-12)
        row = study.table.frame.filter(pl.col("module_type").str.ends_with(kind))["frobenius_norm"][0]
        assert np.linalg.norm(part["frobenius_norm"].to_numpy()) == pytest.approx(row, rel=1e-12)
    kinds = dict(heads.group_by("head_kind").len().iter_rows())
    assert kinds == {"query": 2 * Q_HEADS, "key_value": 2 * KV_HEADS}


def test_heads_of_whole_models_are_streamed_and_add_up(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    names = {kind: f"model.layers.0.self_attn.{kind}.weight" for kind in SHAPES}
    base = {names[kind]: draw.standard_normal(shape).astype("f4") for kind, shape in SHAPES.items()}
    tuned = {n: v + draw.standard_normal(v.shape).astype("f4") for n, v in base.items()}
    for label, tensors in (("base", base), ("tuned", tuned)):
        (tmp_path / label).mkdir()
        save_file(tensors, tmp_path / label / "model.safetensors")
        config = {"num_attention_heads": Q_HEADS, "num_key_value_heads": KV_HEADS}
        (tmp_path / label / "config.json").write_text(json.dumps(config))
    heads = tunescope.norms(tmp_path / "tuned", base=tmp_path / "base").tables["heads"].frame
    for kind, name in names.items():
        delta = tuned[name].astype(float) - base[name].astype(float)
        part = heads.filter(pl.col("module_type").str.ends_with(kind)).sort("head")
        blocks = np.split(delta, len(part), axis=1 if kind == "o_proj" else 0)
        wanted = [np.linalg.norm(block) for block in blocks]
        assert part["frobenius_norm"].to_list() == pytest.approx(wanted, rel=1e-12)


def test_heads_that_are_stated_on_the_command_line(tmp_path: Path) -> None:
    adapter(tmp_path / "a", SHAPES)
    assert "heads" not in tunescope.norms(tmp_path / "a").tables
    study = tunescope.norms(tmp_path / "a", heads=f"{Q_HEADS}/{KV_HEADS}/{SIZE}")
    assert len(study.tables["heads"]) == 2 * Q_HEADS + 2 * KV_HEADS


@pytest.mark.parametrize(
    ("config", "known"), [({"model_type": "phi3"}, True), ({"model_type": "odd"}, False), ({}, False)]
)
def test_numbers_stated_by_hand_cut_a_fused_projection_where_the_kind_of_model_is_known(
    tmp_path: Path, config: dict[str, Any], known: bool
) -> None:
    delta = adapter(tmp_path / "a", {"qkv_proj": ((Q_HEADS + 2 * KV_HEADS) * SIZE, D)}, **config)["qkv_proj"]
    tables = tunescope.norms(tmp_path / "a", heads=f"{Q_HEADS}/{KV_HEADS}").tables
    assert ("heads" in tables) == known
    if known:
        found = tables["heads"].frame.filter(pl.col("head_kind") == "query").sort("head")
        wanted = [np.linalg.norm(delta[h * SIZE : (h + 1) * SIZE]) for h in range(Q_HEADS)]
        assert found["frobenius_norm"].to_list() == pytest.approx(wanted, rel=1e-12)


def test_query_and_key_value_heads_of_a_fused_projection_are_maps_of_their_own(tmp_path: Path) -> None:
    rows = (Q_HEADS + 2 * KV_HEADS) * SIZE
    adapter(tmp_path / "a", {"qkv_proj": (rows, D), "o_proj": (D, 24)}, model_type="phi3")
    frame = tunescope.norms(tmp_path / "a", heads=f"{Q_HEADS}/{KV_HEADS}").tables["heads"].frame
    maps = {grid.title: grid.values for grid in head_maps(frame, "a", "zero")}
    assert list(maps) == ["a · O", "a · QKV · query heads", "a · QKV · key-value heads"]
    for title, kind in (("a · QKV · query heads", "query"), ("a · QKV · key-value heads", "key_value")):
        part = frame.filter((pl.col("head_kind") == kind) & pl.col("module_type").str.ends_with("qkv_proj"))
        assert maps[title][0].tolist() == part.sort("head")["frobenius_norm_normalized"].to_list()


def test_a_gated_q_has_no_heads_rather_than_wrong_ones(tmp_path: Path) -> None:
    adapter(tmp_path / "a", SHAPES | {"q_proj": (48, D)})
    found = tunescope.norms(tmp_path / "a", heads=f"{Q_HEADS}/{KV_HEADS}/{SIZE}").tables["heads"].frame
    assert not found["module_type"].str.ends_with("q_proj").any()


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "unknown"])
def test_fused_projections_are_split_by_their_own_layout(tmp_path: Path, kind: str) -> None:
    heads, size = 2, 4
    updates = adapter(
        tmp_path / "a", {"qkv_proj": (3 * heads * size, D)}, num_attention_heads=heads, model_type=kind
    )
    tables = tunescope.norms(tmp_path / "a").tables
    if kind == "unknown":
        assert "heads" not in tables
        return
    delta = updates["qkv_proj"]
    cube = (
        delta.reshape(3, heads, size, D)
        if kind == "gpt2"
        else delta.reshape(heads, 3, size, D).swapaxes(0, 1)
    )
    rows = {
        (r["head_kind"], r["head"]): r["frobenius_norm"] for r in tables["heads"].frame.iter_rows(named=True)
    }
    for h in range(heads):
        assert rows["query", h] == pytest.approx(np.linalg.norm(cube[0, h]), rel=1e-12)
        assert rows["key_value", h] == pytest.approx(np.linalg.norm(cube[1:, h]), rel=1e-12)


REMOTE = {
    "qwen": ({"kv_channels": 4}, 6, "contiguous"),
    "baichuan": ({"hidden_size": 24}, 6, "contiguous"),
    "mpt": ({"d_model": 24, "attn_config": {"attn_type": "multiquery_attention"}}, 1, "contiguous"),
    "chatglm": ({"multi_query_attention": True, "multi_query_group_num": 2}, 2, "contiguous"),
    "internlm2": ({"num_key_value_heads": 2}, 2, "grouped"),
}


@pytest.mark.parametrize("kind", REMOTE)
def test_fused_projections_of_models_whose_code_lies_on_the_hub(tmp_path: Path, kind: str) -> None:
    """Cut as their modeling files do: `split([q, k, v])`, or `(h gs d)` with the queries before k and v."""
    more, shared, how = REMOTE[kind]
    name = {"baichuan": "W_pack", "internlm2": "wqkv", "qwen": "c_attn"}.get(kind, "query_key_value")
    config = {"model_type": kind, "num_attention_heads": Q_HEADS, **more}
    delta = adapter(tmp_path / "a", {name: ((Q_HEADS + 2 * shared) * SIZE, D)}, **config)[name]
    found = tunescope.norms(tmp_path / "a").tables["heads"].frame
    if how == "grouped":
        cube = delta.reshape(shared, Q_HEADS // shared + 2, SIZE, D)
        queries, both = cube[:, :-2].reshape(Q_HEADS, SIZE, D), cube[:, -2:]
    else:
        q, k, v = np.split(delta, np.cumsum([Q_HEADS, shared]) * SIZE)
        queries = q.reshape(Q_HEADS, SIZE, D)
        both = np.stack([k.reshape(shared, SIZE, D), v.reshape(shared, SIZE, D)], axis=1)
    for head_kind, parts in (("query", queries), ("key_value", both)):
        rows = found.filter(pl.col("head_kind") == head_kind).sort("head")["frobenius_norm"].to_list()
        assert rows == pytest.approx([np.linalg.norm(part) for part in parts], rel=1e-12)


def test_a_fused_projection_of_another_size_than_the_config_says_has_no_heads(tmp_path: Path) -> None:
    adapter(tmp_path / "a", {"c_attn": (72, D)}, model_type="qwen", num_attention_heads=6, kv_channels=8)
    assert "heads" not in tunescope.norms(tmp_path / "a").tables


def test_configs_with_latent_attention_have_no_heads() -> None:
    assert heads_of({"num_attention_heads": 8, "kv_lora_rank": 16}) is None
    assert heads_of({"text_config": {"num_attention_heads": 8, "head_dim": 4}}) == Heads(8, 8, 4)


@pytest.mark.parametrize("text", ["8", "8/0", "8/3", "a/b", "8/2/0", "-8/2"])
def test_heads_that_cannot_be_read_are_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="bad-heads"):
        parse_heads(text)


def test_no_two_heads_share_a_cell_of_the_report_page(tmp_path: Path) -> None:
    adapter(tmp_path / "a", {"qkv_proj": ((Q_HEADS + 2 * KV_HEADS) * SIZE, D), "o_proj": (D, 24)})
    config = {"model_type": "phi3", "num_attention_heads": Q_HEADS, "num_key_value_heads": KV_HEADS}
    (tmp_path / "a" / "config.json").write_text(json.dumps(config))
    shown = content(tunescope.norms(tmp_path / "a"))
    panel = next(panel for panel in shown.panels if isinstance(panel, Maps) and panel.name == "heads")
    cells = shown.data["heads"].frame.select(*panel.facets, "layer", panel.x)
    assert len(cells) == 2 * Q_HEADS + KV_HEADS
    assert cells.is_unique().all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_heads_of_large_whole_weights_add_up_to_their_rows(tmp_path: Path, dtype: str) -> None:
    """Of units in 16 bits norms sum in float32 in part: heads share out what the row says."""
    draw, kind = np.random.default_rng(3), np.dtype(getattr(ml_dtypes, dtype, dtype))
    name = "model.layers.0.self_attn.{}.weight"
    base = {name.format(n): draw.normal(0, 0.02, (1024, 1024)).astype(kind) for n in ("q_proj", "o_proj")}
    tuned = {n: (w.astype("f4") + draw.normal(0, 2e-3, w.shape)).astype(kind) for n, w in base.items()}
    for label, tensors in (("base", base), ("tuned", tuned)):
        (tmp_path / label).mkdir()
        save_file(tensors, tmp_path / label / "model.safetensors")
    study = tunescope.norms(tmp_path / "tuned", base=tmp_path / "base", heads="8/8")
    heads, rows = study.tables["heads"].frame, study.table.frame
    for key, axis in (("q_proj", 0), ("o_proj", 1)):
        d = tuned[name.format(key)].astype(float) - base[name.format(key)].astype(float)
        found = heads.filter(pl.col("module_type").str.ends_with(key)).sort("head")["frobenius_norm"]
        wanted = [np.linalg.norm(block) for block in np.split(d, 8, axis=axis)]
        assert found.to_list() == pytest.approx(wanted, rel=2e-8)
        row = rows.filter(pl.col("module_type").str.ends_with(key))["frobenius_norm"][0]
        assert np.linalg.norm(found.to_numpy()) == pytest.approx(row, rel=1e-12)
