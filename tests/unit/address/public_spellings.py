"""The names of weights of public image and video models: as their authors call them, and as diffusers does.

Each line is one weight, `#` the number of its block; a fused weight of the authors' is several of diffusers'.
From the conversions in diffusers' `loaders/single_file_utils.py`, `loaders/lora_conversion_utils.py` and
`scripts/convert_*_to_diffusers.py`; what diffusers stores in another order of rows is left out.
"""

from tests.unit.address.public_newer_spellings import NEWER_MODELS
from tests.unit.address.public_video_spellings import VIDEO_MODELS
from tests.unit.address.spelled_blocks import (
    CROSS,
    FLUX_BLOCKS,
    FLUX_MODULATION,
    FLUX_OUTSIDE,
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
    **VIDEO_MODELS,
    **NEWER_MODELS,
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
