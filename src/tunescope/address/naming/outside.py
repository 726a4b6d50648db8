"""Modules outside all blocks: the spellings of one, and its one name."""

import re

from tunescope.address.naming import sources as of
from tunescope.address.naming.rules import Rename, renames

_LTX_AUDIO = (
    ("video_scale_shift", "video_scale_shift"), ("a2v_gate", "video_a2v_gate"),
    ("audio_scale_shift", "audio_scale_shift"), ("v2a_gate", "audio_v2a_gate"),
)  # fmt: skip
_EMBEDDED = (
    r"(time_text_embed|time_guidance_embed|time_caption_embed|time_embed|time_embed\.emb|adaln_single\.emb)"
)
_TIMESTEP = ("emb.timestep_embedder.linear_1", "emb.timestep_embedder.linear_2")
_HALVES = (("linear_1", "in_layer"), ("linear_2", "out_layer"))

# Words that other models have for other modules: they mean what is below behind a denoiser's prefix, or in a
# file that holds an image model's blocks.
SHARED_WORDS = r"first|last\.linear|head\.head|final_linear|patch_embed\.proj"
# A regular expression for a whole path, without what names the denoiser, and its one name. Of models that
# share a name for one of them, each has one spelling of the pair.
OUTSIDE: tuple[Rename, ...] = (
    *renames(
        "",
        of.FLUX_DIFFUSERS,
        {"x_embedder": "img_in", "context_embedder": "txt_in", r"final_layer\.linear": "proj_out"},
    ),
    *renames(
        "",
        of.EMBEDDERS,
        {
            rf"{theirs}\.{linear}": f"{ours}.{layer}"
            for theirs, ours in (
                (rf"{_EMBEDDED}\.timestep_embedder", "time_in"),
                (r"time_text_embed\.text_embedder", "vector_in"),
                (r"(time_text_embed|time_guidance_embed)\.guidance_embedder", "guidance_in"),
                (r"time_guidance_embed\.timestep_embedder_r", "time_r_in"),
                (r"context_embedder\.time_text_embed\.timestep_embedder", "txt_in.t_embedder"),
            )
            for linear, layer in _HALVES
        },
    ),
    *renames(
        "",
        f"{of.HUNYUAN}; {of.SD3}",
        {
            rf"{theirs}\.mlp\.{number}": f"{ours}.{layer}"
            for theirs, ours in (
                (r"(t_embedder|time_in)", "time_in"),
                (r"(y_embedder|vector_in)", "vector_in"),
                ("guidance_in", "guidance_in"),
                ("time_r_in", "time_r_in"),
                (r"txt_in\.t_embedder", "txt_in.t_embedder"),
            )
            for number, layer in ((0, "in_layer"), (2, "out_layer"))
        },
    ),
    *renames(
        "",
        of.HUNYUAN_DIFFUSERS,
        {
            r"context_embedder\.proj_in": "txt_in.input_embedder",
            r"context_embedder\.time_text_embed\.text_embedder\.linear_1": "txt_in.c_embedder.linear_1",
            r"context_embedder\.time_text_embed\.text_embedder\.linear_2": "txt_in.c_embedder.linear_2",
        },
    ),
    *renames(
        "",
        of.HUNYUAN_15,
        {
            r"vision_in\.proj\.1": "image_embedder.linear_1",
            r"vision_in\.proj\.3": "image_embedder.linear_2",
            **{rf"context_embedder_2\.linear_{k}": f"byt5_in.fc{k}" for k in (1, 2, 3)},
        },
    ),
    *renames(
        "",
        of.WAN,
        {
            r"condition_embedder\.time_proj": "time_projection.1",
            r"head\.head": "proj_out",
            r"condition_embedder\.image_embedder\.ff\.net\.0\.proj": "img_emb.proj.1",
            r"condition_embedder\.image_embedder\.ff\.net\.2": "img_emb.proj.3",
            **{
                rf"condition_embedder\.{theirs}_embedder\.{linear}": f"{theirs}_embedding.{number}"
                for theirs in ("time", "text")
                for linear, number in (("linear_1", 0), ("linear_2", 2))
            },
        },
    ),
    # Not the modulation of its final layer: diffusers swaps the halves of those rows.
    *renames(
        "",
        of.FLUX2,
        {
            rf"{name}\.lin": f"{name}.linear"
            for name in (
                "double_stream_modulation_img", "double_stream_modulation_txt", "single_stream_modulation"
            )
        },
    ),
    *renames(
        "",
        f"{of.HUNYUAN_DIFFUSERS}; {of.SD3_DIFFUSERS}; {of.SANA}; {of.MOCHI}",
        {r"(x_embedder|pos_embed|patch_embed)\.proj": "img_in.proj"},
    ),
    *renames(
        "",
        of.LTX,
        {
            "patchify_proj": "proj_in",
            "audio_patchify_proj": "audio_proj_in",
            r"time_embed\.linear": "adaln_single.linear",
            **{
                rf"audio_time_embed\.{re.escape(linear)}": f"audio_adaln_single.{linear}"
                for linear in ("linear", *_TIMESTEP)
            },
            **{
                rf"av_cross_attn_{theirs}\.{re.escape(linear)}": f"av_ca_{ours}_adaln_single.{linear}"
                for ours, theirs in _LTX_AUDIO
                for linear in ("linear", *_TIMESTEP)
            },
        },
    ),
    *renames(
        "",
        f"{of.PIXART}; {of.SANA}",
        {
            r"t_block\.1": "adaln_single.linear",
            r"y_embedder\.y_proj\.fc1": "caption_projection.linear_1",
            r"y_embedder\.y_proj\.fc2": "caption_projection.linear_2",
        },
    ),
    *renames("", of.LUMINA, {r"time_caption_embed\.caption_embedder\.1": "cap_embedder.1"}),
    *renames(
        "",
        of.Z_IMAGE,
        {
            r"all_x_embedder\.2-1": "img_in",
            r"all_final_layer\.2-1\.linear": "proj_out",
            r"all_final_layer\.2-1\.adaLN_modulation\.1": "final_layer.adaLN_modulation.1",
        },
    ),
    *renames(
        "",
        of.AURA,
        {
            r"time_step_proj\.linear_1": "time_in.in_layer",
            r"time_step_proj\.linear_2": "time_in.out_layer",
            "cond_seq_linear": "txt_in",
            "init_x_linear": "img_in.proj",
            "final_linear": "proj_out",
        },
    ),
    *renames(
        "",
        of.MOCHI,
        {
            **{rf"time_embed\.pooler\.{to}": f"t5_y_embedder.{to}" for to in ("to_q", "to_kv", "to_out")},
            r"time_embed\.caption_proj": "t5_yproj",
        },
    ),
    *renames(
        "",
        of.COG,
        {
            r"mixins\.patch_embed\.proj": "img_in.proj",
            r"mixins\.patch_embed\.text_proj": "patch_embed.text_proj",
            r"mixins\.final_layer\.linear": "proj_out",
            r"mixins\.final_layer\.adaLN_modulation\.1": "norm_out.linear",
        },
    ),
    *renames(
        "",
        of.COSMOS,
        {
            r"x_embedder\.proj\.1": "img_in.proj",
            r"(t_embedder\.1|time_embed\.t_embedder)\.linear_1": "time_in.in_layer",
            r"(t_embedder\.1|time_embed\.t_embedder)\.linear_2": "time_in.out_layer",
            r"final_layer\.adaln_modulation\.1": "norm_out.linear_1",
            r"final_layer\.adaln_modulation\.2": "norm_out.linear_2",
        },
    ),
    *renames(
        "",
        of.LTX2,
        {
            **{
                rf"{of_audio}prompt_adaln\.{re.escape(linear)}": f"{of_audio}prompt_adaln_single.{linear}"
                for of_audio in ("", "audio_")
                for linear in ("linear", *_TIMESTEP)
            },
            r"connectors\.text_proj_in": "text_embedding_projection.aggregate_embed",
        },
    ),
    *renames(
        "",
        of.FLUX3,
        {
            **{rf"emb_in\.{mode}": f"x_embedders.{mode}" for mode in ("image", "image_cond")},
            **{
                rf"{theirs}\.{linear}": f"{ours}.{layer}"
                for theirs, ours in (
                    ("timestep_embedder", "time_in"), ("target_timestep_embedder", "ref_time_in")
                )
                for linear, layer in _HALVES
            },
            **{
                rf"{blocks}_stream_modulations\.{mode}\.lin": f"{blocks}_stream_modulations.{mode}.linear"
                for blocks in ("early", "single")
                for mode in ("image", "image_cond", "txt")
            },
            r"final_layer\.image\.linear": "proj_out",
        },
    ),
    *renames(
        "",
        of.MINIMAX,
        {
            "video_patch_proj": "proj_in",
            "audio_patch_proj": "audio_proj_in",
            "condition_proj": "txt_in",
            r"time_embedder\.proj_in": "time_embedder.linear_1",
            r"time_embedder\.proj_out": "time_embedder.linear_2",
            r"final_layer\.adaln_proj\.linear": "norm_out.linear",
            r"final_layer\.video_out": "proj_out",
            r"final_layer\.audio_out": "audio_proj_out",
        },
    ),
    *renames(
        "",
        of.KREA,
        {
            "first": "img_in",
            r"last\.linear": "proj_out",
            r"tmlp\.0": "time_embed.linear_1",
            r"tmlp\.2": "time_embed.linear_2",
            r"tproj\.1": "time_mod_proj",
            r"txtmlp\.1": "txt_in.linear_1",
            r"txtmlp\.3": "txt_in.linear_2",
            r"txtfusion\.projector": "text_fusion.projector",
        },
    ),
)  # fmt: skip
