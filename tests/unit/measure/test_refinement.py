"""Fused and separate spellings of one adapter: the same ΔW, compared part by part."""

from typing import Any

import numpy as np
import pytest

import tunescope
from tunescope.source import open_source

RNG = np.random.default_rng(0)
D, KV, R = 16, 8, 4
FLUX = {
    "lora_unet_double_blocks_{n}_img_attn_qkv": [
        f"transformer.transformer_blocks.{{n}}.attn.to_{s}" for s in "qkv"
    ],
    "lora_unet_double_blocks_{n}_txt_attn_qkv": [
        f"transformer.transformer_blocks.{{n}}.attn.add_{s}_proj" for s in "qkv"
    ],
    "lora_unet_single_blocks_{n}_linear1": [
        *(f"transformer.single_transformer_blocks.{{n}}.attn.to_{s}" for s in "qkv"),
        "transformer.single_transformer_blocks.{n}.proj_mlp",
    ],
}
SD3 = {
    "lora_unet_joint_blocks_{n}_x_block_attn_qkv": FLUX["lora_unet_double_blocks_{n}_img_attn_qkv"],
    "diffusion_model.joint_blocks.{n}.context_block.attn.qkv": FLUX[
        "lora_unet_double_blocks_{n}_txt_attn_qkv"
    ],
}
LANGUAGE = {
    "model.layers.{n}.self_attn.qkv_proj": [f"model.layers.{{n}}.self_attn.{s}_proj" for s in "qkv"],
    "transformer.h.{n}.attn.c_attn": [f"transformer.h.{{n}}.attn.{s}_proj" for s in "qkv"],
    "model.layers.{n}.self_attn.W_pack": [f"model.layers.{{n}}.self_attn.{s}_proj" for s in "qkv"],
    "model.layers.{n}.mlp.gate_up_proj": [f"model.layers.{{n}}.mlp.{s}_proj" for s in ("gate", "up")],
}


def both(fused: str, apart: list[str], sides: tuple[str, str], rows: list[int]) -> tuple[Any, Any]:
    """One update in both spellings, and its dense ΔW by part."""
    whole, split = {}, {}
    for n in range(3):
        a, b = RNG.normal(size=(R, D)).astype("f4"), RNG.normal(size=(sum(rows), R)).astype("f4")
        whole[f"{fused.format(n=n)}.lora_down.weight"], whole[f"{fused.format(n=n)}.lora_up.weight"] = a, b
        whole[f"{fused.format(n=n)}.alpha"] = np.full(1, 2.0, np.float32)
        for name, part in zip(apart, np.split(b, np.cumsum(rows)[:-1]), strict=True):
            stem = name.format(n=n)
            split[f"{stem}.{sides[0]}"], split[f"{stem}.{sides[1]}"] = a, np.ascontiguousarray(part)
            split[f"{stem}.alpha"] = np.full(1, 2.0, np.float32)
    return whole, split


def rows_of(apart: list[str]) -> list[int]:
    if len(apart) == 2:
        return [12, 12]
    return [D, D, D, 4 * D] if len(apart) == 4 else [D, D, D]


@pytest.mark.parametrize(("fused", "apart"), [*FLUX.items(), *SD3.items(), *LANGUAGE.items()])
def test_both_spellings_of_one_adapter_have_cosine_one(fused: str, apart: list[str]) -> None:
    sides = ("lora_A.weight", "lora_B.weight") if "transformer." in fused + apart[0] else (
        "lora_down.weight", "lora_up.weight")  # fmt: skip
    whole, split = both(fused, apart, sides, rows_of(apart))
    study = tunescope.norms(whole, split)
    (row,) = study.tables["similarity"].frame.to_dicts()
    assert row["delta_cosine"] == pytest.approx(1.0, abs=1e-9)
    assert row["components"] == row["identical"] == 3 * len(apart)
    assert not [f for f in study.findings if f.kind == "nothing_in_common"]
    alone = [tunescope.norms(one).table.frame for one in (whole, split)]
    assert study.table.frame.height == sum(frame.height for frame in alone)
    for frame in alone:
        kept = study.table.frame.join(frame, on=["component_name", "frobenius_norm", "d_out"], how="inner")
        assert kept.height == frame.height


def test_grouped_queries_and_parts_that_are_missing_are_cut_where_they_lie() -> None:
    apart = [f"model.layers.{{n}}.self_attn.{s}_proj" for s in "qkv"]
    sides = ("lora_down.weight", "lora_up.weight")
    whole, split = both("model.layers.{n}.self_attn.qkv_proj", apart, sides, [D, KV, KV])
    for kept in ("q", "k", "v", "qv", "kv"):
        part = {k: v for k, v in split.items() if any(f".{s}_proj." in k for s in kept)}
        (row,) = tunescope.norms(whole, part).tables["similarity"].frame.to_dicts()
        assert row["delta_cosine"] == pytest.approx(1.0, abs=1e-9), kept
        assert row["components"] == 3 * len(kept)


def test_parts_that_do_not_make_up_the_whole_are_not_compared() -> None:
    apart = [f"model.layers.{{n}}.self_attn.{s}_proj" for s in "qkv"]
    sides = ("lora_down.weight", "lora_up.weight")
    whole, _ = both("model.layers.{n}.self_attn.qkv_proj", apart, sides, [D, KV, KV])
    _, other = both("model.layers.{n}.self_attn.qkv_proj", apart, sides, [D, D, KV])
    (row,) = tunescope.norms(whole, other).tables["similarity"].frame.to_dicts()
    assert row["delta_cosine"] is None


def test_directions_are_compared_part_by_part_too() -> None:
    apart = [f"model.layers.{{n}}.self_attn.{s}_proj" for s in "qkv"]
    whole, split = both("model.layers.{n}.self_attn.qkv_proj", apart, ("lora_down.weight", "lora_up.weight"),
                        [D, KV, KV])  # fmt: skip
    for order in ((whole, split), (split, whole)):
        summary = tunescope.subspace(*order).table.frame
        assert summary["component_name"].to_list() == [f"L{n}_ATTN_{s}" for n in range(3) for s in "QKV"]
        assert summary["delta_cosine"].to_list() == pytest.approx([1.0] * 9, abs=1e-9)
        assert summary["status"].to_list() == ["ok"] * 9


def test_the_rows_of_a_part_are_those_of_the_whole() -> None:
    apart = [f"model.layers.{{n}}.self_attn.{s}_proj" for s in "qkv"]
    whole, split = both("model.layers.{n}.self_attn.qkv_proj", apart, ("lora_down.weight", "lora_up.weight"),
                        [D, KV, KV])  # fmt: skip
    from tunescope.measure.refinement import refined

    found = refined(open_source(whole).deltas, open_source(split).deltas)
    assert len(found) == 9
    for cut, part in found:
        assert cut.address == part.address
        np.testing.assert_array_equal(cut.open().dense(), part.open().dense())


# Whose rows go head by head, or in an order that their names do not tell.
BY_HEAD = {
    "GPT-NeoX": ("gpt_neox.layers.{n}.attention.query_key_value", "gpt_neox.layers.{n}.attention"),
    "BLOOM, Falcon": ("transformer.h.{n}.self_attention.query_key_value", "transformer.h.{n}.self_attention"),
    "Persimmon": ("model.layers.{n}.self_attn.query_key_value", "model.layers.{n}.self_attn"),
    "CodeGen": ("transformer.h.{n}.attn.qkv_proj", "transformer.h.{n}.attn"),
    "InternLM2": ("model.layers.{n}.attention.wqkv", "model.layers.{n}.self_attn"),
    "Megatron": ("decoder.layers.{n}.self_attention.linear_qkv", "decoder.layers.{n}.self_attn"),
    "ChatGLM-6B": ("transformer.layers.{n}.attention.query_key_value", "transformer.layers.{n}.self_attn"),
    "ChatGLM, as many keys": (
        "transformer.encoder.layers.{n}.self_attention.query_key_value", "encoder.layers.{n}.self_attn",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BY_HEAD)
def test_rows_head_by_head_are_left_whole_and_that_is_said(kind: str) -> None:
    fused, above = BY_HEAD[kind]
    apart = [f"{above}.{s}_proj" for s in "qkv"]
    whole, split = both(fused, apart, ("lora_down.weight", "lora_up.weight"), [D, D, D])
    other = {
        f"{above.format(n=0)}.o_proj.{side}.weight": np.ones((R, D) if side == "lora_down" else (D, R), "f4")
        for side in ("lora_down", "lora_up")
    }
    study = tunescope.norms(whole | other, split | other, scale={"model": 1.0, "model-2": 1.0})
    similarity = study.tables["similarity"].frame
    assert similarity["components"].to_list() == [1]
    (told,) = [f for f in study.findings if f.kind == "head_by_head"]
    assert "3 fused projections" in told.text


def test_glm_with_fewer_keys_has_one_projection_after_the_other() -> None:
    """As transformers converts GLM-4 [models/glm/convert_glm_weights_to_hf.py]."""
    apart = [f"encoder.layers.{{n}}.self_attn.{s}_proj" for s in "qkv"]
    fused = "transformer.encoder.layers.{n}.self_attention.query_key_value"
    whole, split = both(fused, apart, ("lora_down.weight", "lora_up.weight"), [D, KV, KV])
    study = tunescope.norms(whole, split)
    assert study.tables["similarity"].frame["delta_cosine"][0] == pytest.approx(1.0, abs=1e-9)
    assert study.tables["similarity"].frame["components"][0] == 9
