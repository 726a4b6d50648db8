"""The names of weights of public image and video models: as their authors call them, and as diffusers does.

Each line is one weight, `#` the number of its block; a fused weight of the authors' is several of diffusers'.
From the conversions in diffusers' `loaders/single_file_utils.py`, `loaders/lora_conversion_utils.py` and
`scripts/convert_*_to_diffusers.py`; what diffusers stores in another order of rows is left out.
"""

from tests.unit.address.spelled_blocks import (
    CROSS,
    FLUX_BLOCKS,
    FLUX_MODULATION,
    FLUX_OUTSIDE,
    HUNYUAN_SPLIT,
    HUNYUAN_TEXT,
    LUMINA_BLOCK,
    LUMINA_OUTSIDE,
    PIXART_OUTSIDE,
    Z_IMAGE_BLOCK,
    block_lines,
    unchanged,
)

MODELS = {
    "Flux": FLUX_OUTSIDE + FLUX_BLOCKS + FLUX_MODULATION,
    "Chroma": FLUX_BLOCKS
    + """
img_in → x_embedder
txt_in → context_embedder
final_layer.linear → proj_out
distilled_guidance_layer.in_proj → distilled_guidance_layer.in_proj
distilled_guidance_layer.out_proj → distilled_guidance_layer.out_proj
distilled_guidance_layer.layers.#.in_layer → distilled_guidance_layer.layers.#.linear_1
distilled_guidance_layer.layers.#.out_layer → distilled_guidance_layer.layers.#.linear_2
""",
    "Flux 2": """
img_in → x_embedder
txt_in → context_embedder
time_in.in_layer → time_guidance_embed.timestep_embedder.linear_1
time_in.out_layer → time_guidance_embed.timestep_embedder.linear_2
guidance_in.in_layer → time_guidance_embed.guidance_embedder.linear_1
guidance_in.out_layer → time_guidance_embed.guidance_embedder.linear_2
double_stream_modulation_img.lin → double_stream_modulation_img.linear
double_stream_modulation_txt.lin → double_stream_modulation_txt.linear
single_stream_modulation.lin → single_stream_modulation.linear
final_layer.linear → proj_out
double_blocks.#.img_attn.qkv → transformer_blocks.#.attn.to_{q,k,v}
double_blocks.#.txt_attn.qkv → transformer_blocks.#.attn.add_{q,k,v}_proj
double_blocks.#.img_attn.proj → transformer_blocks.#.attn.to_out.0
double_blocks.#.txt_attn.proj → transformer_blocks.#.attn.to_add_out
double_blocks.#.img_mlp.0 → transformer_blocks.#.ff.linear_in
double_blocks.#.img_mlp.2 → transformer_blocks.#.ff.linear_out
double_blocks.#.txt_mlp.0 → transformer_blocks.#.ff_context.linear_in
double_blocks.#.txt_mlp.2 → transformer_blocks.#.ff_context.linear_out
single_blocks.#.linear1 → single_transformer_blocks.#.attn.to_qkv_mlp_proj
single_blocks.#.linear2 → single_transformer_blocks.#.attn.to_out
""",
    "Stable Diffusion 3": """
x_embedder.proj → pos_embed.proj
context_embedder → context_embedder
t_embedder.mlp.0 → time_text_embed.timestep_embedder.linear_1
t_embedder.mlp.2 → time_text_embed.timestep_embedder.linear_2
y_embedder.mlp.0 → time_text_embed.text_embedder.linear_1
y_embedder.mlp.2 → time_text_embed.text_embedder.linear_2
final_layer.linear → proj_out
joint_blocks.#.x_block.attn.qkv → transformer_blocks.#.attn.to_{q,k,v}
joint_blocks.#.context_block.attn.qkv → transformer_blocks.#.attn.add_{q,k,v}_proj
joint_blocks.#.x_block.attn.proj → transformer_blocks.#.attn.to_out.0
joint_blocks.#.context_block.attn.proj → transformer_blocks.#.attn.to_add_out
joint_blocks.#.x_block.attn2.qkv → transformer_blocks.#.attn2.to_{q,k,v}
joint_blocks.#.x_block.attn2.proj → transformer_blocks.#.attn2.to_out.0
joint_blocks.#.x_block.mlp.fc1 → transformer_blocks.#.ff.net.0.proj
joint_blocks.#.x_block.mlp.fc2 → transformer_blocks.#.ff.net.2
joint_blocks.#.context_block.mlp.fc1 → transformer_blocks.#.ff_context.net.0.proj
joint_blocks.#.context_block.mlp.fc2 → transformer_blocks.#.ff_context.net.2
joint_blocks.#.x_block.adaLN_modulation.1 → transformer_blocks.#.norm1.linear
joint_blocks.#.context_block.adaLN_modulation.1 → transformer_blocks.#.norm1_context.linear
""",
    "HunyuanVideo": HUNYUAN_TEXT
    + FLUX_BLOCKS.replace("attn.qkv", "attn_qkv")
    .replace("attn.proj →", "attn_proj →")
    .replace("mlp.0", "mlp.fc1")
    .replace("mlp.2", "mlp.fc2")
    + FLUX_MODULATION.replace(".lin →", ".linear →")
    + """
img_in.proj → x_embedder.proj
time_in.mlp.0 → time_text_embed.timestep_embedder.linear_1
time_in.mlp.2 → time_text_embed.timestep_embedder.linear_2
vector_in.in_layer → time_text_embed.text_embedder.linear_1
vector_in.out_layer → time_text_embed.text_embedder.linear_2
guidance_in.mlp.0 → time_text_embed.guidance_embedder.linear_1
guidance_in.mlp.2 → time_text_embed.guidance_embedder.linear_2
final_layer.linear → proj_out
""",
    "HunyuanVideo 1.5": HUNYUAN_TEXT
    + HUNYUAN_SPLIT
    + """
time_in.mlp.0 → time_embed.timestep_embedder.linear_1
time_in.mlp.2 → time_embed.timestep_embedder.linear_2
vision_in.proj.1 → image_embedder.linear_1
vision_in.proj.3 → image_embedder.linear_2
final_layer.linear → proj_out
""",
    "HunyuanImage": HUNYUAN_TEXT
    + HUNYUAN_SPLIT
    + """
time_in.mlp.0 → time_guidance_embed.timestep_embedder.linear_1
time_in.mlp.2 → time_guidance_embed.timestep_embedder.linear_2
time_r_in.mlp.0 → time_guidance_embed.timestep_embedder_r.linear_1
time_r_in.mlp.2 → time_guidance_embed.timestep_embedder_r.linear_2
guidance_in.mlp.0 → time_guidance_embed.guidance_embedder.linear_1
guidance_in.mlp.2 → time_guidance_embed.guidance_embedder.linear_2
single_blocks.#.linear1_q → single_transformer_blocks.#.attn.to_q
single_blocks.#.linear1_k → single_transformer_blocks.#.attn.to_k
single_blocks.#.linear1_v → single_transformer_blocks.#.attn.to_v
single_blocks.#.linear1_mlp → single_transformer_blocks.#.proj_mlp
single_blocks.#.linear2.fc → single_transformer_blocks.#.proj_out
single_blocks.#.modulation.linear → single_transformer_blocks.#.norm.linear
final_layer.linear → proj_out
""",
    "Wan": "".join(
        f"\nblocks.#.{ours}.{side} → blocks.#.{theirs}.to_{side}"
        for ours, theirs in (("self_attn", "attn1"), ("cross_attn", "attn2"))
        for side in "qkv"
    )
    + """
blocks.#.self_attn.o → blocks.#.attn1.to_out.0
blocks.#.cross_attn.o → blocks.#.attn2.to_out.0
blocks.#.cross_attn.k_img → blocks.#.attn2.add_k_proj
blocks.#.cross_attn.v_img → blocks.#.attn2.add_v_proj
blocks.#.ffn.0 → blocks.#.ffn.net.0.proj
blocks.#.ffn.2 → blocks.#.ffn.net.2
vace_blocks.#.self_attn.q → vace_blocks.#.attn1.to_q
vace_blocks.#.ffn.2 → vace_blocks.#.ffn.net.2
vace_blocks.#.before_proj → vace_blocks.#.proj_in
vace_blocks.#.after_proj → vace_blocks.#.proj_out
text_embedding.0 → condition_embedder.text_embedder.linear_1
text_embedding.2 → condition_embedder.text_embedder.linear_2
time_embedding.0 → condition_embedder.time_embedder.linear_1
time_embedding.2 → condition_embedder.time_embedder.linear_2
time_projection.1 → condition_embedder.time_proj
img_emb.proj.1 → condition_embedder.image_embedder.ff.net.0.proj
img_emb.proj.3 → condition_embedder.image_embedder.ff.net.2
head.head → proj_out
""",
    "Qwen-Image": unchanged(
        "img_in", "txt_in", "time_text_embed.timestep_embedder.linear_1", "proj_out", "norm_out.linear",
        *(
            f"transformer_blocks.#.{module}"
            for module in (
                "attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "attn.add_q_proj", "attn.add_k_proj",
                "attn.add_v_proj", "attn.to_add_out", "img_mlp.net.0.proj", "img_mlp.net.2",
                "txt_mlp.net.0.proj", "txt_mlp.net.2", "img_mod.1", "txt_mod.1",
            )
        ),
    ),
    "LTX-Video": unchanged(
        "caption_projection.linear_1", "proj_out",
        *(
            f"transformer_blocks.#.{attention}.{module}"
            for attention in ("attn1", "attn2")
            for module in ("to_q", "to_k", "to_v", "to_out.0")
        ),
        "transformer_blocks.#.ff.net.0.proj", "transformer_blocks.#.ff.net.2",
    )
    + """
patchify_proj → proj_in
adaln_single.emb.timestep_embedder.linear_1 → time_embed.emb.timestep_embedder.linear_1
adaln_single.linear → time_embed.linear
""",
    "LTX 2": unchanged(
        *(
            f"transformer_blocks.#.{attention}.{module}"
            for attention in (
                "attn1", "attn2", "audio_attn1", "audio_attn2", "audio_to_video_attn", "video_to_audio_attn"
            )
            for module in ("to_q", "to_k", "to_v", "to_out.0")
        ),
        "transformer_blocks.#.ff.net.0.proj", "transformer_blocks.#.ff.net.2",
        "transformer_blocks.#.audio_ff.net.0.proj", "transformer_blocks.#.audio_ff.net.2", "audio_proj_out",
    )
    + """
patchify_proj → proj_in
audio_patchify_proj → audio_proj_in
"""
    + block_lines(
        """
@.linear → @.linear
@.emb.timestep_embedder.linear_1 → @.emb.timestep_embedder.linear_1
@.emb.timestep_embedder.linear_2 → @.emb.timestep_embedder.linear_2
""",
        "adaln_single → time_embed", "audio_adaln_single → audio_time_embed",
        "av_ca_video_scale_shift_adaln_single → av_cross_attn_video_scale_shift",
        "av_ca_a2v_gate_adaln_single → av_cross_attn_video_a2v_gate",
        "av_ca_audio_scale_shift_adaln_single → av_cross_attn_audio_scale_shift",
        "av_ca_v2a_gate_adaln_single → av_cross_attn_audio_v2a_gate",
    ),
    "Z-Image": block_lines(Z_IMAGE_BLOCK, "layers", "noise_refiner", "context_refiner")
    + """
x_embedder → all_x_embedder.2-1
final_layer.linear → all_final_layer.2-1.linear
final_layer.adaLN_modulation.1 → all_final_layer.2-1.adaLN_modulation.1
layers.#.adaLN_modulation.0 → layers.#.adaLN_modulation.0
noise_refiner.#.adaLN_modulation.0 → noise_refiner.#.adaLN_modulation.0
cap_embedder.1 → cap_embedder.1
t_embedder.mlp.0 → t_embedder.mlp.0
""",
    "Lumina-Image 2": block_lines(LUMINA_BLOCK, "layers", "noise_refiner", "context_refiner")
    + LUMINA_OUTSIDE
    + """
layers.#.adaLN_modulation.1 → layers.#.norm1.linear
noise_refiner.#.adaLN_modulation.1 → noise_refiner.#.norm1.linear
""",
    "PixArt": PIXART_OUTSIDE
    + CROSS
    + """
x_embedder.proj → pos_embed.proj
blocks.#.mlp.fc1 → transformer_blocks.#.ff.net.0.proj
blocks.#.mlp.fc2 → transformer_blocks.#.ff.net.2
""",
    "Sana": PIXART_OUTSIDE.replace("adaln_single.", "time_embed.")
    + CROSS
    + """
x_embedder.proj → patch_embed.proj
blocks.#.mlp.inverted_conv.conv → transformer_blocks.#.ff.conv_inverted
blocks.#.mlp.depth_conv.conv → transformer_blocks.#.ff.conv_depth
blocks.#.mlp.point_conv.conv → transformer_blocks.#.ff.conv_point
""",
    "AuraFlow": """
t_embedder.mlp.0 → time_step_proj.linear_1
t_embedder.mlp.2 → time_step_proj.linear_2
cond_seq_linear → context_embedder
init_x_linear → pos_embed.proj
final_linear → proj_out
double_layers.#.mlpX.c_fc1 → joint_transformer_blocks.#.ff.linear_1
double_layers.#.mlpX.c_fc2 → joint_transformer_blocks.#.ff.linear_2
double_layers.#.mlpX.c_proj → joint_transformer_blocks.#.ff.out_projection
double_layers.#.mlpC.c_fc1 → joint_transformer_blocks.#.ff_context.linear_1
double_layers.#.mlpC.c_fc2 → joint_transformer_blocks.#.ff_context.linear_2
double_layers.#.mlpC.c_proj → joint_transformer_blocks.#.ff_context.out_projection
double_layers.#.modX.1 → joint_transformer_blocks.#.norm1.linear
double_layers.#.modC.1 → joint_transformer_blocks.#.norm1_context.linear
double_layers.#.attn.w2q → joint_transformer_blocks.#.attn.to_q
double_layers.#.attn.w2k → joint_transformer_blocks.#.attn.to_k
double_layers.#.attn.w2v → joint_transformer_blocks.#.attn.to_v
double_layers.#.attn.w2o → joint_transformer_blocks.#.attn.to_out.0
double_layers.#.attn.w1q → joint_transformer_blocks.#.attn.add_q_proj
double_layers.#.attn.w1k → joint_transformer_blocks.#.attn.add_k_proj
double_layers.#.attn.w1v → joint_transformer_blocks.#.attn.add_v_proj
double_layers.#.attn.w1o → joint_transformer_blocks.#.attn.to_add_out
single_layers.#.mlp.c_fc1 → single_transformer_blocks.#.ff.linear_1
single_layers.#.mlp.c_fc2 → single_transformer_blocks.#.ff.linear_2
single_layers.#.mlp.c_proj → single_transformer_blocks.#.ff.out_projection
single_layers.#.modCX.1 → single_transformer_blocks.#.norm1.linear
single_layers.#.attn.w1q → single_transformer_blocks.#.attn.to_q
single_layers.#.attn.w1k → single_transformer_blocks.#.attn.to_k
single_layers.#.attn.w1v → single_transformer_blocks.#.attn.to_v
single_layers.#.attn.w1o → single_transformer_blocks.#.attn.to_out.0
""",
    "Mochi": """
x_embedder.proj → patch_embed.proj
t_embedder.mlp.0 → time_embed.timestep_embedder.linear_1
t_embedder.mlp.2 → time_embed.timestep_embedder.linear_2
t5_y_embedder.to_kv → time_embed.pooler.to_kv
t5_y_embedder.to_q → time_embed.pooler.to_q
t5_y_embedder.to_out → time_embed.pooler.to_out
t5_yproj → time_embed.caption_proj
blocks.#.mod_x → transformer_blocks.#.norm1.linear
blocks.#.mod_y → transformer_blocks.#.norm1_context.linear
blocks.#.attn.qkv_x → transformer_blocks.#.attn1.to_{q,k,v}
blocks.#.attn.qkv_y → transformer_blocks.#.attn1.add_{q,k,v}_proj
blocks.#.attn.proj_x → transformer_blocks.#.attn1.to_out.0
blocks.#.attn.proj_y → transformer_blocks.#.attn1.to_add_out
blocks.#.mlp_x.w2 → transformer_blocks.#.ff.net.2
blocks.#.mlp_y.w2 → transformer_blocks.#.ff_context.net.2
final_layer.linear → proj_out
""",
    "CogVideoX": """
mixins.patch_embed.proj → patch_embed.proj
mixins.patch_embed.text_proj → patch_embed.text_proj
mixins.final_layer.linear → proj_out
mixins.final_layer.adaLN_modulation.1 → norm_out.linear
transformer.layers.#.attention.query_key_value → transformer_blocks.#.attn1.to_{q,k,v}
transformer.layers.#.attention.dense → transformer_blocks.#.attn1.to_out.0
transformer.layers.#.mlp.dense_h_to_4h → transformer_blocks.#.ff.net.0.proj
transformer.layers.#.mlp.dense_4h_to_h → transformer_blocks.#.ff.net.2
""",
    "Cosmos 2": "".join(
        f"\nblocks.#.{ours}.{side}_proj → transformer_blocks.#.{theirs}.to_{side}"
        for ours, theirs in (("self_attn", "attn1"), ("cross_attn", "attn2"))
        for side in "qkv"
    )
    + """
blocks.#.self_attn.output_proj → transformer_blocks.#.attn1.to_out.0
blocks.#.cross_attn.output_proj → transformer_blocks.#.attn2.to_out.0
blocks.#.mlp.layer1 → transformer_blocks.#.ff.net.0.proj
blocks.#.mlp.layer2 → transformer_blocks.#.ff.net.2
blocks.#.adaln_modulation_self_attn.1 → transformer_blocks.#.norm1.linear_1
blocks.#.adaln_modulation_self_attn.2 → transformer_blocks.#.norm1.linear_2
blocks.#.adaln_modulation_cross_attn.1 → transformer_blocks.#.norm2.linear_1
blocks.#.adaln_modulation_cross_attn.2 → transformer_blocks.#.norm2.linear_2
blocks.#.adaln_modulation_mlp.1 → transformer_blocks.#.norm3.linear_1
blocks.#.adaln_modulation_mlp.2 → transformer_blocks.#.norm3.linear_2
x_embedder.proj.1 → patch_embed.proj
t_embedder.1.linear_1 → time_embed.t_embedder.linear_1
t_embedder.1.linear_2 → time_embed.t_embedder.linear_2
final_layer.adaln_modulation.1 → norm_out.linear_1
final_layer.adaln_modulation.2 → norm_out.linear_2
final_layer.linear → proj_out
""",
    "HunyuanDiT": """
blocks.#.attn1.Wqkv → blocks.#.attn1.to_{q,k,v}
blocks.#.attn1.out_proj → blocks.#.attn1.to_out.0
blocks.#.attn2.q_proj → blocks.#.attn2.to_q
blocks.#.attn2.kv_proj → blocks.#.attn2.to_{k,v}
blocks.#.attn2.out_proj → blocks.#.attn2.to_out.0
blocks.#.mlp.fc1 → blocks.#.ff.net.0.proj
blocks.#.mlp.fc2 → blocks.#.ff.net.2
blocks.#.default_modulation.1 → blocks.#.norm1.linear
blocks.#.skip_linear → blocks.#.skip_linear
""",
    "HiDream": unchanged(
        *(
            f"double_stream_blocks.#.block.{module}"
            for module in (
                "attn1.to_q", "attn1.to_out", "attn1.to_q_t", "attn1.to_k_t", "attn1.to_out_t", "ff_i.gate",
                "ff_i.experts.0.w1", "ff_i.shared_experts.w2", "ff_t.w3", "adaLN_modulation.1",
            )
        ),
        "single_stream_blocks.#.block.attn1.to_v", "single_stream_blocks.#.block.ff_i.experts.2.w3",
        "caption_projection.0.linear", "x_embedder.proj", "t_embedder.timestep_embedder.linear_1",
        "p_embedder.pooled_embedder.linear_2", "final_layer.linear",
    ),
    "Kandinsky 5": unchanged(
        *(
            f"{blocks}.#.{module}"
            for blocks in ("text_transformer_blocks", "visual_transformer_blocks")
            for module in (
                "self_attention.to_query", "self_attention.out_layer", "feed_forward.in_layer",
                "feed_forward.out_layer",
            )
        ),
        "visual_transformer_blocks.#.cross_attention.to_key",
    ),
}  # fmt: skip


def pairs(model: str, block: int) -> list[tuple[str, tuple[str, ...]]]:
    """The weights of a model in one block of each kind: the authors' name, and diffusers' of its parts."""
    lines = [line for line in MODELS[model].splitlines() if line]
    filled = [line.replace("#", str(block)).split(" → ") for line in lines]
    return [(theirs, _parts(ours)) for theirs, ours in filled]


def _parts(name: str) -> tuple[str, ...]:
    """The names that braces stand for: `to_{q,k}` is `to_q` and `to_k`."""
    before, _, rest = name.partition("{")
    inside, _, after = rest.partition("}")
    return tuple(f"{before}{part}{after}" for part in inside.split(","))
