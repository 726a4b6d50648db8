"""Blocks that several public models share, as `public_spellings` writes them."""


def block_lines(block: str, *lists: str) -> str:
    """The lines of a block for each list, which may be called otherwise by diffusers."""
    lines = []
    for name in lists:
        theirs, _, ours = name.partition(" → ")
        for line in filter(None, block.splitlines()):
            left, right = line.split(" → ")
            lines.append(f"\n{left.replace('@', theirs)} → {right.replace('@', ours or theirs)}")
    return "".join(lines) + "\n"


FLUX_OUTSIDE = """
img_in → x_embedder
txt_in → context_embedder
vector_in.in_layer → time_text_embed.text_embedder.linear_1
vector_in.out_layer → time_text_embed.text_embedder.linear_2
time_in.in_layer → time_text_embed.timestep_embedder.linear_1
time_in.out_layer → time_text_embed.timestep_embedder.linear_2
guidance_in.in_layer → time_text_embed.guidance_embedder.linear_1
guidance_in.out_layer → time_text_embed.guidance_embedder.linear_2
final_layer.linear → proj_out
"""
FLUX_BLOCKS = """
double_blocks.#.img_attn.qkv → transformer_blocks.#.attn.to_{q,k,v}
double_blocks.#.txt_attn.qkv → transformer_blocks.#.attn.add_{q,k,v}_proj
double_blocks.#.img_attn.proj → transformer_blocks.#.attn.to_out.0
double_blocks.#.txt_attn.proj → transformer_blocks.#.attn.to_add_out
double_blocks.#.img_mlp.0 → transformer_blocks.#.ff.net.0.proj
double_blocks.#.img_mlp.2 → transformer_blocks.#.ff.net.2
double_blocks.#.txt_mlp.0 → transformer_blocks.#.ff_context.net.0.proj
double_blocks.#.txt_mlp.2 → transformer_blocks.#.ff_context.net.2
single_blocks.#.linear1 → single_transformer_blocks.#.{attn.to_q,attn.to_k,attn.to_v,proj_mlp}
single_blocks.#.linear2 → single_transformer_blocks.#.proj_out
"""
FLUX_MODULATION = """
double_blocks.#.img_mod.lin → transformer_blocks.#.norm1.linear
double_blocks.#.txt_mod.lin → transformer_blocks.#.norm1_context.linear
single_blocks.#.modulation.lin → single_transformer_blocks.#.norm.linear
"""
HUNYUAN_TEXT = """
txt_in.input_embedder → context_embedder.proj_in
txt_in.t_embedder.mlp.0 → context_embedder.time_text_embed.timestep_embedder.linear_1
txt_in.t_embedder.mlp.2 → context_embedder.time_text_embed.timestep_embedder.linear_2
txt_in.c_embedder.linear_1 → context_embedder.time_text_embed.text_embedder.linear_1
txt_in.c_embedder.linear_2 → context_embedder.time_text_embed.text_embedder.linear_2
""" + block_lines(
    """
@.#.self_attn_qkv → @.#.attn.to_{q,k,v}
@.#.self_attn_proj → @.#.attn.to_out.0
@.#.mlp.fc1 → @.#.ff.net.0.proj
@.#.mlp.fc2 → @.#.ff.net.2
@.#.adaLN_modulation.1 → @.#.norm_out.linear
""",
    "txt_in.individual_token_refiner.blocks → context_embedder.token_refiner.refiner_blocks",
)
HUNYUAN_SPLIT = """
double_blocks.#.img_mod.linear → transformer_blocks.#.norm1.linear
double_blocks.#.txt_mod.linear → transformer_blocks.#.norm1_context.linear
double_blocks.#.img_attn_q → transformer_blocks.#.attn.to_q
double_blocks.#.img_attn_k → transformer_blocks.#.attn.to_k
double_blocks.#.img_attn_v → transformer_blocks.#.attn.to_v
double_blocks.#.img_attn_proj → transformer_blocks.#.attn.to_out.0
double_blocks.#.txt_attn_q → transformer_blocks.#.attn.add_q_proj
double_blocks.#.txt_attn_k → transformer_blocks.#.attn.add_k_proj
double_blocks.#.txt_attn_v → transformer_blocks.#.attn.add_v_proj
double_blocks.#.txt_attn_proj → transformer_blocks.#.attn.to_add_out
double_blocks.#.img_mlp.fc1 → transformer_blocks.#.ff.net.0.proj
double_blocks.#.img_mlp.fc2 → transformer_blocks.#.ff.net.2
double_blocks.#.txt_mlp.fc1 → transformer_blocks.#.ff_context.net.0.proj
double_blocks.#.txt_mlp.fc2 → transformer_blocks.#.ff_context.net.2
img_in.proj → x_embedder.proj
byt5_in.fc1 → context_embedder_2.linear_1
byt5_in.fc2 → context_embedder_2.linear_2
byt5_in.fc3 → context_embedder_2.linear_3
"""
LUMINA_OUTSIDE = """
t_embedder.mlp.0 → time_caption_embed.timestep_embedder.linear_1
t_embedder.mlp.2 → time_caption_embed.timestep_embedder.linear_2
cap_embedder.1 → time_caption_embed.caption_embedder.1
"""
LUMINA_BLOCK = """
@.#.attention.qkv → @.#.attn.to_{q,k,v}
@.#.attention.out → @.#.attn.to_out.0
@.#.feed_forward.w1 → @.#.feed_forward.linear_1
@.#.feed_forward.w2 → @.#.feed_forward.linear_2
@.#.feed_forward.w3 → @.#.feed_forward.linear_3
"""
Z_IMAGE_BLOCK = """
@.#.attention.qkv → @.#.attention.to_{q,k,v}
@.#.attention.out → @.#.attention.to_out.0
@.#.feed_forward.w1 → @.#.feed_forward.w1
@.#.feed_forward.w2 → @.#.feed_forward.w2
@.#.feed_forward.w3 → @.#.feed_forward.w3
"""
PIXART_OUTSIDE = """
t_embedder.mlp.0 → adaln_single.emb.timestep_embedder.linear_1
t_embedder.mlp.2 → adaln_single.emb.timestep_embedder.linear_2
t_block.1 → adaln_single.linear
y_embedder.y_proj.fc1 → caption_projection.linear_1
y_embedder.y_proj.fc2 → caption_projection.linear_2
final_layer.linear → proj_out
"""
CROSS = """
blocks.#.attn.qkv → transformer_blocks.#.attn1.to_{q,k,v}
blocks.#.attn.proj → transformer_blocks.#.attn1.to_out.0
blocks.#.cross_attn.q_linear → transformer_blocks.#.attn2.to_q
blocks.#.cross_attn.kv_linear → transformer_blocks.#.attn2.to_{k,v}
blocks.#.cross_attn.proj → transformer_blocks.#.attn2.to_out.0
"""


def unchanged(*names: str) -> str:
    return "".join(f"\n{name} → {name}" for name in names)
