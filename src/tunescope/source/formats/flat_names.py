"""Names flattened with underscores (`lora_unet_down_blocks_0_…`) → dotted module names."""

import re

_PREFIXES = (
    ("lora_unet_", "unet."), ("lora_te1_", "text_encoder."), ("lora_te2_", "text_encoder_2."),
    ("lora_te3_", "text_encoder_3."), ("lora_te_", "text_encoder."), ("lora_transformer_", "transformer."),
    ("lora_prior_unet_", "unet."), ("lora_prior_te_", "text_encoder."), ("lora_llm_adapter_", "llm_adapter."),
    ("lycoris_", ""), ("lora_", ""),
)  # fmt: skip

# Module names that hold an underscore of their own; all other underscores were dots.
_COMPOUNDS = (
    "down_blocks up_blocks mid_block transformer_blocks single_transformer_blocks text_model "
    "text_projection self_attn cross_attn encoder_attn q_proj k_proj v_proj o_proj out_proj qkv_proj "
    "gate_proj up_proj down_proj proj_in proj_out proj_mlp to_q to_k to_v to_out to_qkv add_q_proj "
    "add_k_proj add_v_proj to_add_out ff_context norm1_context input_blocks middle_block output_blocks "
    "time_embed time_embedding time_emb_proj label_emb emb_layers in_layers out_layers skip_connection "
    "conv_in conv_out conv_shortcut double_blocks single_blocks img_attn txt_attn img_mlp txt_mlp "
    "img_mod txt_mod img_in txt_in vector_in time_in guidance_in in_layer out_layer joint_blocks "
    "context_block x_block final_layer adaLN_modulation linear_1 linear_2 token_embedding "
    "position_embedding time_text_embed x_embedder context_embedder add_embedding timestep_embedder "
    "guidance_embedder text_embedder layer_norm1 layer_norm2 in_proj wi_0 wi_1 embed_tokens lm_head "
    "query_key_value dense_h_to_4h dense_4h_to_h token_refiner_blocks caption_projection"
)
_TOKEN = re.compile(
    r"(?:^|_)((?:" + "|".join(sorted(_COMPOUNDS.split(), key=len, reverse=True)) + r")(?=_|$)|[^_]+)"
)
_LDM = re.compile(r"^unet\.(input_blocks|middle_block|output_blocks)\.(\d+)(?:\.(\d+))?\.(.+)$")
_RESNET_PARTS = (
    ("in_layers.0", "norm1"), ("in_layers.2", "conv1"), ("out_layers.0", "norm2"), ("out_layers.3", "conv2"),
    ("emb_layers.1", "time_emb_proj"), ("skip_connection", "conv_shortcut"),
)  # fmt: skip


def dotted(name: str) -> str:
    """The module name that a flattened key stands for, in diffusers' naming where it is a UNet.

    >>> dotted("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0")
    'unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0'
    >>> dotted("lora_te1_text_model_encoder_layers_3_self_attn_q_proj")
    'text_encoder.text_model.encoder.layers.3.self_attn.q_proj'
    """
    if "." in name:
        return name.removeprefix("diffusion_model.")
    for prefix, replacement in _PREFIXES:
        if name.startswith(prefix) and len(name) > len(prefix):
            path = ".".join(_TOKEN.findall(name[len(prefix) :]))
            return _diffusers_block(replacement + path)
    return ".".join(_TOKEN.findall(name)) or name


def _diffusers_block(path: str) -> str:
    """The numbered blocks of the original code (`input_blocks.4.1`) as down, middle and up blocks.

    >>> _diffusers_block("unet.input_blocks.4.1.transformer_blocks.0.attn1.to_q")
    'unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q'
    """
    if (found := _LDM.match(path)) is None:
        return path
    part, number, inner, rest = found[1], int(found[2]), int(found[3] or 0), found[4]
    if part == "middle_block":
        rest = path.split(".", 3)[3]
        kind, index = (("resnets", 0), ("attentions", 0), ("resnets", 1))[min(number, 2)]
        return f"unet.mid_block.{kind}.{index}.{_resnet_part(rest)}"
    if part == "input_blocks" and number == 0:
        return "unet.conv_in"
    block, place = divmod(number - (part == "input_blocks"), 3)
    side = "down_blocks" if part == "input_blocks" else "up_blocks"
    if rest in ("op", "conv"):
        return f"unet.{side}.{block}.{'downsamplers' if side == 'down_blocks' else 'upsamplers'}.0.conv"
    return f"unet.{side}.{block}.{'attentions' if inner else 'resnets'}.{place}.{_resnet_part(rest)}"


def _resnet_part(rest: str) -> str:
    for old, new in _RESNET_PARTS:
        if rest == old:
            return new
    return rest
