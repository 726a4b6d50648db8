"""Names of parameters become addresses and short component names."""

import pytest

from tunescope.address import component_names, parse

# fmt: off
CASES = [
    ("model.layers.24.self_attn.k_proj.weight", "model", 24, "self_attn.k_proj", None, "attention",
     "L24_ATTN_K"),
    ("model.layers.2.mlp.gate_proj", "model", 2, "mlp.gate_proj", None, "mlp", "L2_MLP_GATE"),
    ("transformer.h.0.attn.c_attn", "model", 0, "attn.c_attn", None, "attention", "L0_ATTN_QKV"),
    ("transformer.h.5.mlp.c_proj", "model", 5, "mlp.c_proj", None, "mlp", "L5_MLP_DOWN"),
    ("gpt_neox.layers.0.attention.query_key_value", "model", 0, "attention.query_key_value", None,
     "attention",
     "L0_ATTN_QKV"),
    ("gpt_neox.layers.0.mlp.dense_4h_to_h", "model", 0, "mlp.dense_4h_to_h", None, "mlp", "L0_MLP_DOWN"),
    ("roberta.encoder.layer.3.attention.self.query", "encoder", 3, "attention.self.query", None, "attention",
     "L3_ATTN_Q"),
    ("bert.encoder.layer.3.attention.output.dense", "encoder", 3, "attention.output.dense", None, "attention",
     "L3_ATTN_O"),
    ("bert.encoder.layer.3.output.dense", "encoder", 3, "output.dense", None, "mlp", "L3_MLP_DOWN"),
    ("distilbert.transformer.layer.1.ffn.lin2", "model", 1, "ffn.lin2", None, "mlp", "L1_MLP_DOWN"),
    ("vit.encoder.layer.0.attention.attention.query", "encoder", 0, "attention.attention.query",
     None, "attention",
     "L0_ATTN_Q"),
    ("decoder.block.0.layer.1.EncDecAttention.q", "decoder", 0, "layer.1.EncDecAttention.q", None,
     "attention",
     "L0_XATTN_Q"),
    ("encoder.block.0.layer.1.DenseReluDense.wi_0", "encoder", 0, "layer.1.DenseReluDense.wi_0", None, "mlp",
     "L0_MLP_GATE"),
    ("model.layers.2.self_attn.qkv_proj", "model", 2, "self_attn.qkv_proj", None, "attention", "L2_ATTN_QKV"),
    ("model.layers.0.block_sparse_moe.experts.3.w2", "model", 0, "block_sparse_moe.experts.w2", 3, "mlp",
     "L0_MLP_DOWN_E3"),
    ("model.visual.blocks.1.attn.qkv", "vision", 1, "attn.qkv", None, "attention", "L1_ATTN_QKV"),
    ("model.language_model.layers.1.self_attn.q_proj", "language", 1, "self_attn.q_proj", None, "attention",
     "L1_ATTN_Q"),
    ("model.layers.0.self_attn.q_norm", "model", 0, "self_attn.q_norm", None, "norm", "L0_Q_NORM"),
    ("model.layers.0.post_attention_layernorm", "model", 0, "post_attention_layernorm", None, "norm",
     "L0_POST_ATTENTION_LAYERNORM"),
    ("model.layers.5.mlp.down_proj.bias", "model", 5, "mlp.down_proj.bias", None, "mlp", "L5_MLP_DOWN_BIAS"),
    # Lists of blocks beside the model's own.
    ("lyric_encoder.encoders.3.self_attn.linear_q", "lyric_encoder", 3, "self_attn.linear_q", None,
     "attention", "L3_ATTN_LINEAR_Q"),
    ("transformer.caption_projection.45.linear", "caption_projection", 45, "linear", None, "other",
     "L45_LINEAR"),
    ("caption_projection.linear_1", "model", None, "caption_projection.linear_1", None, "other",
     "LINEAR_1"),
    ("token2wav.code2wav_dit_model.transformer_blocks.2.attn.to_q", "code2wav", 2, "attn.to_q", None,
     "attention", "L2_ATTN_Q"),
    ("token2wav.code2wav_dit_model.input_embed.spk_encoder.blocks.0.conv", "speaker_encoder", 0, "conv", None,
     "other", "L0_CONV"),
    ("token2wav.code2wav_bigvgan_model.resblocks.2.convs1.0", "vocoder", 2, "convs1.0", None, "other",
     "L2_CONVS1_0"),
    ("code2wav.pre_transformer.layers.1.self_attn.q_proj", "code2wav", 1, "self_attn.q_proj", None,
     "attention", "L1_ATTN_Q"),
    ("code2wav.decoder.1.block.1.conv", "decoder", 1, "block.1.conv", None, "other", "L1_CONV"),
    ("depth_decoder.model.layers.0.self_attn.q_proj", "depth_decoder", 0, "self_attn.q_proj", None,
     "attention", "L0_ATTN_Q"),
    ("lm_head.weight", "model", None, "lm_head", None, "embedding", "LM_HEAD"),
    ("model.embed_tokens.weight", "model", None, "embed_tokens", None, "embedding", "EMBED"),
    ("score", "model", None, "score", None, "other", "SCORE"),
    ("unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0", "unet", 12,
     "attentions.transformer_blocks.0.attn1.to_out.0", None, "attention", "L12_ATTN_O"),
    ("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k", "unet", 4,
     "attentions.transformer_blocks.0.attn2.to_k", None, "attention", "L4_XATTN_K"),
]
# fmt: on


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_known_names(case: tuple[str, str, int | None, str, int | None, str, str]) -> None:
    name, stack, layer, module_type, expert, family, component = case
    address = parse(name)
    assert (address.stack, address.layer, address.module_type, address.expert) == (
        stack,
        layer,
        module_type,
        expert,
    )
    assert address.family == family
    assert component_names([address]) == [component]


def test_unet_places_are_counted_in_network_order() -> None:
    names = [f"unet.down_blocks.{i}.attentions.{j}.proj_in" for i in range(3) for j in range(2)]
    names += ["unet.mid_block.attentions.0.proj_in"]
    names += [f"unet.up_blocks.{i}.attentions.{j}.proj_in" for i in range(1, 4) for j in range(3)]
    layers = [parse(name).layer for name in names]
    assert layers == sorted(layers, key=lambda layer: -1 if layer is None else layer)
    assert len(set(layers)) == len(layers)
    assert (layers[0], layers[-1]) == (1, 24)


def test_component_names_are_unique() -> None:
    several = [parse(f"{stack}.block.0.layer.0.SelfAttention.q") for stack in ("encoder", "decoder")]
    assert component_names(several) == ["ENCODER_L0_ATTN_Q", "DECODER_L0_ATTN_Q"]
    clash = [parse("model.layers.0.mlp.up_proj"), parse("model.layers.0.mlp.fc1")]
    assert component_names(clash) == ["L0_MLP_UP_PROJ", "L0_MLP_FC1"]
    same = [parse("model.layers.0.mlp.up_proj")] * 3
    assert len(set(component_names(same))) == 3
