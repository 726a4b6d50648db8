"""What stands in front of module names, and which list of blocks is which stack."""

from tunescope.address.naming import sources as of
from tunescope.address.naming.rules import Blocks, Prefix

# Flat keys begin with one of these; the first that fits wins.
FLAT_PREFIXES = (
    Prefix("lora_unet_", "diffusion_model.", of.KOHYA),
    Prefix("oft_unet_", "diffusion_model.", "kohya-ss/sd-scripts: networks/oft.py, oft_flux.py"),
    Prefix("lora_te1_", "text_encoder.", of.KOHYA),
    Prefix("lora_te2_", "text_encoder_2.", of.KOHYA),
    Prefix("lora_te3_", "text_encoder_3.", of.KOHYA),
    Prefix("lora_te_", "text_encoder.", of.KOHYA),
    Prefix("lora_transformer_", "transformer.", "Nerogar/OneTrainer: modelSetup/BaseFluxSetup.py"),
    Prefix("lora_prior_unet_", "diffusion_model.", of.COMFY),
    Prefix("lora_prior_te_", "text_encoder.", of.COMFY),
    Prefix("lora_llm_adapter_", "llm_adapter.", "kohya-ss/sd-scripts: networks/lora_anima.py"),
    Prefix("lycoris_", "", "KohakuBlueleaf/LyCORIS: lycoris/wrapper.py"),
    Prefix("lora_", "", of.KOHYA),
)
# What names the denoiser and a ControlNet in front of their own modules, and ComfyUI's text encoders.
CONTROLNET = "control_model."
DENOISER = ("model.diffusion_model.", "diffusion_model.")
# Checkpoints of a trainer keep the denoiser as `net`, a word that other models have in front of other
# modules; Cosmos 1 names a block twice, AnimateDiff numbers the attentions of a motion module, and
# projectors the modules of a sequence. A regular expression, and what it stands for.
_INTERN_VIT = r"^((?:model\.)?vision_(?:model|tower)\.encoder\.layers?\.\d{1,6}\.)"
TRAINED_AS = (
    Prefix(
        r"^net\.(?=blocks\.\d+\.(?:self_attn|cross_attn|mlp\.layer\d|adaln_modulation_)|blocks\.block\d+\."
        r"|llm_adapter\.blocks\.\d|x_embedder\.proj\.1|t_embedder\.1\.|final_layer\.(?:linear|adaln_mod))",
        "diffusion_model.",
        of.NET,
    ),
    Prefix(r"^pipe\.dit\.", "diffusion_model.", "modelscope/DiffSynth-Studio: diffsynth/trainers/utils.py"),
    Prefix(
        r"^pipe\.dit2\.", "transformer_2.", "modelscope/DiffSynth-Studio: diffsynth/pipelines/wan_video.py"
    ),
    Prefix(r"^pipe\.(?=unet\.|text_encoder)", "", "modelscope/DiffSynth-Studio: diffsynth/trainers/utils.py"),
    # CTRL's table of tokens, under the name of all others that GPT-2's family has.
    Prefix(r"^transformer\.w$", "transformer.wte", "huggingface/transformers: modeling_ctrl.py"),
    Prefix(r"(?<=\bblocks\.)block(?=\d+\.blocks\.\d)", "", of.COSMOS_1),
    Prefix(r"(?<=\bmotion_modules\.\d\.)temporal_transformer\.", "", of.ANIMATEDIFF),
    Prefix(r"(?<=\btransformer_blocks\.\d\.)attention_blocks\.0(?=\.)", "attn1", of.ANIMATEDIFF),
    Prefix(r"(?<=\btransformer_blocks\.\d\.)attention_blocks\.1(?=\.)", "attn2", of.ANIMATEDIFF),
    Prefix(r"(?<=\bresnets\.\d\.)spatial_res_block\.", "", of.SVD),
    Prefix(
        r"^(?:model\.)?(?:mlp1\.1|mm_projector\.0)(?=\.bias$|$)",
        "multi_modal_projector.linear_1",
        f"{of.INTERNVL}; {of.LLAVA}",
    ),
    Prefix(
        r"^(?:model\.)?(?:mlp1\.3|mm_projector\.2)(?=\.bias$|$)",
        "multi_modal_projector.linear_2",
        f"{of.INTERNVL}; {of.LLAVA}",
    ),
    # InternViT's blocks in the model's own code, and in transformers.
    *(
        Prefix(rf"{_INTERN_VIT}{theirs}(?=\.|$)", rf"\1{ours}", of.INTERNVL)
        for theirs, ours in (
            (r"attn\.(qkv|q_norm|k_norm)", r"attention.\2"),
            (r"attn\.proj", "attention.projection_layer"),
            (r"ls([12])", r"lambda_\2"),
            ("norm1", "layernorm_before"),
            ("norm2", "layernorm_after"),
        )
    ),
    Prefix(r"^(?:model\.)?mlp1\.0(?=\.bias$|$)", "multi_modal_projector.layer_norm", of.INTERNVL),
    Prefix(r"^conditional_transformer\.", "diffusion_model.", of.IDEOGRAM),
    Prefix(r"^text_conditioner\.", "llm_adapter.", of.ANIMA),
    # Blocks of a video U-Net in front of its own, and what Stable Cascade has beside its levels.
    Prefix(r"^unet\.(?=transformer_in\.)", "", "huggingface/diffusers: unets/unet_3d_condition.py"),
    Prefix(
        r"^unet\.(?=(?:clip_(?:img|txt|txt_pooled)_mapper|embedding|clf|down_downscalers|up_upscalers)(?:\.|$))",
        "",
        "huggingface/diffusers: unets/unet_stable_cascade.py",
    ),
    Prefix(r"^prior\.(?=(?:down|up)_blocks\.\d\.\d)", "", of.CASCADE),
)
# What ComfyUI calls its text encoders [comfyanonymous/ComfyUI: comfy/text_encoders/*.py, comfy/sdxl_clip.py].
COMFY_ENCODERS = (
    r"clip_[lgh]|t5base|t5xxl|umt5xxl|mt5xl|pile_t5xl|byt5_small|hydit_clip|llama|qwen\w*|gemma\w*|mistral\w*|"
    r"jina_clip_2|ovis\w*|newbie\w*"
)
_CLIP = "text_model.encoder.layers."
# Text encoders as ComfyUI and the single files of Stable Diffusion call them. Regular expressions.
DOTTED_PREFIXES = (
    Prefix(r"(?:text_encoders\.)?clip_g\.(?:transformer\.)?", "text_encoder_2.", of.COMFY),
    Prefix(rf"(?:text_encoders\.)?(?:{COMFY_ENCODERS})\.transformer\.", "text_encoder.", of.COMFY),
    Prefix(r"text_encoders\.\w+\.(?:transformer\.|model\.)?", "text_encoder.", of.COMFY),
    Prefix(r"(?:conditioner\.embedders\.0|cond_stage_model)\.transformer\.", "text_encoder.", of.SD),
    Prefix(
        r"conditioner\.embedders\.[01]\.model\.transformer\.resblocks\.",
        f"text_encoder_2.{_CLIP}",
        of.OPEN_CLIP,
    ),
    Prefix(r"cond_stage_model\.model\.transformer\.resblocks\.", f"text_encoder.{_CLIP}", of.OPEN_CLIP),
)
# Modules of open_clip's blocks, and what transformers' CLIP calls them.
OPEN_CLIP = {
    "attn.in_proj_weight": "self_attn.in_proj_weight", "attn.in_proj_bias": "self_attn.in_proj_bias",
    "attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
    "ln_1": "layer_norm1", "ln_2": "layer_norm2",
}  # fmt: skip
# Denoisers in their makers' own names without a prefix, as DiffSynth and PEFT save them: lists that other
# models have too, and modules within these that tell whose they are.
BARE_LISTS = frozenset({"blocks", "token_refiner.blocks"})
BARE = {
    "attn.qkv_proj": of.MINIMAX, "adaln_proj.linear": of.MINIMAX,
    "cross_attn.q": of.WAN, "cross_attn.q_linear": f"{of.PIXART}; {of.SANA}",
    "self_attn.output_proj": of.COSMOS, "cross_attn.output_proj": of.COSMOS,
    "adaln_modulation_self_attn.1": of.COSMOS, "adaln_modulation_self_attn.2": of.COSMOS,
    "attn.qkv_x": of.MOCHI, "attn.qkv_y": of.MOCHI,
}  # fmt: skip
# The first words of a UNet's names; behind a denoiser's prefix all else is a transformer.
UNET_PARTS = (
    "down_blocks up_blocks mid_block input_blocks middle_block output_blocks conv_in conv_out conv_norm_out "
    "time_embedding time_embed label_emb add_embedding class_embedding encoder_hid_proj out "
    # ControlNet's, I2VGen-XL's and Kandinsky 3's own.
    "controlnet_cond_embedding controlnet_down_blocks controlnet_mid_block control_add_embedding "
    "spatial_ch_projs image_latents_proj_in image_latents_temporal_encoder image_latents_context_embedding "
    "fps_embedding context_embedding add_time_condition"
)

BLOCKS = (
    Blocks("single_blocks", "single_blocks", of.FLUX),
    Blocks("single_transformer_blocks", "single_blocks", of.FLUX_DIFFUSERS),
    Blocks("single_stream_blocks", "single_blocks", "HiDream-ai/HiDream-I1: transformer_hidream_image.py"),
    Blocks("double_blocks", "model", of.FLUX),
    Blocks("transformer_blocks", "model", of.FLUX_DIFFUSERS),
    Blocks("double_stream_blocks", "model", "HiDream-ai/HiDream-I1: transformer_hidream_image.py"),
    Blocks("joint_blocks", "model", of.SD3),
    Blocks("double_layers", "model", of.AURA),
    Blocks("single_layers", "single_blocks", of.AURA),
    Blocks("joint_transformer_blocks", "model", "huggingface/diffusers: auraflow_transformer_2d.py"),
    Blocks("noise_refiner", "noise_refiner", of.Z_IMAGE),
    Blocks("context_refiner", "context_refiner", of.Z_IMAGE),
    Blocks("siglip_refiner", "siglip_refiner", of.Z_IMAGE),
    Blocks("ref_image_refiner", "ref_image_refiner", "huggingface/diffusers: transformer_omnigen2.py"),
    Blocks("individual_token_refiner.blocks", "token_refiner", of.HUNYUAN),
    Blocks(
        "token_refiner.refiner_blocks", "token_refiner", "huggingface/diffusers: transformer_hunyuan_video.py"
    ),
    Blocks(
        "distilled_guidance_layer.layers", "guidance", "lodestone-rock/Chroma: src/models/chroma/model.py"
    ),
    Blocks("token_refiner.blocks", "token_refiner", of.MINIMAX),
    *(Blocks(f"{named}.image", "image_blocks", of.FLUX3) for named in ("content_mode_blocks", "mode_blocks")),
    *(
        Blocks(f"{named}.image_cond", "image_cond_blocks", of.FLUX3)
        for named in ("content_mode_blocks", "mode_blocks")
    ),
    Blocks("txt_mode_blocks", "text_blocks", of.FLUX3),
    Blocks("nerf_blocks", "nerf_blocks", "comfyanonymous/ComfyUI: comfy/ldm/chroma_radiance"),
    Blocks("vace_blocks", "vace_blocks", "ali-vilab/VACE: vace/models/wan/wan_vace.py"),
    Blocks("face_adapter.fuser_blocks", "face_adapter", of.WAN_ANIMATE),
    Blocks("face_adapter", "face_adapter", of.WAN_ANIMATE_DIFFUSERS),
    Blocks("llm_adapter.blocks", "llm_adapter", "kohya-ss/sd-scripts: library/anima_models.py"),
    *(
        Blocks(f"{fusion}.{blocks}_blocks", f"text_fusion_{blocks}", of.KREA)
        for fusion in ("txtfusion", "text_fusion")
        for blocks in ("layerwise", "refiner")
    ),
    Blocks("text_transformer_blocks", "text_blocks", "huggingface/diffusers: transformer_kandinsky.py"),
    *(
        Blocks(
            f"{of_text}_text_transformer_blocks",
            f"{of_text}_text_blocks",
            "huggingface/diffusers: transformer_kandinsky6.py",
        )
        for of_text in ("video", "audio")
    ),
    Blocks("visual_transformer_blocks", "model", "huggingface/diffusers: transformer_kandinsky.py"),
    Blocks(
        "temporal_transformer_blocks", "temporal_blocks", "huggingface/diffusers: latte_transformer_3d.py"
    ),
    Blocks("transformer_layers", "model", "huggingface/diffusers: unets/uvit_2d.py"),
    *(
        Blocks(
            f"{side}_block.{blocks}_blocks",
            f"{side}_{blocks}_blocks",
            "huggingface/diffusers: unets/uvit_2d.py",
        )
        for side in ("down", "up")
        for blocks in ("res", "attention")
    ),
    Blocks("control_blocks", "control_blocks", "huggingface/diffusers: controlnets/controlnet_cosmos.py"),
    Blocks(
        "transformer_layes", "transformer_layes", "huggingface/diffusers: controlnets/controlnet_union.py"
    ),
    Blocks("pair_update_layers", "pair_update", "huggingface/diffusers: transformer_rfd4_proteina.py"),
    Blocks("text_conv_layer", "text_conv", "huggingface/diffusers: transformer_longcat_audio_dit.py"),
    Blocks("control_layers", "control_layers", "huggingface/diffusers: controlnets/controlnet_z_image.py"),
    Blocks(
        "control_noise_refiner",
        "control_noise_refiner",
        "huggingface/diffusers: controlnets/controlnet_z_image.py",
    ),
)
