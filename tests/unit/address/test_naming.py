"""Naming rules of image and video models: all spellings of one weight are one address, and one update."""

import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from tests.unit.address.saved_updates import saved

from tunescope.address import dotted, parse, parse_all
from tunescope.address.naming import BLOCKS, OUTSIDE, RENAMES, Rename
from tunescope.measure.between import between
from tunescope.source import open_source

LISTS = {
    "denoiser.layers": "diffusion_model.layers",
    "diffusers.layers": "diffusion_model.layers",
    "denoiser.blocks": "diffusion_model.blocks",
    "diffusers.blocks": "diffusion_model.blocks",
    "individual_token_refiner.blocks": "diffusion_model.txt_in.individual_token_refiner.blocks",
}


def spellings(pattern: str) -> list[str]:
    """All texts of a regular expression of alternatives, one set of characters and escaped dots."""
    parts = re.split(r"(\([^)]*\))", pattern)
    if len(parts) == 1:
        choices = pattern.replace("[._]", "(.|_)")
        if choices != pattern:
            return spellings(choices)
        return [text.replace("\\.", ".") for text in pattern.split("|")]
    if "|" in re.sub(r"\([^)]*\)", "", pattern):
        outside = re.split(r"\|(?![^(]*\))", pattern)
        return [text for one in outside for text in spellings(one)]
    sets = [p[1:-1].split("|") if p.startswith("(") else [p] for p in parts]
    return ["".join(chosen).replace("\\.", ".") for chosen in product(*sets)]


def path(rule: Rename, module: str, block: int) -> str:
    """The module's full name in the first list of blocks that the rule is for.

    What models call `blocks`, other than Wan and Hunyuan-DiT, diffusers calls `transformer_blocks`.
    """
    blocks = rule.blocks.split("|")[0]
    if blocks == "denoiser.blocks" and module == rule.name and not module.startswith(("self_", "cross_")):
        blocks = "transformer_blocks"
    return f"{LISTS.get(blocks, f'diffusion_model.{blocks}')}.{block}.{module}"


def flat(name: str) -> str:
    return "lora_unet_" + name.removeprefix("diffusion_model.").replace(".", "_")


CASES = [(rule, module) for rule in RENAMES for module in spellings(rule.spelled)]


@pytest.mark.parametrize(("rule", "module"), CASES, ids=[f"{r.blocks}:{m}" for r, m in CASES])
def test_every_spelling_of_a_rule_is_the_same_update(rule: Rename, module: str, tmp_path: Path) -> None:
    assert rule.source
    theirs, ours = ([path(rule, m, block) for block in range(3)] for m in (module, rule.name))
    files = {"theirs": theirs, "ours": ours, "flat": [flat(name) for name in theirs]}
    if "processor" in module:
        del files["flat"]
    sources = [open_source(saved(tmp_path / f"{label}.safetensors", names)) for label, names in files.items()]
    found = between([(source.label, source.deltas) for source in sources])
    assert (found.named == found.identical).all()
    assert (found.compared == 3).all()
    np.testing.assert_allclose(found.cosine, 1.0, rtol=1e-9)
    assert [delta.address.layer for delta in sources[0].deltas] == [0, 1, 2]


# Modules of public LoRA files, in the spelling of the model's own code.
NAMES = [
    # Flux, Flux 2, Chroma
    "double_blocks.4.img_attn.qkv", "double_blocks.4.txt_mlp.2", "single_blocks.30.linear1",
    "single_blocks.30.modulation.lin", "double_stream_modulation_img.lin", "img_in", "final_layer.linear",
    "time_in.in_layer", "distilled_guidance_layer.layers.2.in_layer", "guidance_in.out_layer",
    # SD3, AuraFlow
    "joint_blocks.7.x_block.attn.qkv", "joint_blocks.7.context_block.mlp.fc1",
    "joint_blocks.7.x_block.attn2.proj", "joint_transformer_blocks.3.ff_context.out_projection",
    # Wan, VACE
    "blocks.9.self_attn.q", "blocks.9.cross_attn.k_img", "blocks.9.ffn.0", "vace_blocks.2.after_proj",
    "text_embedding.0", "time_projection.1", "patch_embedding", "img_emb.proj.1", "head.head",
    # Qwen-Image, LTX, diffusers' Flux
    "transformer_blocks.5.attn.add_q_proj", "transformer_blocks.5.img_mlp.net.0.proj",
    "transformer_blocks.5.attn1.to_out.0", "transformer_blocks.5.ff.net.2", "patchify_proj",
    "single_transformer_blocks.3.proj_mlp", "transformer_blocks.5.ff_context.net.0.proj",
    # Hunyuan
    "double_blocks.3.img_attn_qkv", "single_blocks.3.linear2", "double_blocks.3.img_mlp.fc1",
    "txt_in.individual_token_refiner.blocks.1.self_attn_proj",
    # Z-Image, Lumina
    "layers.8.attention.qkv", "layers.8.feed_forward.w1", "noise_refiner.1.attention.out",
    "context_refiner.0.feed_forward.w3", "layers.8.adaLN_modulation.0", "cap_embedder.1",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_flat_half_flat_and_dotted_names_are_one_address(name: str) -> None:
    expected = parse(f"diffusion_model.{name}")
    assert parse(dotted(f"lora_unet_{name.replace('.', '_')}")) == expected
    assert parse(dotted(f"lora_unet_{name.replace('.', '_')}_")) == expected
    assert parse(f"model.diffusion_model.{name}.weight") == expected
    assert parse(dotted(f"lora_unet_{name.replace('.', '_', 2)}")) == expected
    layer = re.search(r"\.(\d+)\.(?=.*[a-z])", name)
    assert expected.layer == (int(layer[1]) if layer else None)


@pytest.mark.parametrize(
    "name",
    [
        "layers.8.attention.qkv", "layers.8.attention.out", "layers.8.feed_forward.w1",
        "noise_refiner.1.attention.out", "layers.8.adaLN_modulation.0", "blocks.9.attn.wq",
        "blocks.9.mlp.down",
        "txtfusion.layerwise_blocks.1.attn.gate", "blocks.9.self_attn.q", "double_blocks.4.img_attn.qkv",
        "single_blocks.30.linear1", "joint_blocks.7.x_block.attn.qkv", "text_embedding.0",
    ],
)  # fmt: skip
def test_the_names_of_a_model_without_a_prefix_are_the_same_addresses(name: str) -> None:
    assert parse(name) == parse(f"transformer.{name}") == parse(f"diffusion_model.{name}")


@pytest.mark.parametrize("blocks", BLOCKS, ids=lambda b: b.path)
def test_every_list_of_blocks_is_its_stack(blocks: object) -> None:
    path, stack = blocks.path, blocks.stack  # type: ignore[attr-defined]
    for prefix in ("", "diffusion_model.", "transformer.", "model.diffusion_model."):
        address = parse(f"{prefix}{path}.5.attn.norm_q")
        assert (address.stack, address.layer, address.module_type) == (stack, 5, "attn.norm_q")


@pytest.mark.parametrize(
    ("name", "stack"),
    [
        ("thinker.model.layers.0.self_attn.q_proj", "model"),
        ("talker.model.layers.0.self_attn.q_proj", "talker"),
        ("thinker.visual.blocks.0.attn.qkv", "vision"),
        ("thinker.audio_tower.layers.0.fc1", "audio"),
        ("qformer.encoder.layer.0.attention.attention.query", "qformer"),
        ("mtp.layers.0.mlp.up_proj", "mtp"),
        ("model.encoder.layers.0.fc1", "encoder"),
        ("model.decoder.layers.0.encoder_attn.q_proj", "decoder"),
        ("text_encoders.clip_g.transformer.text_model.encoder.layers.0.mlp.fc1", "text_encoder_2"),
        ("unet.mid_block.attentions.0.proj_in", "unet"),
    ],
)
def test_every_tower_is_a_stack(name: str, stack: str) -> None:
    assert parse(name).stack == stack


def test_double_and_single_blocks_are_numbered_apart() -> None:
    double, single = (
        parse(f"{kind}.5.attn.to_q") for kind in ("transformer_blocks", "single_transformer_blocks")
    )
    assert double.stack != single.stack
    assert double.layer == single.layer == 5


@pytest.mark.parametrize(
    ("name", "family", "component"),
    [
        ("double_blocks.0.img_attn.qkv", "attention", "ATTN_QKV"),
        ("double_blocks.0.txt_attn.qkv", "attention", "ATTN_ADD_QKV"),
        ("double_blocks.0.txt_attn.proj", "attention", "ATTN_ADD_O"),
        ("double_blocks.0.img_mlp.0", "mlp", "MLP_UP"),
        ("double_blocks.0.txt_mlp.2", "mlp", "MLP_CONTEXT_DOWN"),
        ("double_blocks.0.processor.qkv_lora1", "attention", "ATTN_QKV"),
        ("single_blocks.0.processor.qkv_lora", "attention", "ATTN_QKV"),
        ("single_transformer_blocks.0.proj_mlp", "mlp", "MLP_UP"),
        ("single_blocks.0.linear1", "other", "LINEAR1"),
        ("blocks.0.self_attn.o", "attention", "ATTN_O"),
        ("blocks.0.cross_attn.k_img", "attention", "XATTN_K_IMG"),
        ("blocks.0.attn2.to_v", "attention", "XATTN_V"),
        ("blocks.0.ffn.2", "mlp", "MLP_DOWN"),
        ("diffusion_model.layers.0.attention.out", "attention", "ATTN_O"),
        ("noise_refiner.0.feed_forward.w2", "mlp", "MLP_DOWN"),
        ("transformer_blocks.0.txt_mlp.net.0.proj", "mlp", "MLP_TXT_UP"),
        ("decoder.layers.0.self_attention.linear_qkv", "attention", "ATTN_QKV"),
        ("decoder.layers.0.mlp.linear_fc2", "mlp", "MLP_DOWN"),
        ("layers.0.attn.output_proj", "attention", "ATTN_O"),
        ("unet.label_emb.0.2", "embedding", "EMBED_LINEAR_2"),
        ("blk.0.ffn_down", "mlp", "MLP_DOWN"),
    ],
)
def test_image_models_have_families_too(name: str, family: str, component: str) -> None:
    address = parse(name)
    assert (address.family, address.component) == (family, component)


@pytest.mark.parametrize(
    ("name", "module", "expert"),
    [
        ("model.layers.0.mlp.experts.gate_up_projs.7", "mlp.experts.gate_up_proj", 7),
        ("model.layers.0.mlp.experts.down_projs.0", "mlp.experts.down_proj", 0),
        ("model.layers.0.mlp.experts.7.up_proj", "mlp.experts.up_proj", 7),
        ("decoder.block.1.layer.2.mlp.experts.expert_3.wi", "layer.2.mlp.experts.wi", 3),
        (
            "decoder.layers.0.mlp.experts.local_experts.5.linear_fc1",
            "mlp.experts.local_experts.linear_fc1",
            5,
        ),
        ("decoder.layers.0.mlp.experts.linear_fc2.weight11", "mlp.experts.linear_fc2", 11),
        ("model.layers.0.mlp.shared_expert.up_proj", "mlp.shared_expert.up_proj", None),
        ("model.layers.0.feed_forward.experts.gate_up_proj", "feed_forward.experts.gate_up_proj", None),
    ],
)
def test_experts_of_every_public_name_are_numbered(name: str, module: str, expert: int | None) -> None:
    address = parse(name)
    assert (address.module_type, address.expert, address.family) == (module, expert, "mlp")


OUTSIDE_CASES = [(rule, spelled) for rule in OUTSIDE for spelled in spellings(rule.spelled)]


@pytest.mark.parametrize(("rule", "spelled"), OUTSIDE_CASES, ids=[spelled for _, spelled in OUTSIDE_CASES])
def test_modules_outside_blocks_are_one_in_every_spelling(rule: Rename, spelled: str) -> None:
    names = [f"{p}{n}" for n in (spelled, rule.name) for p in ("transformer.", "diffusion_model.")]
    written_flat = [flat(f"diffusion_model.{n}") for n in (spelled, rule.name)]
    beside = "transformer.transformer_blocks.0.attn.to_q"
    found = set(parse_all([*names, *map(dotted, written_flat), beside])[:-1])
    assert {(a.stack, a.layer, a.module_type) for a in found} == {("model", None, rule.name)}


def test_names_of_language_models_are_left_as_they_are() -> None:
    for name in ("transformer.h.0.attn.c_attn", "model.layers.3.attention.out", "visual.blocks.2.attn.qkv",
                 "transformer.blocks.1.ffn.up_proj", "model.layers.0.self_attn.my_own_proj"):  # fmt: skip
        assert name.endswith(parse(name).module_type)


@pytest.mark.parametrize("side", [("in_layer", "linear_1"), ("out_layer", "linear_2")])
def test_the_guidance_layers_of_chroma_are_one_in_both_spellings(side: tuple[str, str]) -> None:
    theirs, ours = (f"distilled_guidance_layer.layers.4.{name}" for name in side)
    assert parse(f"diffusion_model.{theirs}") == parse(f"transformer.{ours}")
    assert parse(f"diffusion_model.{theirs}").stack == "guidance"
