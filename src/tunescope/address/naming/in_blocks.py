"""Modules within blocks: the spellings of one, and its one name."""

from tunescope.address.naming import sources as of
from tunescope.address.naming.rules import Rename, renames

_DOUBLE, _SINGLE = (
    "double_blocks|joint_blocks|transformer_blocks|blocks",
    "single_blocks|single_transformer_blocks",
)
_AURA_MLP = (("c_fc1", "linear_1"), ("c_fc2", "linear_2"), ("c_proj", "out_projection"))
# `denoiser.` is a list behind a denoiser's prefix only, `diffusers.` an outermost one too: other models have
# `blocks` and `layers` as well.
RENAMES = (
    Rename(_DOUBLE, r"img_attn[._]qkv|attn\.a_to_qkv", "attn.to_qkv", f"{of.FLUX}; {of.DIFFSYNTH}"),
    Rename(_DOUBLE, r"txt_attn[._]qkv|attn\.b_to_qkv", "attn.to_added_qkv", f"{of.FLUX}; {of.DIFFSYNTH}"),
    Rename(
        _DOUBLE, r"img_attn[._]proj|attn\.a_to_out", "attn.to_out.0", f"{of.FLUX_DIFFUSERS}; {of.DIFFSYNTH}"
    ),
    Rename(
        _DOUBLE, r"txt_attn[._]proj|attn\.b_to_out", "attn.to_add_out", f"{of.FLUX_DIFFUSERS}; {of.DIFFSYNTH}"
    ),
    Rename(
        _DOUBLE,
        r"img_mlp\.(0|fc1)|ff_a\.0",
        "ff.net.0.proj",
        f"{of.FLUX_DIFFUSERS}; {of.HUNYUAN}; {of.DIFFSYNTH}",
    ),
    Rename(
        _DOUBLE, r"img_mlp\.(2|fc2)|ff_a\.2", "ff.net.2", f"{of.FLUX_DIFFUSERS}; {of.HUNYUAN}; {of.DIFFSYNTH}"
    ),
    Rename(
        _DOUBLE, r"txt_mlp\.(0|fc1)|ff_b\.0", "ff_context.net.0.proj", f"{of.FLUX_DIFFUSERS}; {of.HUNYUAN}"
    ),
    Rename(_DOUBLE, r"txt_mlp\.(2|fc2)|ff_b\.2", "ff_context.net.2", f"{of.FLUX_DIFFUSERS}; {of.HUNYUAN}"),
    Rename(
        _DOUBLE,
        r"img_mod\.(lin|linear)|norm1_a\.linear",
        "norm1.linear",
        f"{of.FLUX_DIFFUSERS}; {of.DIFFSYNTH}",
    ),
    Rename(_DOUBLE, r"txt_mod\.(lin|linear)|norm1_b\.linear", "norm1_context.linear", f"{of.FLUX_DIFFUSERS}"),
    Rename(_DOUBLE, r"processor\.qkv_lora1", "attn.to_qkv", of.XLABS),
    Rename(_DOUBLE, r"processor\.qkv_lora2", "attn.to_added_qkv", of.XLABS),
    Rename(_DOUBLE, r"processor\.proj_lora1", "attn.to_out.0", of.XLABS),
    Rename(_DOUBLE, r"processor\.proj_lora2", "attn.to_add_out", of.XLABS),
    Rename(_DOUBLE, r"ff\.linear_in", "ff.net.0.proj", of.FLUX2),
    Rename(_DOUBLE, r"ff\.linear_out", "ff.net.2", of.FLUX2),
    Rename(_DOUBLE, r"ff_context\.linear_in", "ff_context.net.0.proj", of.FLUX2),
    Rename(_DOUBLE, r"ff_context\.linear_out", "ff_context.net.2", of.FLUX2),
    Rename(_DOUBLE, r"x_block\.attn\.qkv", "attn.to_qkv", of.SD3),
    Rename(_DOUBLE, r"context_block\.attn\.qkv", "attn.to_added_qkv", of.SD3),
    Rename(_DOUBLE, r"x_block\.attn2\.qkv", "attn2.to_qkv", of.SD3),
    Rename(_DOUBLE, r"x_block\.attn2\.proj", "attn2.to_out.0", of.SD3),
    Rename(_DOUBLE, r"x_block\.attn\.proj", "attn.to_out.0", of.SD3),
    Rename(_DOUBLE, r"context_block\.attn\.proj", "attn.to_add_out", of.SD3),
    Rename(_DOUBLE, r"x_block\.mlp\.fc1", "ff.net.0.proj", of.SD3),
    Rename(_DOUBLE, r"x_block\.mlp\.fc2", "ff.net.2", of.SD3),
    Rename(_DOUBLE, r"context_block\.mlp\.fc1", "ff_context.net.0.proj", of.SD3),
    Rename(_DOUBLE, r"context_block\.mlp\.fc2", "ff_context.net.2", of.SD3),
    Rename(_DOUBLE, r"x_block\.adaLN_modulation\.1", "norm1.linear", of.SD3),
    Rename(_SINGLE, r"to_qkv_mlp|attn\.to_qkv_mlp_proj", "linear1", f"{of.DIFFSYNTH}; {of.FLUX2}"),
    Rename(_SINGLE, r"linear2|attn\.to_out", "proj_out", f"{of.FLUX_DIFFUSERS}; {of.FLUX2}"),
    Rename(_SINGLE, r"modulation\.(lin|linear)", "norm.linear", f"{of.FLUX_DIFFUSERS}; {of.HUNYUAN}"),
    Rename(_SINGLE, r"processor\.qkv_lora", "attn.to_qkv", of.XLABS),
    # Their sum with the second projection's output [XLabs-AI/x-flux: SingleStreamBlockLoraProcessor].
    Rename(_SINGLE, r"processor\.proj_lora", "proj_out", of.XLABS),
    *(
        Rename("blocks|vace_blocks", rf"{theirs}\.to_{side}", f"{ours}.{side}", of.WAN)
        for theirs, ours in (("attn1", "self_attn"), ("attn2", "cross_attn"))
        for side in "qkv"
    ),
    Rename("blocks|vace_blocks", r"attn1\.to_out\.0", "self_attn.o", of.WAN),
    Rename("blocks|vace_blocks", r"attn2\.to_out\.0", "cross_attn.o", of.WAN),
    Rename("blocks|vace_blocks", r"attn2\.add_k_proj", "cross_attn.k_img", of.WAN),
    Rename("blocks|vace_blocks", r"attn2\.add_v_proj", "cross_attn.v_img", of.WAN),
    Rename("blocks|vace_blocks", r"ffn\.net\.0\.proj", "ffn.0", of.WAN),
    Rename("blocks|vace_blocks", r"ffn\.net\.2", "ffn.2", of.WAN),
    Rename("individual_token_refiner.blocks", r"self_attn[._]qkv", "attn.to_qkv", of.HUNYUAN),
    Rename("individual_token_refiner.blocks", r"self_attn[._]proj", "attn.to_out.0", of.HUNYUAN),
    Rename("individual_token_refiner.blocks", r"mlp\.(0|fc1)", "ff.net.0.proj", of.HUNYUAN),
    Rename("individual_token_refiner.blocks", r"mlp\.(2|fc2)", "ff.net.2", of.HUNYUAN),
    Rename("distilled_guidance_layer.layers", r"in_layer", "linear_1", of.CHROMA),
    Rename("distilled_guidance_layer.layers", r"out_layer", "linear_2", of.CHROMA),
    Rename("noise_refiner|context_refiner|siglip_refiner", r"attention\.qkv", "attention.to_qkv", of.Z_IMAGE),
    Rename(
        "noise_refiner|context_refiner|siglip_refiner", r"attention\.out", "attention.to_out.0", of.Z_IMAGE
    ),
    Rename("diffusers.layers", r"attention\.qkv", "attention.to_qkv", of.Z_IMAGE),
    Rename("diffusers.layers", r"attention\.out", "attention.to_out.0", of.Z_IMAGE),
    *renames(
        _DOUBLE,
        f"{of.HUNYUAN_15}; {of.HUNYUAN_IMAGE}",
        {
            **{rf"img_attn[._]{side}": f"attn.to_{side}" for side in "qkv"},
            **{rf"txt_attn[._]{side}": f"attn.add_{side}_proj" for side in "qkv"},
        },
    ),
    *renames(
        _SINGLE,
        of.HUNYUAN_IMAGE,
        {
            **{rf"linear1[._]{side}": f"attn.to_{side}" for side in "qkv"},
            r"linear1[._]mlp": "proj_mlp",
            r"linear2\.fc": "proj_out",
        },
    ),
    Rename(
        "individual_token_refiner.blocks", r"adaLN_modulation\.1", "norm_out.linear", of.HUNYUAN_DIFFUSERS
    ),
    *renames(
        "face_adapter.fuser_blocks|face_adapter",
        f"{of.WAN_ANIMATE}; {of.WAN_ANIMATE_DIFFUSERS}",
        {
            "linear1_kv": "cross_attn.to_kv",
            "linear1_q|to_q": "cross_attn.to_q",
            "to_k": "cross_attn.to_k",
            "to_v": "cross_attn.to_v",
            "linear2|to_out": "cross_attn.to_out.0",
        },
    ),
    *renames("vace_blocks", of.WAN, {"proj_in": "before_proj", "proj_out": "after_proj"}),
    *renames(
        "diffusers.layers|noise_refiner|context_refiner",
        of.LUMINA,
        {
            **{rf"attn\.to_{side}": f"attention.to_{side}" for side in "qkv"},
            r"attn\.to_out\.0": "attention.to_out.0",
            **{rf"feed_forward\.linear_{k}": f"feed_forward.w{k}" for k in (1, 2, 3)},
            r"norm1\.linear": "adaLN_modulation.1",
        },
    ),
    # What a flat key says, which parts the words of its list as those of Lumina's.
    Rename(
        "transformer_layers",
        r"norm1\.linear",
        "adaLN_modulation.1",
        "huggingface/diffusers: unets/uvit_2d.py",
    ),
    *renames(
        "denoiser.blocks|transformer.blocks",
        f"{of.PIXART}; {of.SANA}",
        {
            r"attn\.qkv": "attn1.to_qkv",
            r"attn\.proj": "attn1.to_out.0",
            r"cross_attn\.q_linear": "attn2.to_q",
            r"cross_attn\.kv_linear": "attn2.to_kv",
            r"cross_attn\.proj": "attn2.to_out.0",
            r"mlp\.fc1": "ff.net.0.proj",
            r"mlp\.fc2": "ff.net.2",
            r"mlp\.inverted_conv\.conv": "ff.conv_inverted",
            r"mlp\.depth_conv\.conv": "ff.conv_depth",
            r"mlp\.point_conv\.conv": "ff.conv_point",
        },
    ),
    *renames(
        "denoiser.blocks",
        of.HUNYUAN_DIT,
        {
            r"attn1\.Wqkv": "self_attn.qkv",
            r"attn1\.out_proj": "self_attn.o",
            r"attn2\.q_proj": "cross_attn.q",
            r"attn2\.kv_proj": "cross_attn.kv",
            r"attn2\.out_proj": "cross_attn.o",
            r"default_modulation\.1": "norm1.linear",
        },
    ),
    *renames(
        "denoiser.blocks",
        of.COSMOS,
        {
            rf"{theirs}\.{side}": f"{ours}.{name}"
            for theirs, ours in (("self_attn", "attn1"), ("cross_attn", "attn2"))
            for side, name in (
                ("q_proj", "to_q"),
                ("k_proj", "to_k"),
                ("v_proj", "to_v"),
                ("output_proj", "to_out.0"),
            )
        }
        | {
            rf"adaln_modulation_{theirs}\.{k}": f"{ours}.linear_{k}"
            for theirs, ours in (("self_attn", "norm1"), ("cross_attn", "norm2"), ("mlp", "norm3"))
            for k in (1, 2)
        }
        | {r"mlp\.layer1": "ff.net.0.proj", r"mlp\.layer2": "ff.net.2"},
    ),
    *renames(
        "denoiser.blocks",
        of.COSMOS_1,
        {
            rf"blocks\.{place}\.block\.attn\.to_{side}\.0": f"{ours}.to_{side}" + ".0" * (side == "out")
            for place, ours in ((0, "attn1"), (1, "attn2"))
            for side in ("q", "k", "v", "out")
        }
        | {
            rf"blocks\.{place}\.adaLN_modulation\.{k}": f"norm{place + 1}.linear_{k}"
            for place in (0, 1, 2)
            for k in (1, 2)
        }
        | {r"blocks\.2\.block\.layer1": "ff.net.0.proj", r"blocks\.2\.block\.layer2": "ff.net.2"},
    ),
    # Not the first projection of its MLPs: diffusers swaps the halves of those rows.
    *renames(
        "denoiser.blocks",
        of.MOCHI,
        {
            r"attn\.qkv_x": "attn1.to_qkv",
            r"attn\.qkv_y": "attn1.to_added_qkv",
            r"attn\.proj_x": "attn1.to_out.0",
            r"attn\.proj_y": "attn1.to_add_out",
            "mod_x": "norm1.linear",
            "mod_y": "norm1_context.linear",
            r"mlp_x\.w2": "ff.net.2",
            r"mlp_y\.w2": "ff_context.net.2",
        },
    ),
    *renames(
        "denoiser.layers",
        of.COG,
        {
            r"attention\.query_key_value": "attn1.to_qkv",
            r"attention\.dense": "attn1.to_out.0",
            r"mlp\.dense_h_to_4h": "ff.net.0.proj",
            r"mlp\.dense_4h_to_h": "ff.net.2",
        },
    ),
    *renames(
        "double_layers",
        of.AURA,
        {
            **{rf"attn\.w2{side}": f"attn.to_{side}" for side in "qkv"},
            **{rf"attn\.w1{side}": f"attn.add_{side}_proj" for side in "qkv"},
            r"attn\.w2o": "attn.to_out.0",
            r"attn\.w1o": "attn.to_add_out",
            r"modX\.1": "norm1.linear",
            r"modC\.1": "norm1_context.linear",
            **{
                rf"{theirs}\.{side}": f"{ours}.{name}"
                for theirs, ours in (("mlpX", "ff"), ("mlpC", "ff_context"))
                for side, name in _AURA_MLP
            },
        },
    ),
    *renames(
        "single_layers",
        of.AURA,
        {
            **{rf"attn\.w1{side}": f"attn.to_{side}" for side in "qkv"},
            r"attn\.w1o": "attn.to_out.0",
            r"modCX\.1": "norm1.linear",
            **{rf"mlp\.{side}": f"ff.{name}" for side, name in _AURA_MLP},
        },
    ),
    *renames(
        f"{_SINGLE}|(content_)?mode_blocks.image(_cond)?|txt_mode_blocks",
        of.FLUX3,
        {
            **{f"{side}_proj": f"attn.to_{side}" for side in "qkv"},
            "attn[._]out": "attn.to_out.0",
            "mlp_in": "ff.linear_in",
            "mlp_out": "ff.linear_out",
        },
    ),
    # Not the first projection of its MLP: diffusers swaps the halves of those rows.
    *renames(
        "denoiser.blocks|token_refiner.blocks",
        of.MINIMAX,
        {r"attn\.out_proj": "attn.to_out.0", r"mlp\.fc2": "ff.net.2"},
    ),
    *renames("diffusers.layers", of.IDEOGRAM, {r"attention\.o": "attention.to_out.0"}),
    *renames(
        "diffusers.layers",
        of.ACE,
        {
            rf"{attention}\.{theirs}": f"{attention}.{ours}"
            for attention in ("self_attn", "cross_attn")
            for theirs, ours in (
                *((f"to_{side}", f"{side}_proj") for side in "qkv"),
                (r"to_out\.0", "o_proj"),
            )
        },
    ),
    *renames(
        "diffusers.blocks|txtfusion.(layerwise|refiner)_blocks|text_fusion.(layerwise|refiner)_blocks",
        of.KREA,
        {
            **{rf"attn\.w{side}": f"attn.to_{side}" for side in "qkv"},
            r"attn\.wo": "attn.to_out.0",
            r"attn\.gate": "attn.to_gate",
            **{rf"mlp\.{side}": f"ff.{side}" for side in ("gate", "up", "down")},
        },
    ),
)
