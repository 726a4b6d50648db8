"""The names of weights of public video models; `public_spellings` says how they are written."""

from tests.unit.address.spelled_blocks import (
    FLUX_BLOCKS,
    FLUX_MODULATION,
    HUNYUAN_SPLIT,
    HUNYUAN_TEXT,
    block_lines,
    unchanged,
)

VIDEO_MODELS = {
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
    "Wan-Animate": """
blocks.#.self_attn.q → blocks.#.attn1.to_q
blocks.#.ffn.2 → blocks.#.ffn.net.2
face_adapter.fuser_blocks.#.linear1_kv → face_adapter.#.to_{k,v}
face_adapter.fuser_blocks.#.linear1_q → face_adapter.#.to_q
face_adapter.fuser_blocks.#.linear2 → face_adapter.#.to_out
""",
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
    "Cosmos 1": "".join(
        f"\nblocks.block#.blocks.{place}.block.attn.to_{side}.0 → transformer_blocks.#.{theirs}.to_{side}"
        for place, theirs in ((0, "attn1"), (1, "attn2"))
        for side in "qkv"
    )
    + """
blocks.block#.blocks.0.block.attn.to_out.0 → transformer_blocks.#.attn1.to_out.0
blocks.block#.blocks.1.block.attn.to_out.0 → transformer_blocks.#.attn2.to_out.0
blocks.block#.blocks.2.block.layer1 → transformer_blocks.#.ff.net.0.proj
blocks.block#.blocks.2.block.layer2 → transformer_blocks.#.ff.net.2
blocks.block#.blocks.0.adaLN_modulation.1 → transformer_blocks.#.norm1.linear_1
blocks.block#.blocks.1.adaLN_modulation.2 → transformer_blocks.#.norm2.linear_2
blocks.block#.blocks.2.adaLN_modulation.1 → transformer_blocks.#.norm3.linear_1
x_embedder.proj.1 → patch_embed.proj
t_embedder.1.linear_1 → time_embed.t_embedder.linear_1
final_layer.linear → proj_out
""",
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
    "Krea 2": "".join(
        f"\n{theirs}.#.{module} → {ours}.#.{instead}"
        for module, instead in (
            ("attn.wq", "attn.to_q"), ("attn.wk", "attn.to_k"), ("attn.wv", "attn.to_v"),
            ("attn.wo", "attn.to_out.0"), ("attn.gate", "attn.to_gate"),
            ("mlp.gate", "ff.gate"), ("mlp.up", "ff.up"), ("mlp.down", "ff.down"),
        )
        for theirs, ours in (
            ("blocks", "transformer_blocks"),
            ("txtfusion.layerwise_blocks", "text_fusion.layerwise_blocks"),
            ("txtfusion.refiner_blocks", "text_fusion.refiner_blocks"),
        )
    )
    + """
first → img_in
last.linear → final_layer.linear
tmlp.0 → time_embed.linear_1
tmlp.2 → time_embed.linear_2
tproj.1 → time_mod_proj
txtmlp.1 → txt_in.linear_1
txtmlp.3 → txt_in.linear_2
txtfusion.projector → text_fusion.projector
""",
}  # fmt: skip
