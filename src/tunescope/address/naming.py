"""The naming rules of image and video models as data: one row for each rule, with its public source.

One weight is spelled in many ways: flat (`lora_unet_double_blocks_0_img_attn_qkv`), dotted as its authors
call it (`diffusion_model.double_blocks.0.img_attn.qkv`) or as diffusers does. The tables say which stack a
list of blocks is, and turn the spellings of one weight into one, mostly into that of diffusers.
"""

from dataclasses import dataclass

_FLUX = "black-forest-labs/flux: src/flux/modules/layers.py"
_FLUX_DIFFUSERS = "huggingface/diffusers: loaders/lora_conversion_utils.py (sd-scripts → diffusers)"
_FLUX2 = "huggingface/diffusers: models/transformers/transformer_flux2.py"
_HUNYUAN = "Tencent/HunyuanVideo: hyvideo/modules/models.py"
_HUNYUAN_DIFFUSERS = "huggingface/diffusers: scripts/convert_hunyuan_video_to_diffusers.py"
_SD3_DIFFUSERS = "huggingface/diffusers: scripts/convert_sd3_to_diffusers.py"
_EMBEDDERS = "huggingface/diffusers: models/embeddings.py"
_SD3 = "Stability-AI/sd3.5: mmditx.py; kohya-ss/sd-scripts: networks/lora_sd3.py"
_XLABS = "XLabs-AI/x-flux: src/flux/modules/layers.py (LoRA processors)"
_DIFFSYNTH = "modelscope/DiffSynth-Studio: lora/flux_lora.py"
_WAN = "Wan-Video/Wan2.1: wan/modules/model.py; diffusers: scripts/convert_wan_to_diffusers.py"
_Z_IMAGE = "Alpha-VLLM/Lumina-Image-2.0: models/model.py; diffusers: transformer_z_image.py"
_CHROMA = "huggingface/diffusers: loaders/single_file_utils.py (Chroma → diffusers)"
_COMFY = "comfyanonymous/ComfyUI: comfy/lora.py"
_KOHYA = "kohya-ss/sd-scripts: networks/lora.py, lora_flux.py, lora_sd3.py"


@dataclass(frozen=True, slots=True)
class Prefix:
    """What stands before a part of a pipeline: `spelled` → `means`, flat or dotted."""

    spelled: str
    means: str
    source: str


@dataclass(frozen=True, slots=True)
class Blocks:
    """A list of blocks with layer numbers of its own: the end of its path, and the stack that it is."""

    path: str
    stack: str
    source: str


@dataclass(frozen=True, slots=True)
class Rename:
    """A module within the blocks of one stack: a regular expression for its whole path, and its one name.

    `blocks` is a regular expression for the end of the list's path.
    """

    blocks: str
    spelled: str
    name: str
    source: str


# Flat keys begin with one of these; the first that fits wins.
FLAT_PREFIXES = (
    Prefix("lora_unet_", "diffusion_model.", _KOHYA),
    Prefix("lora_te1_", "text_encoder.", _KOHYA),
    Prefix("lora_te2_", "text_encoder_2.", _KOHYA),
    Prefix("lora_te3_", "text_encoder_3.", _KOHYA),
    Prefix("lora_te_", "text_encoder.", _KOHYA),
    Prefix("lora_transformer_", "transformer.", "Nerogar/OneTrainer: modelSetup/BaseFluxSetup.py"),
    Prefix("lora_prior_unet_", "diffusion_model.", _COMFY),
    Prefix("lora_prior_te_", "text_encoder.", _COMFY),
    Prefix("lora_llm_adapter_", "llm_adapter.", "kohya-ss/sd-scripts: networks/lora_anima.py"),
    Prefix("lycoris_", "", "KohakuBlueleaf/LyCORIS: lycoris/wrapper.py"),
    Prefix("lora_", "", _KOHYA),
)
# What names the denoiser in front of its own module names, and what ComfyUI calls the text encoders.
DENOISER = ("model.diffusion_model.", "diffusion_model.")
DOTTED_PREFIXES = (
    Prefix("text_encoders.clip_l.transformer.", "text_encoder.", _COMFY),
    Prefix("text_encoders.clip_g.transformer.", "text_encoder_2.", _COMFY),
    Prefix("text_encoders.t5xxl.transformer.", "text_encoder_3.", _COMFY),
)
# The first words of a UNet's names; behind a denoiser's prefix all else is a transformer.
UNET_PARTS = (
    "down_blocks up_blocks mid_block input_blocks middle_block output_blocks conv_in conv_out conv_norm_out "
    "time_embedding time_embed label_emb add_embedding class_embedding encoder_hid_proj out"
)

BLOCKS = (
    Blocks("single_blocks", "single_blocks", _FLUX),
    Blocks("single_transformer_blocks", "single_blocks", _FLUX_DIFFUSERS),
    Blocks("single_stream_blocks", "single_blocks", "HiDream-ai/HiDream-I1: transformer_hidream_image.py"),
    Blocks("double_blocks", "model", _FLUX),
    Blocks("transformer_blocks", "model", _FLUX_DIFFUSERS),
    Blocks("double_stream_blocks", "model", "HiDream-ai/HiDream-I1: transformer_hidream_image.py"),
    Blocks("joint_blocks", "model", _SD3),
    Blocks("joint_transformer_blocks", "model", "huggingface/diffusers: auraflow_transformer_2d.py"),
    Blocks("noise_refiner", "noise_refiner", _Z_IMAGE),
    Blocks("context_refiner", "context_refiner", _Z_IMAGE),
    Blocks("individual_token_refiner.blocks", "token_refiner", _HUNYUAN),
    Blocks(
        "token_refiner.refiner_blocks", "token_refiner", "huggingface/diffusers: transformer_hunyuan_video.py"
    ),
    Blocks(
        "distilled_guidance_layer.layers", "guidance", "lodestone-rock/Chroma: src/models/chroma/model.py"
    ),
    Blocks("vace_blocks", "vace_blocks", "ali-vilab/VACE: vace/models/wan/wan_vace.py"),
    Blocks("llm_adapter.blocks", "llm_adapter", "kohya-ss/sd-scripts: library/anima_models.py"),
    Blocks("text_transformer_blocks", "text_blocks", "huggingface/diffusers: transformer_kandinsky.py"),
    Blocks("visual_transformer_blocks", "model", "huggingface/diffusers: transformer_kandinsky.py"),
)

_DOUBLE, _SINGLE = (
    "double_blocks|joint_blocks|transformer_blocks|blocks",
    "single_blocks|single_transformer_blocks",
)
RENAMES = (
    Rename(_DOUBLE, r"img_attn[._]qkv|attn\.a_to_qkv", "attn.to_qkv", f"{_FLUX}; {_DIFFSYNTH}"),
    Rename(_DOUBLE, r"txt_attn[._]qkv|attn\.b_to_qkv", "attn.to_added_qkv", f"{_FLUX}; {_DIFFSYNTH}"),
    Rename(_DOUBLE, r"img_attn[._]proj|attn\.a_to_out", "attn.to_out.0", f"{_FLUX_DIFFUSERS}; {_DIFFSYNTH}"),
    Rename(
        _DOUBLE, r"txt_attn[._]proj|attn\.b_to_out", "attn.to_add_out", f"{_FLUX_DIFFUSERS}; {_DIFFSYNTH}"
    ),
    Rename(
        _DOUBLE, r"img_mlp\.(0|fc1)|ff_a\.0", "ff.net.0.proj", f"{_FLUX_DIFFUSERS}; {_HUNYUAN}; {_DIFFSYNTH}"
    ),
    Rename(_DOUBLE, r"img_mlp\.(2|fc2)|ff_a\.2", "ff.net.2", f"{_FLUX_DIFFUSERS}; {_HUNYUAN}; {_DIFFSYNTH}"),
    Rename(_DOUBLE, r"txt_mlp\.(0|fc1)|ff_b\.0", "ff_context.net.0.proj", f"{_FLUX_DIFFUSERS}; {_HUNYUAN}"),
    Rename(_DOUBLE, r"txt_mlp\.(2|fc2)|ff_b\.2", "ff_context.net.2", f"{_FLUX_DIFFUSERS}; {_HUNYUAN}"),
    Rename(
        _DOUBLE, r"img_mod\.(lin|linear)|norm1_a\.linear", "norm1.linear", f"{_FLUX_DIFFUSERS}; {_DIFFSYNTH}"
    ),
    Rename(_DOUBLE, r"txt_mod\.(lin|linear)|norm1_b\.linear", "norm1_context.linear", f"{_FLUX_DIFFUSERS}"),
    Rename(_DOUBLE, r"processor\.qkv_lora1", "attn.to_qkv", _XLABS),
    Rename(_DOUBLE, r"processor\.qkv_lora2", "attn.to_added_qkv", _XLABS),
    Rename(_DOUBLE, r"processor\.proj_lora1", "attn.to_out.0", _XLABS),
    Rename(_DOUBLE, r"processor\.proj_lora2", "attn.to_add_out", _XLABS),
    Rename(_DOUBLE, r"ff\.linear_in", "ff.net.0.proj", _FLUX2),
    Rename(_DOUBLE, r"ff\.linear_out", "ff.net.2", _FLUX2),
    Rename(_DOUBLE, r"ff_context\.linear_in", "ff_context.net.0.proj", _FLUX2),
    Rename(_DOUBLE, r"ff_context\.linear_out", "ff_context.net.2", _FLUX2),
    Rename(_DOUBLE, r"x_block\.attn\.qkv", "attn.to_qkv", _SD3),
    Rename(_DOUBLE, r"context_block\.attn\.qkv", "attn.to_added_qkv", _SD3),
    Rename(_DOUBLE, r"x_block\.attn2\.qkv", "attn2.to_qkv", _SD3),
    Rename(_DOUBLE, r"x_block\.attn2\.proj", "attn2.to_out.0", _SD3),
    Rename(_DOUBLE, r"x_block\.attn\.proj", "attn.to_out.0", _SD3),
    Rename(_DOUBLE, r"context_block\.attn\.proj", "attn.to_add_out", _SD3),
    Rename(_DOUBLE, r"x_block\.mlp\.fc1", "ff.net.0.proj", _SD3),
    Rename(_DOUBLE, r"x_block\.mlp\.fc2", "ff.net.2", _SD3),
    Rename(_DOUBLE, r"context_block\.mlp\.fc1", "ff_context.net.0.proj", _SD3),
    Rename(_DOUBLE, r"context_block\.mlp\.fc2", "ff_context.net.2", _SD3),
    Rename(_DOUBLE, r"x_block\.adaLN_modulation\.1", "norm1.linear", _SD3),
    Rename(_DOUBLE, r"context_block\.adaLN_modulation\.1", "norm1_context.linear", _SD3),
    Rename(_SINGLE, r"to_qkv_mlp|attn\.to_qkv_mlp_proj", "linear1", f"{_DIFFSYNTH}; {_FLUX2}"),
    Rename(_SINGLE, r"linear2|attn\.to_out", "proj_out", f"{_FLUX_DIFFUSERS}; {_FLUX2}"),
    Rename(_SINGLE, r"modulation\.(lin|linear)", "norm.linear", f"{_FLUX_DIFFUSERS}; {_HUNYUAN}"),
    Rename(_SINGLE, r"processor\.qkv_lora", "attn.to_qkv", _XLABS),
    Rename(_SINGLE, r"processor\.proj_lora", "attn.proj", _XLABS),
    *(
        Rename("blocks|vace_blocks", rf"{theirs}\.to_{side}", f"{ours}.{side}", _WAN)
        for theirs, ours in (("attn1", "self_attn"), ("attn2", "cross_attn"))
        for side in "qkv"
    ),
    Rename("blocks|vace_blocks", r"attn1\.to_out\.0", "self_attn.o", _WAN),
    Rename("blocks|vace_blocks", r"attn2\.to_out\.0", "cross_attn.o", _WAN),
    Rename("blocks|vace_blocks", r"attn2\.add_k_proj", "cross_attn.k_img", _WAN),
    Rename("blocks|vace_blocks", r"attn2\.add_v_proj", "cross_attn.v_img", _WAN),
    Rename("blocks|vace_blocks", r"ffn\.net\.0\.proj", "ffn.0", _WAN),
    Rename("blocks|vace_blocks", r"ffn\.net\.2", "ffn.2", _WAN),
    Rename("individual_token_refiner.blocks", r"self_attn[._]qkv", "attn.to_qkv", _HUNYUAN),
    Rename("individual_token_refiner.blocks", r"self_attn[._]proj", "attn.to_out.0", _HUNYUAN),
    Rename("individual_token_refiner.blocks", r"mlp\.(0|fc1)", "ff.net.0.proj", _HUNYUAN),
    Rename("individual_token_refiner.blocks", r"mlp\.(2|fc2)", "ff.net.2", _HUNYUAN),
    Rename("distilled_guidance_layer.layers", r"in_layer", "linear_1", _CHROMA),
    Rename("distilled_guidance_layer.layers", r"out_layer", "linear_2", _CHROMA),
    Rename("noise_refiner|context_refiner", r"attention\.qkv", "attention.to_qkv", _Z_IMAGE),
    Rename("noise_refiner|context_refiner", r"attention\.out", "attention.to_out.0", _Z_IMAGE),
    # Behind a denoiser's prefix only: language models have `layers` too.
    Rename("denoiser.layers", r"attention\.qkv", "attention.to_qkv", _Z_IMAGE),
    Rename("denoiser.layers", r"attention\.out", "attention.to_out.0", _Z_IMAGE),
)

# Modules outside all blocks: a regular expression for a whole path, without what names the denoiser, and its
# one name. Of models that share a name for one of them, each has one spelling of the pair.
OUTSIDE = (
    Rename("", r"x_embedder", "img_in", _FLUX_DIFFUSERS),
    Rename("", r"x_embedder\.proj|pos_embed\.proj", "img_in.proj", f"{_HUNYUAN_DIFFUSERS}; {_SD3_DIFFUSERS}"),
    Rename("", r"context_embedder", "txt_in", _FLUX_DIFFUSERS),
    *(
        Rename("", rf"{theirs}\.{linear}", f"{ours}.{layer}", source)
        for theirs, ours, source in (
            (r"(time_text_embed|time_guidance_embed)\.timestep_embedder", "time_in", _EMBEDDERS),
            (r"time_text_embed\.text_embedder", "vector_in", _EMBEDDERS),
            (r"(time_text_embed|time_guidance_embed)\.guidance_embedder", "guidance_in", _EMBEDDERS),
            (r"condition_embedder\.time_embedder", "time_embedding", _WAN),
            (r"condition_embedder\.text_embedder", "text_embedding", _WAN),
        )
        for linear, layer in (
            (("linear_1", "0"), ("linear_2", "2"))
            if source == _WAN
            else (("linear_1", "in_layer"), ("linear_2", "out_layer"))
        )
    ),
    *(
        Rename("", rf"{theirs}\.mlp\.{number}", f"{ours}.{layer}", f"{_HUNYUAN}; {_SD3}")
        for theirs, ours in (
            (r"(t_embedder|time_in)", "time_in"),
            (r"(y_embedder|vector_in)", "vector_in"),
            (r"guidance_in", "guidance_in"),
        )
        for number, layer in ((0, "in_layer"), (2, "out_layer"))
    ),
    Rename("", r"condition_embedder\.time_proj", "time_projection.1", _WAN),
    Rename("", r"final_layer\.linear|head\.head", "proj_out", f"{_FLUX_DIFFUSERS}; {_WAN}"),
    # Not its adaLN_modulation: diffusers swaps the halves of those rows.
    *(
        Rename("", rf"{of}\.lin", f"{of}.linear", _FLUX2)
        for of in (
            "double_stream_modulation_img", "double_stream_modulation_txt", "single_stream_modulation"
        )
    ),
)  # fmt: skip

# Module names that hold an underscore of their own; all other underscores of a flat name were dots. From the
# sources above, diffusers' transformers and UNets, and transformers' CLIP and T5.
COMPOUNDS = (
    "down_blocks up_blocks mid_block transformer_blocks single_transformer_blocks text_model "
    "text_projection self_attn cross_attn encoder_attn q_proj k_proj v_proj o_proj out_proj qkv_proj "
    "gate_proj up_proj down_proj proj_in proj_out proj_mlp to_q to_k to_v to_out to_qkv add_q_proj "
    "add_k_proj add_v_proj to_add_out to_added_qkv ff_context ff_a ff_b ff_i norm1_context norm1_a "
    "norm1_b input_blocks middle_block output_blocks time_embed time_embedding time_emb_proj label_emb "
    "emb_layers in_layers out_layers skip_connection conv_in conv_out conv_shortcut double_blocks "
    "single_blocks img_attn txt_attn img_mlp txt_mlp img_mod txt_mod img_in txt_in vector_in time_in "
    "guidance_in in_layer out_layer joint_blocks joint_transformer_blocks context_block x_block "
    "final_layer adaLN_modulation linear_1 linear_2 linear_in linear_out token_embedding "
    "position_embedding time_text_embed x_embedder context_embedder t_embedder y_embedder cap_embedder "
    "add_embedding timestep_embedder guidance_embedder text_embedder layer_norm1 layer_norm2 in_proj "
    "output_proj wi_0 wi_1 embed_tokens lm_head query_key_value dense_h_to_4h dense_4h_to_h "
    "token_refiner refiner_blocks individual_token_refiner token_refiner_blocks caption_projection "
    "a_to_qkv b_to_qkv a_to_out b_to_out to_qkv_mlp to_qkv_mlp_proj k_img v_img img_emb text_embedding "
    "time_projection patch_embedding vace_blocks before_proj after_proj feed_forward noise_refiner "
    "context_refiner double_stream_blocks single_stream_blocks double_stream_modulation_img "
    "double_stream_modulation_txt single_stream_modulation patchify_proj adaln_single "
    "distilled_guidance_layer llm_adapter audio_attn1 audio_attn2 audio_ff audio_to_video_attn "
    "video_to_audio_attn input_layernorm post_attention_layernorm language_model vision_model "
    "gate_up_proj text_transformer_blocks visual_transformer_blocks to_query to_key to_value out_layer "
    "self_attention cross_attention adaln_modulation_self_attn adaln_modulation_cross_attn "
    "adaln_modulation_mlp qkv_lora1 qkv_lora2 proj_lora1 proj_lora2 qkv_lora proj_lora norm_out "
    "condition_embedder encoder_hid_proj time_embedder time_proj image_embedder time_guidance_embed pos_embed"
)
