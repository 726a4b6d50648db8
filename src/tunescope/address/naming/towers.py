"""Which tower a list of blocks belongs to, by what stands in front of a weight's layer number."""

from tunescope.address.naming.prefixes import BLOCKS
from tunescope.address.naming.rules import Tower

_TRANSFORMERS = "huggingface/transformers: models/"
_DIFFUSERS = "huggingface/diffusers: "
_REMOTE = "the model's own code on the hub: "


def _named(stack: str, words: str, source: str) -> Tower:
    """A tower whose path holds one of these names as a whole part; a regular expression."""
    return Tower(stack, rf"(^|\.)({words})($|\.)", source)


# The second and further towers of models whose first has a name of its own below; the first that fits wins.
_FURTHER = (
    _named("vision_global", r"vision_model\.global_transformer", _TRANSFORMERS + "mllama"),
    _named("talker_code_predictor", r"talker\.code_predictor", _TRANSFORMERS + "qwen3_omni_moe"),
    _named("language_encoder", r"language_model\.(model\.)?encoder", _TRANSFORMERS + "blip_2, florence2"),
    _named("sam", "sam_model|sam_encoder", _REMOTE + "deepseek-ai/DeepSeek-OCR"),
    _named("audio_connector", "audio_(embeddings_)?connector", _DIFFUSERS + "pipelines/ltx2/connectors.py"),
    _named("video_connector", "video_(embeddings_)?connector", _DIFFUSERS + "pipelines/ltx2/connectors.py"),
    Tower("transformer_2", r"^transformer_2($|\.)", _DIFFUSERS + "pipelines/wan/pipeline_wan.py"),
    _named("resampler", "perceiver_resampler|resampler", _TRANSFORMERS + "idefics, idefics2"),
    _named("gated_cross_attn", "gated_cross_attn_layers", _TRANSFORMERS + "idefics"),
    _named("vision", "r_layers", _TRANSFORMERS + "lxmert"),
    _named("cross", "x_layers", _TRANSFORMERS + "lxmert"),
    _named("multimodal", "multimodal_model", _TRANSFORMERS + "flava"),
    _named("audio", "apm", _REMOTE + "openbmb/MiniCPM-o-2_6"),
    _named("tts", "tts", _REMOTE + "openbmb/MiniCPM-o-2_6"),
    _named("semantic", "semantic", _TRANSFORMERS + "bark"),
    _named("coarse_acoustics", "coarse_acoustics", _TRANSFORMERS + "bark"),
    _named("fine_acoustics", "fine_acoustics", _TRANSFORMERS + "bark"),
    _named("t2u_encoder", r"t2u_model\.(model\.)?encoder", _TRANSFORMERS + "seamless_m4t"),
    _named("t2u_decoder", r"t2u_model\.(model\.)?decoder", _TRANSFORMERS + "seamless_m4t"),
    _named("speech_adapter", r"speech_encoder\.adapter", _TRANSFORMERS + "seamless_m4t"),
    _named("speech_encoder", "speech_encoder(_model)?", _TRANSFORMERS + "seamless_m4t, clvp"),
    _named("text_decoder", "text_decoder", _TRANSFORMERS + "seamless_m4t, blip"),
    _named("question_encoder", "question_encoder", _TRANSFORMERS + "dpr, rag"),
    _named("ctx_encoder", "ctx_encoder", _TRANSFORMERS + "dpr"),
    _named("query_encoder", "query_encoder", "pairs of retrievers"),
    _named("passage_encoder", "passage_encoder", "pairs of retrievers"),
    _named("vl_self_attention", "vl_self_attention", "NVIDIA/Isaac-GR00T: gr00t/model/action_head"),
    _named("timbre_encoder", "timbre_encoder", "ace-step/ACE-Step-1.5: acestep/models"),
    _named("attention_pooler", "attention_pooler", "ace-step/ACE-Step-1.5: acestep/models"),
    _named("detokenizer", "detokenizer", "ace-step/ACE-Step-1.5: acestep/models"),
)
# Lists that lie beside a tower's own blocks, with numbers of their own.
_BESIDE = (
    _named(
        "deepstack",
        "deepstack_merger_list|deepstack_mergers|merger_list",
        _TRANSFORMERS + "qwen3_vl, granite_docling",
    ),
    _named("vision_high_res", "high_res_vision_model", _TRANSFORMERS + "deepseek_vl_hybrid"),
    _named("resampler", "sequence_compressor_resampler", _TRANSFORMERS + "evolla"),
    _named("local_encoder_cross_attn", r"local_encoder\.cross_attn_layers", _TRANSFORMERS + "blt"),
    _named("local_decoder_cross_attn", r"local_decoder\.cross_attn_layers", _TRANSFORMERS + "blt"),
    _named("local_encoder", "local_encoder", _TRANSFORMERS + "blt"),
    _named("local_decoder", "local_decoder", _TRANSFORMERS + "blt"),
    _named("patcher", "patcher", _TRANSFORMERS + "blt"),
    _named("cross_modal_image", "cross_modal_image_layers", _TRANSFORMERS + "bridgetower"),
    _named("cross_modal_text", "cross_modal_text_layers", _TRANSFORMERS + "bridgetower"),
    _named("final_encoder", "final_char_encoder", _TRANSFORMERS + "canine"),
    _named("codec_encoder", "encoder_seanet", _TRANSFORMERS + "mimi, csm"),
    _named("codec_encoder_transformer", "encoder_transformer", _TRANSFORMERS + "mimi, csm"),
    _named("codec_decoder", "decoder_seanet", _TRANSFORMERS + "mimi, csm"),
    _named("codec_decoder_transformer", "decoder_transformer", _TRANSFORMERS + "mimi, csm"),
    _named("text_backbone", "text_backbone", _TRANSFORMERS + "grounding_dino"),
    _named(
        "backbone",
        r"backbone\.conv_encoder|pixel_level_module\.encoder",
        _TRANSFORMERS + "grounding_dino, maskformer",
    ),
    _named("pixel_decoder", r"pixel_level_module\.decoder", _TRANSFORMERS + "mask2former, maskformer"),
    _named("L_module", "L_module", _TRANSFORMERS + "hrm_text"),
    _named("H_module", "H_module", _TRANSFORMERS + "hrm_text"),
    _named("flow_head", "flow_head", _TRANSFORMERS + "gradium_phonon_tts"),
    _named("memory_attention", "memory_attention", _TRANSFORMERS + "sam2_video, edgetam_video"),
    _named("memory_encoder", "memory_encoder", _TRANSFORMERS + "sam2_video, edgetam_video"),
    _named("mask_decoder", "mask_decoder", _TRANSFORMERS + "sam, sam2"),
    _named("spatial_perceiver", "spatial_perceiver", _TRANSFORMERS + "edgetam_video"),
    _named("audio_decoder", r"audio_(encoder|tower)\.decoder", _TRANSFORMERS + "musicgen, vibevoice"),
    _named("diarization", "diarization_model", _TRANSFORMERS + "nemotron3_5_transcribe"),
    _named("video", "video_tower", _TRANSFORMERS + "video_llava"),
    _named("vision", "image_tower", _TRANSFORMERS + "video_llava"),
    _named("temporal", "temporal_layers", _TRANSFORMERS + "videoprism"),
    _named("geometry_encoder", "geometry_encoder", _TRANSFORMERS + "sam3"),
    _named("detr_encoder", "detr_encoder", _TRANSFORMERS + "sam3"),
    _named("detr_decoder", "detr_decoder", _TRANSFORMERS + "sam3"),
    _named("semantic_tokenizer", "semantic_tokenizer(_encoder)?", _TRANSFORMERS + "vibevoice"),
    _named("acoustic_tokenizer", "acoustic_tokenizer(_encoder)?", _TRANSFORMERS + "vibevoice"),
    _named("diffusion_head", "diffusion_head|prediction_head", _TRANSFORMERS + "vibevoice"),
    _named("transformer_in", "transformer_in", _DIFFUSERS + "unets/unet_3d_condition.py"),
    _named("transformer_layes", "transformer_layes", _DIFFUSERS + "controlnets/controlnet_union.py"),
    _named("perceiver", "perceiver", _DIFFUSERS + "transformer_bria_fibo2.py"),
    _named("patch_embeddings", r"encoder\.patch_embeddings", _TRANSFORMERS + "segformer, glpn"),
)
_FIRST = (
    Tower("vision", r"(^|[._])(vision\w*|visual|visual_tokenizer|image_encoder)($|\.)", _TRANSFORMERS + "*"),
    _named(
        "vision",
        "image_model|img_processor|vpm",
        _TRANSFORMERS + "flava, phi4_multimodal; " + _REMOTE + "openbmb/MiniCPM-V",
    ),
    # A list of a denoiser's blocks that begins so is a stack of its own, below.
    Tower("audio", r"(^|[._])audio(?!\w*_transformer_blocks)\w*($|\.)", _TRANSFORMERS + "qwen2_5_omni"),
    # Second in the pipelines of Flux, third in those of SD3, first in others.
    Tower("t5", r"^(text_encoder(_\d)?|te\d?)\.encoder\.block$", _TRANSFORMERS + "t5, umt5"),
    _named("text_encoder_4", "text_encoder_4|te4", _DIFFUSERS + "pipelines/hidream_image"),
    _named("text_encoder_3", "text_encoder_3|te3", _DIFFUSERS + "pipelines"),
    _named("text_encoder_2", "text_encoder_2|te2", _DIFFUSERS + "pipelines"),
    _named("text_encoder", "text_encoder|text_encoder_model|te|te1", _DIFFUSERS + "pipelines"),
    _named("unet", "unet", _DIFFUSERS + "pipelines"),
    _named("controlnet", "controlnet", _DIFFUSERS + "pipelines"),
    _named("text", "text_model", _TRANSFORMERS + "clip"),
    _named("language", "language_model", _TRANSFORMERS + "llava"),
    # The second speaker of Qwen-Omni, BLIP-2's query transformer, and layers that predict further tokens.
    _named("talker", "talker", _TRANSFORMERS + "qwen2_5_omni"),
    _named("qformer", "qformer", _TRANSFORMERS + "blip_2"),
    _named("mtp", "mtp", "deepseek-ai/DeepSeek-V3: inference/model.py"),
    # Qwen-Omni's vocoders and what makes their tokens a waveform, the lyrics of ACE-Step, the codebooks of
    # CSM and Moshi.
    _named("speaker_encoder", "spk_encoder", _TRANSFORMERS + "qwen2_5_omni"),
    _named("vocoder", "code2wav_bigvgan_model", _TRANSFORMERS + "qwen2_5_omni"),
    _named("code2wav", r"token2wav|code2wav\.pre_transformer", _TRANSFORMERS + "qwen3_omni_moe"),
    _named("lyric_encoder", "lyric_encoder", "ace-step/ACE-Step: acestep/models"),
    _named("depth_decoder", "depth_decoder", _TRANSFORMERS + "csm, moshi"),
)
_LAST = (
    _named("decoder", "decoder", _TRANSFORMERS + "t5, bart"),
    _named("encoder", "encoder", _TRANSFORMERS + "t5, bart, bert"),
)
TOWERS = (
    *_FURTHER,
    *_BESIDE,
    *_FIRST,
    *(Tower(b.stack, b.end, b.source) for b in BLOCKS if b.stack != "model"),
    *_LAST,
)
