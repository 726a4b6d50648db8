"""The names of weights of newer public models: as their authors call them, and as diffusers does.

Written as `public_spellings` says, from `lora_conversion_utils.py` and `single_file_utils.py` of diffusers.
"""

from tests.unit.address.spelled_blocks import block_lines, unchanged

_FLUX_3 = """
@.#.q_proj → @.#.attn.to_q
@.#.k_proj → @.#.attn.to_k
@.#.v_proj → @.#.attn.to_v
@.#.attn_out → @.#.attn.to_out.0
@.#.mlp_in → @.#.ff.linear_in
@.#.mlp_out → @.#.ff.linear_out
"""
_MINIMAX = """
@.#.attn.qkv_proj → @.#.attn.to_{q,k,v}
@.#.attn.out_proj → @.#.attn.to_out.0
@.#.mlp.fc2 → @.#.ff.net.2
"""
NEWER_MODELS = {
    "Flux 3": block_lines(
        _FLUX_3,
        "content_mode_blocks.image → mode_blocks.image",
        "content_mode_blocks.image_cond → mode_blocks.image_cond",
        "txt_mode_blocks",
        "single_blocks → single_transformer_blocks",
    )
    + """
emb_in.image → x_embedders.image
emb_in.image_cond → x_embedders.image_cond
txt_in → context_embedder
time_in.in_layer → timestep_embedder.linear_1
time_in.out_layer → timestep_embedder.linear_2
ref_time_in.in_layer → target_timestep_embedder.linear_1
ref_time_in.out_layer → target_timestep_embedder.linear_2
early_stream_modulations.image.lin → early_stream_modulations.image.linear
early_stream_modulations.image_cond.lin → early_stream_modulations.image_cond.linear
single_stream_modulations.image.lin → single_stream_modulations.image.linear
single_stream_modulations.txt.lin → single_stream_modulations.txt.linear
early_stream_modulations.txt.lin → early_stream_modulations.txt.linear
single_stream_modulations.image_cond.lin → single_stream_modulations.image_cond.linear
final_layer.image.linear → proj_out
""",
    "MiniMax-H3": block_lines(
        _MINIMAX, "blocks → transformer_blocks", "token_refiner.blocks → token_refiner.refiner_blocks"
    )
    + """
blocks.#.adaln_proj.linear → transformer_blocks.#.adaln_proj.linear
video_patch_proj → proj_in
audio_patch_proj → audio_proj_in
condition_proj → context_embedder
time_embedder.proj_in → time_embedder.linear_1
time_embedder.proj_out → time_embedder.linear_2
final_layer.adaln_proj.linear → norm_out.linear
final_layer.video_out → proj_out
final_layer.audio_out → audio_proj_out
""",
    "Ideogram 4": """
layers.#.attention.qkv → layers.#.attention.to_{q,k,v}
layers.#.attention.o → layers.#.attention.to_out.0
layers.#.feed_forward.w1 → layers.#.feed_forward.w1
layers.#.feed_forward.w2 → layers.#.feed_forward.w2
layers.#.adaln_modulation → layers.#.adaln_modulation
""",
    "ACE-Step 1.5": "".join(
        f"\nlayers.#.{attention}.{theirs} → layers.#.{attention}.{ours}"
        for attention in ("self_attn", "cross_attn")
        for theirs, ours in (
            ("q_proj", "to_q"), ("k_proj", "to_k"), ("v_proj", "to_v"), ("o_proj", "to_out.0"),
        )
    )
    + unchanged("layers.#.mlp.gate_proj", "layers.#.mlp.down_proj"),
    "LTX 2.3": unchanged(
        "transformer_blocks.#.attn1.to_q", "transformer_blocks.#.audio_attn1.to_q",
        "transformer_blocks.#.ff.net.2",
    )
    + """
prompt_adaln_single.linear → prompt_adaln.linear
prompt_adaln_single.emb.timestep_embedder.linear_1 → prompt_adaln.emb.timestep_embedder.linear_1
prompt_adaln_single.emb.timestep_embedder.linear_2 → prompt_adaln.emb.timestep_embedder.linear_2
audio_prompt_adaln_single.emb.timestep_embedder.linear_1 → audio_prompt_adaln.emb.timestep_embedder.linear_1
audio_prompt_adaln_single.linear → audio_prompt_adaln.linear
audio_prompt_adaln_single.emb.timestep_embedder.linear_2 → audio_prompt_adaln.emb.timestep_embedder.linear_2
text_embedding_projection.aggregate_embed → connectors.text_proj_in
""",
}  # fmt: skip
