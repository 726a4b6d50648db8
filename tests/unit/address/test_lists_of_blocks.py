"""Numbered modules of public models: which are blocks of one stack, and which are none."""

from collections import defaultdict

import pytest

from tunescope.address import dotted, parse, parse_all

# Modules of public models: each line a list of blocks, or a module outside them, as named_modules() says.
LISTS: dict[str, tuple[str, ...]] = {
    "GlmImageTransformer2DModel": ("transformer_blocks.1.attn1.to_q",),
    "LatteTransformer3DModel": (
        "transformer_blocks.1.attn1.to_q", "temporal_transformer_blocks.1.attn1.to_v",
    ),
    "UVit2DModel": (
        "transformer_layers.1.attn1.to_q", "down_block.res_blocks.1.channelwise_linear_1",
        "down_block.attention_blocks.1.attn1.to_q", "up_block.res_blocks.1.channelwise_linear_1",
        "up_block.attention_blocks.1.kv_mapper",
    ),
    "ZImageControlNetModel": ("control_layers.1.attention.to_q", "control_noise_refiner.1.attention.to_v"),
    "LongCatAudioDiTTransformer": ("blocks.1.self_attn.to_q", "text_conv_layer.1.dwconv"),
    "UNet3DConditionModel": (
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
        "transformer_in.transformer_blocks.0.attn1.to_k",
    ),
    "RFD4ProteinaTransformer": (
        "transformer_layers.1.mhba.to_q", "pair_update_layers.1.tri_mult_in.linear_g",
    ),
    "OneFormerModel": (
        "transformer_module.decoder.layers.1.self_attn.out_proj",
        "transformer_module.decoder.query_transformer.decoder.layers.1.linear1",
    ),
    "Sam3Model": (
        "vision_encoder.backbone.layers.1.attention.q_proj", "vision_encoder.neck.fpn_layers.1.proj1",
    ),
    "PeAudioModel": (
        "audio_encoder.layers.1.self_attn.q_proj", "audio_encoder.embedder.dac_encoder.block.1.conv1",
    ),
    "FunAsrNanoForConditionalGeneration": (
        "model.audio_tower.layers.1.fc1", "model.multi_modal_projector.layers.1.mlp.fc1",
        "model.language_model.layers.1.mlp.up_proj",
    ),
    "Phi4MultimodalModel": (
        "layers.1.mlp.down_proj", "embed_tokens_extend.audio_embed.encoder.encoders.1.self_attn.q_proj",
        "embed_tokens_extend.image_embed.img_processor.encoder.layers.1.mlp.fc1",
    ),
}  # fmt: skip
# Numbered parts of one module, beside a block of the model.
NO_BLOCKS = (
    ("glyph_projector.net.0.proj", "transformer_blocks.1.attn1.to_q"),
    ("prior_projector.net.2", "transformer_blocks.1.attn1.to_q"),
    ("image_latents_temporal_encoder.ff.net.0.proj", "down_blocks.0.resnets.0.conv1"),
    ("model.merger.mlp.0.linear_1", "model.language_model.layers.0.mlp.up_proj"),
)
# What a flat key of the module must say as well as its dotted name does.
FLAT = (
    "down_block.res_blocks.1.cond_embeds_mapper", "up_block.res_blocks.0.channelwise_linear_2",
    "transformer_layers.3.norm1.linear", "transformer_layers.3.ff.net.0.proj", "project_from_hidden",
    "mlm_layer.conv1", "encoder_proj", "prior_token_embedding", "cond_type_embed", "embed_image_indicator",
    "layers.3.mlp_moe_gen.gate_proj", "time_extra_emb.pooler.q_proj", "patch_embedder.proj",
    "control_noise_refiner.1.attention.to_q", "control_blocks.1.attn1.to_q", "controlnet_blocks.3",
    "controlnet_x_embedder", "text_conv_layer.1.dwconv", "decoders.2.layer.0.FiLMLayer.scale_bias",
    "motion_encoder.motion_network.0", "patch_embedding.input_image_proj", "blocks.3.cross_attn.kv_linear",
)  # fmt: skip
OF_A_UNET = (
    "down_blocks.0.resnets.1.conv_skip", "mid_block.attentions.3.proj_attn", "up_blocks.2.resnets.0.conv_1",
    "transformer_in.proj_in", "image_latents_proj_in.0", "controlnet_down_blocks.3", "controlnet_mid_block",
    "controlnet_cond_embedding.blocks.0", "control_add_embedding.linear_1",
)  # fmt: skip


@pytest.mark.parametrize("model", LISTS)
def test_every_list_of_a_public_model_is_a_stack(model: str) -> None:
    stacks = defaultdict(set)
    for name, address in zip(LISTS[model], parse_all(LISTS[model]), strict=True):
        assert address.layer is not None
        stacks[address.stack].add(name)
    assert [len(names) for names in stacks.values()] == [1] * len(LISTS[model])


def test_the_layers_that_xlm_keeps_in_two_lists_are_one_stack() -> None:
    names = ["transformer.attentions.1.q_lin", "transformer.ffns.1.lin1"]
    assert {(a.stack, a.layer) for a in parse_all(names)} == {("model", 1)}


@pytest.mark.parametrize(("name", "block"), NO_BLOCKS)
def test_a_numbered_part_of_a_projector_is_no_block(name: str, block: str) -> None:
    outside, within = parse_all([name, block])
    assert outside.layer is None
    assert within.layer is not None
    flat = dotted("lora_unet_" + name.replace(".", "_")) if not name.startswith("model.") else name
    assert parse_all([flat, block])[0] == outside


@pytest.mark.parametrize("name", FLAT)
def test_flat_keys_of_a_transformer_say_what_its_names_do(name: str) -> None:
    prefixed = parse(f"transformer.{name}")
    assert parse(dotted("lora_unet_" + name.replace(".", "_"))) == prefixed
    assert parse(f"diffusion_model.{name}") == prefixed


@pytest.mark.parametrize("name", OF_A_UNET)
def test_flat_keys_of_a_u_net_say_what_its_names_do(name: str) -> None:
    beside = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    flat = dotted("lora_unet_" + name.replace(".", "_"))
    wanted = parse_all([name, beside])
    assert parse_all([flat, beside]) == wanted
    assert parse_all([f"unet.{name}", f"unet.{beside}"]) == wanted


def test_patch_embeddings_are_their_towers() -> None:
    assert parse("model.vision_tower.embeddings.patch_embeddings.projection").stack == "vision"
    assert parse("encoder.patch_embeddings.1.proj.weight").stack == "patch_embeddings"
