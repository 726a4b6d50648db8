"""Words of image and video models that hold an underscore, in flat names and dotted ones."""

import pytest

from tunescope.address import distinct_addresses, dotted, parse, parse_all

# Modules of diffusers' models as their classes build them [models/transformers/*.py, models/unets/*.py].
MODULES = [
    "adaln_single.emb.resolution_embedder.linear_1", "adaln_single.emb.aspect_ratio_embedder.linear_2",
    "audio_caption_projection.linear_1", "condition_embedder.delta_embedder.linear_1", "far_patch_embedding",
    "time_condition_embed.timestep_embedder.linear_1", "layers.3.mlp.linear_fc2", "final_norm.linear",
    "timestep_proj.0", "global_proj.2", "cross_attention_proj.0", "preprocess_conv", "postprocess_conv",
    "to_timestep_embed.0", "to_cond_embed.2", "to_global_embed.0", "face_encoder.conv1_local",
    "vace_patch_embedding", "proj_out_1", "patch_short", "patch_mid", "patch_long", "time_embed_r.linear_1",
    "transformer_blocks.2.img_mlp.gate_layer", "visual_transformer_blocks.1.visual_modulation.out_layer",
    "text_transformer_blocks.1.text_modulation.out_layer", "visual_embeddings.in_layer",
    "time_embeddings.in_layer", "text_embeddings.in_layer", "pooled_text_embeddings.in_layer",
    "video_text_transformer_blocks.1.attn.to_query", "audio_text_transformer_blocks.1.attn.to_query",
    "llm_cond_proj", "t_embedding.mlp_in", "t_embedding.mlp_out", "image_projector.net.2",
    "blocks.4.img_qkv_proj", "blocks.4.txt_kv_proj",
]  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_a_word_with_an_underscore_is_one_word_in_every_spelling(module: str) -> None:
    expected = parse(f"transformer.{module}")
    assert parse(f"diffusion_model.{module}") == expected
    for prefix in ("lora_unet_", "lora_transformer_", "lycoris_"):
        assert parse(dotted(prefix + module.replace(".", "_"))) == expected


# CogVideoX, ERNIE-Image and U-Nets each have an embedding of time of that name.
@pytest.mark.parametrize("block", ["transformer_blocks.0.attn1.to_q", "layers.0.self_attention.to_q"])
def test_words_of_u_nets_are_a_transformers_beside_its_blocks(block: str) -> None:
    names = [block, "time_embedding.linear_1"]
    theirs = parse_all(f"diffusion_model.{name}" for name in names)
    assert theirs == parse_all(f"transformer.{name}" for name in names)
    assert {address.stack for address in theirs} == {"model"}
    flat = [dotted("lora_unet_" + name.replace(".", "_")) for name in names]
    assert parse_all(flat) == theirs


@pytest.mark.parametrize(
    "outside", ["conv_in", "time_embedding.linear_1", "fps_embedding.linear_1", "conv_out"]
)
def test_modules_of_a_u_net_are_its_own_without_a_prefix(outside: str) -> None:
    names = ["down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", outside]
    assert parse_all(names) == parse_all(f"unet.{name}" for name in names)
    assert {address.stack for address in parse_all(names)} == {"unet"}


def test_a_first_projection_with_its_gate_first_keeps_its_name() -> None:
    """MiniMax-H3's own `fc1` is [gate; value], diffusers' [value; gate]."""
    mine = [f"blocks.0.{name}" for name in ("attn.qkv_proj", "attn.out_proj", "mlp.fc1", "mlp.fc2")]
    expected = ["attn.qkv_proj", "attn.to_out.0", "mlp.fc1", "ff.net.2"]
    for prefix in ("", "diffusion_model.", "lora_unet_"):
        names = [dotted(prefix + (name.replace(".", "_") if prefix.endswith("_") else name)) for name in mine]
        found = parse_all(names)
        assert [address.module_type for address in found] == expected
        assert [address.gate_first for address in found] == [False, False, True, False]
    # A model whose first projection has no gate, or one of another order, keeps the pair as one.
    plain = [f"diffusion_model.{name}".replace("qkv_proj", "qkv") for name in mine]
    assert parse_all(plain)[2] == parse("diffusion_model.transformer_blocks.0.ff.net.0.proj")


# Makers' own names of models whose lists other models call alike, which DiffSynth and PEFT save bare.
OWN = {
    "MiniMax-H3": ["blocks.0.attn.qkv_proj", "blocks.0.attn.out_proj", "blocks.0.mlp.fc2", "condition_proj"],
    "Wan": ["blocks.0.cross_attn.q", "blocks.0.ffn.0", "head.head", "text_embedding.0"],
    "Sana": ["blocks.0.cross_attn.q_linear", "blocks.0.attn.qkv", "blocks.0.attn.proj", "t_block.1"],
    "Cosmos 2": [
        "blocks.0.self_attn.q_proj", "blocks.0.self_attn.output_proj", "blocks.0.mlp.layer1",
        "blocks.0.adaln_modulation_mlp.1", "x_embedder.proj.1", "final_layer.linear",
    ],
    "Mochi": ["blocks.0.attn.qkv_x", "blocks.0.attn.proj_x", "blocks.0.mlp_x.w2", "final_layer.linear"],
}  # fmt: skip


@pytest.mark.parametrize("model", OWN)
def test_names_without_a_prefix_are_those_of_their_model(model: str) -> None:
    expected = parse_all(f"diffusion_model.{name}" for name in OWN[model])
    assert parse_all(OWN[model]) == expected
    assert distinct_addresses(parse_all(OWN[model])) == expected


def test_lists_of_the_same_name_in_other_models_keep_their_words() -> None:
    names = ["blocks.0.attn.qkv", "blocks.0.attn.proj", "blocks.0.mlp.fc1", "blocks.0.mlp.fc2", "head.head"]
    assert [a.module_type for a in parse_all(names)] == [n.removeprefix("blocks.0.") for n in names]


def test_a_feed_forward_network_outside_the_blocks_is_no_list_of_layers() -> None:
    """GLM-Image's projectors [diffusers: models/transformers/transformer_glm_image.py]."""
    names = ["transformer_blocks.0.ff.net.0.proj", "prior_projector.net.0.proj", "prior_projector.net.2"]
    found = parse_all(f"transformer.{name}" for name in names)
    assert [(a.stack, a.layer) for a in found] == [("model", 0), ("model", None), ("model", None)]
