"""Text encoders, motion modules, video U-Nets, Stable Cascade, projectors: all spellings are one weight."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.unit.address.saved_updates import saved

from tunescope.address import distinct_addresses, dotted, parse, parse_all
from tunescope.measure.between import between
from tunescope.source import open_source
from tunescope.source.checkpoint import open_checkpoint

T5 = (
    "layer.0.SelfAttention.q",
    "layer.0.SelfAttention.o",
    "layer.1.DenseReluDense.wi_0",
    "layer.1.DenseReluDense.wo",
)
CLIP = ("self_attn.q_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2")
MOTION = {
    "transformer_blocks.0.attn1.to_q": "transformer_blocks.0.attention_blocks.0.to_q",
    "transformer_blocks.0.attn2.to_out.0": "transformer_blocks.0.attention_blocks.1.to_out.0",
    "transformer_blocks.0.ff.net.0.proj": "transformer_blocks.0.ff.net.0.proj",
    "proj_in": "proj_in", "proj_out": "proj_out",
}  # fmt: skip
PLACES = ("down_blocks.0.motion_modules.1", "mid_block.motion_modules.0", "up_blocks.3.motion_modules.2")
CASCADE = {
    f"{place}.{ours}": f"{place}.{theirs}"
    for place in ("down_blocks.0.2", "down_blocks.1.2", "up_blocks.0.2", "up_blocks.1.5")
    for ours, theirs in (
        ("attention.to_q", "attention.attn.to_q"), ("attention.to_out.0", "attention.attn.out_proj"),
        ("kv_mapper.1", "kv_mapper.1"),
    )
}  # fmt: skip
# A place of a video U-Net in both namings, and the modules there.
_OVER_TIME = [
    (f"temporal_transformer_blocks.0.{module}", f"time_stack.0.{module}")
    for module in ("attn1.to_q", "attn2.to_v", "ff_in.net.0.proj", "ff.net.2")
]
_ATTENTION = [
    *_OVER_TIME, ("transformer_blocks.0.attn1.to_q", "transformer_blocks.0.attn1.to_q"),
    ("time_pos_embed.linear_2", "time_pos_embed.2"),
]  # fmt: skip
_RESNET = [
    ("spatial_res_block.conv1", "in_layers.2"), ("temporal_res_block.conv1", "time_stack.in_layers.2"),
    ("temporal_res_block.time_emb_proj", "time_stack.emb_layers.1"),
]  # fmt: skip
SVD = {
    f"{place}.{ours}": f"{block}.{theirs}"
    for place, block, modules in (
        ("down_blocks.0.attentions.0", "input_blocks.1.1", _ATTENTION),
        ("mid_block.attentions.0", "middle_block.1", _ATTENTION),
        ("up_blocks.3.attentions.2", "output_blocks.11.1", _ATTENTION),
        ("down_blocks.0.resnets.0", "input_blocks.1.0", _RESNET),
        ("mid_block.resnets.1", "middle_block.2", _RESNET),
    )
    for ours, theirs in modules
}


def flat(prefix: str, names: list[str]) -> list[str]:
    return [prefix + name.replace(".", "_") for name in names]


def t5(encoder: str) -> list[str]:
    return [f"{encoder}.encoder.block.{layer}.{module}" for layer in range(3) for module in T5]


def clip(encoder: str) -> list[str]:
    return [f"{encoder}.text_model.encoder.layers.{layer}.{m}" for layer in range(3) for m in CLIP]


def llm(encoder: str) -> list[str]:
    return [
        f"{encoder}.layers.{layer}.{m}" for layer in range(3) for m in ("self_attn.q_proj", "mlp.up_proj")
    ]


REFINED = ["diffusion_model.txt_in.individual_token_refiner.blocks.0.self_attn_proj"]
_OURS = [f"{place}.{module}" for place in PLACES for module in MOTION]
_THEIRS = [f"{place}.temporal_transformer.{module}" for place in PLACES for module in MOTION.values()]
SPELLINGS: dict[str, list[list[str]]] = {
    "Flux, T5": [
        t5("text_encoder_2"), t5("text_encoders.t5xxl.transformer"),
        flat("lora_", t5("te3")), flat("lora_", t5("te2")),
    ],
    "SD3, T5": [t5("text_encoder_3"), t5("text_encoders.t5xxl.transformer")],
    "Wan, T5": [t5("text_encoder"), t5("text_encoders.umt5xxl.transformer")],
    "CLIP": [
        clip("text_encoder"), clip("text_encoders.clip_l.transformer"), clip("cond_stage_model.transformer"),
        clip("conditioner.embedders.0.transformer"),
        flat("lora_", clip("te1")), flat("lora_", clip("te")),
    ],
    "LLaMA and CLIP of HunyuanVideo": [
        llm("text_encoder") + clip("text_encoder_2"),
        llm("text_encoder.model") + clip("text_encoder_2"),
        llm("text_encoders.llama.transformer.model") + clip("text_encoders.clip_l.transformer"),
        llm("llama.transformer.model") + clip("clip_l.transformer"),
        flat("lora_", llm("te1.model") + clip("te2")),
    ],
    "CLIP beside HunyuanVideo": [
        clip("text_encoder_2") + REFINED, clip("text_encoders.clip_l.transformer") + REFINED,
        clip("clip_l.transformer") + REFINED, flat("lora_", clip("te2")) + REFINED,
    ],
    "the four of HiDream": [
        clip("text_encoder") + clip("text_encoder_2") + t5("text_encoder_3") + llm("text_encoder_4.model"),
        clip("text_encoders.clip_l.transformer") + clip("text_encoders.clip_g.transformer")
        + t5("text_encoders.t5xxl.transformer") + llm("text_encoders.llama.transformer.model"),
        clip("clip_l.transformer") + clip("clip_g.transformer") + t5("t5xxl.transformer")
        + llm("llama.transformer.model"),
        flat("lora_", clip("te1") + clip("te2") + t5("te3") + llm("te4.model")),
        clip("te1") + clip("te2") + t5("te3") + llm("te4.model"),
    ],
    "Qwen in Qwen-Image": [
        [f"{encoder}.layers.{layer}.mlp.up_proj" for layer in range(3)]
        for encoder in ("text_encoder.model", "text_encoders.qwen25_7b.transformer.model")
    ],
    "second transformer of Wan 2.2": [
        [f"pipe.dit2.blocks.{layer}.self_attn.{side}" for layer in range(2) for side in "qkv"],
        [f"transformer_2.blocks.{layer}.attn1.to_{side}" for layer in range(2) for side in "qkv"],
    ],
    "AnimateDiff": [
        [f"unet.{name}" for name in _OURS], _THEIRS, flat("lora_unet_", _OURS), flat("lora_unet_", _THEIRS),
    ],
    "Stable Cascade": [
        [f"unet.{name}" for name in CASCADE], [f"prior.{name}" for name in CASCADE],
        [f"diffusion_model.{name}" for name in CASCADE.values()],
        flat("lora_prior_unet_", list(CASCADE.values())),
    ],
    "Stable Video Diffusion": [
        [f"unet.{name}" for name in SVD], [f"model.diffusion_model.{name}" for name in SVD.values()],
        flat("lora_unet_", list(SVD)), flat("lora_unet_", list(SVD.values())),
    ],
    "InternVL, as its own code and as transformers has it": [
        [f"{list_}.{layer}.{module}" for layer in range(3) for module in modules] + ends
        for list_, modules, ends in (
            (
                "vision_model.encoder.layers",
                ("attn.proj", "attn.qkv", "mlp.fc1", "mlp.fc2", "norm1", "norm2"), ["mlp1.1", "mlp1.3"],
            ),
            (
                "model.vision_tower.encoder.layer",
                (
                    "attention.projection_layer", "attention.qkv", "mlp.fc1", "mlp.fc2", "layernorm_before",
                    "layernorm_after",
                ),
                [f"model.multi_modal_projector.linear_{k}" for k in (1, 2)],
            ),
        )
    ],
    "projector of InternVL": [
        ["mlp1.1", "mlp1.3"], [f"model.multi_modal_projector.linear_{k}" for k in (1, 2)],
    ],
    "projector of LLaVA": [
        [f"model.mm_projector.{k}" for k in (0, 2)], [f"multi_modal_projector.linear_{k}" for k in (1, 2)],
    ],
}  # fmt: skip


@pytest.mark.parametrize("part", SPELLINGS)
def test_every_spelling_of_a_part_is_one_update(part: str, tmp_path: Path) -> None:
    files = [saved(tmp_path / f"{i}.safetensors", names) for i, names in enumerate(SPELLINGS[part])]
    sources = [open_source(file) for file in files]
    found = between([(source.label, source.deltas) for source in sources])
    assert (found.compared == len(SPELLINGS[part][0])).all()
    np.testing.assert_allclose(found.cosine, 1.0, rtol=1e-9)
    names = [delta.component_name for delta in sources[0].deltas]
    assert len(set(names)) == len(names)


def test_internvls_blocks_are_attention_and_mlp_of_its_vision_tower() -> None:
    blocks = "vision_model.encoder.layers.3"
    wanted = {
        "attn.qkv": ("attention", "ATTN_QKV"), "attn.proj": ("attention", "ATTN_O"),
        "mlp.fc1": ("mlp", "MLP_UP"), "mlp.fc2": ("mlp", "MLP_DOWN"), "ls1": ("other", "LAMBDA_1"),
        "norm2": ("norm", "LAYERNORM_AFTER"), "attn.q_norm": ("norm", "Q_NORM"),
    }  # fmt: skip
    addresses = parse_all([f"{blocks}.{module}" for module in wanted])
    assert {(a.stack, a.layer) for a in addresses} == {("vision", 3)}
    assert [(a.family, a.component) for a in addresses] == list(wanted.values())


def test_internvls_fused_projection_meets_its_three_parts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    down, ups = rng.normal(size=(2, 6)), rng.normal(size=(3, 6, 2))
    files = {
        "fused": {"vision_model.encoder.layers.0.attn.qkv": np.concatenate(ups)},
        "parts": {
            f"model.vision_tower.encoder.layer.0.attention.{side}_proj": up
            for side, up in zip("qkv", ups, strict=True)
        },
    }
    for label, held in files.items():
        tensors = {}
        for name, up in held.items():
            tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
            tensors[f"{name}.alpha"] = np.array(2.0)
        save_file({n: t.astype(np.float32) for n, t in tensors.items()}, tmp_path / f"{label}.safetensors")
    sources = [open_source(tmp_path / f"{label}.safetensors") for label in files]
    found = between([(source.label, source.deltas) for source in sources])
    np.testing.assert_allclose(found.cosine, 1.0, rtol=1e-6)


@pytest.mark.parametrize("encoder", ["text_encoder_2", "text_encoder_3"])
def test_t5_is_a_tower_whichever_place_it_has_in_a_pipeline(encoder: str) -> None:
    names = clip("text_encoder") + t5(encoder) + ["transformer.transformer_blocks.0.attn.to_q"]
    addresses = distinct_addresses([parse(name) for name in names])
    assert {a.stack for a in addresses} == {"text_encoder", "t5", "model"}
    assert {a.layer for a in addresses if a.stack == "t5"} == {0, 1, 2}


@pytest.mark.parametrize("model", ["LLaMA and CLIP of HunyuanVideo", "the four of HiDream"])
def test_every_text_encoder_of_a_pipeline_is_a_tower(model: str) -> None:
    wanted = {
        "LLaMA and CLIP of HunyuanVideo": {"text_encoder", "text_encoder_2"},
        "the four of HiDream": {"text_encoder", "text_encoder_2", "t5", "text_encoder_4"},
    }
    for names in SPELLINGS[model]:
        assert {a.stack for a in parse_all(map(dotted, names))} == wanted[model]


def test_motion_modules_lie_at_the_places_of_what_is_beside_them() -> None:
    beside = {"mid_block.motion_modules.0": "mid_block.attentions.0"}
    for place in PLACES:
        there = beside.get(place, place.replace("motion_modules", "resnets"))
        motion, other = parse(f"unet.{place}.proj_in"), parse(f"unet.{there}.conv1")
        assert (motion.stack, motion.layer) == (other.stack, other.layer)
    motion = parse(f"unet.{PLACES[0]}.transformer_blocks.0.attn1.to_q")
    assert motion.family == "attention"
    assert motion != parse("unet.down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q")


def test_every_level_of_stable_cascade_is_a_stack() -> None:
    addresses = parse_all(list(CASCADE))
    assert {a.stack for a in addresses} == {"down_blocks_0", "down_blocks_1", "up_blocks_0", "up_blocks_1"}
    assert [a.layer for a in addresses if a.stack == "up_blocks_1"] == [5, 5, 5]


@pytest.mark.parametrize("tower", ["encoder", "decoder", "vision"])
def test_levels_of_other_models_stay_in_their_towers(tower: str) -> None:
    place = {"vision": "vision_tower"}.get(tower, tower)
    assert parse(f"{place}.down_blocks.0.2.attention.to_q").stack == tower


def test_open_clips_blocks_are_those_of_transformers_clip(tmp_path: Path) -> None:
    theirs = "conditioner.embedders.1.model.transformer.resblocks"
    names = {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2", "attn.out_proj": "self_attn.out_proj"}
    for name, ours in names.items():
        assert parse(f"{theirs}.7.{name}") == parse(f"text_encoder_2.text_model.encoder.layers.7.{ours}")
    whole = np.arange(12 * 4, dtype=np.float32).reshape(12, 4)
    save_file({f"{theirs}.0.attn.in_proj_weight": whole}, tmp_path / "base.safetensors")
    flat_names = [f"lora_te2_text_model_encoder_layers_0_self_attn_{side}_proj" for side in "qkv"]
    pairs = {
        f"{name}.{part}.weight": np.ones(shape, np.float32)
        for name in flat_names
        for part, shape in (("lora_down", (2, 4)), ("lora_up", (4, 2)))
    }
    save_file(pairs, tmp_path / "lora.safetensors")
    deltas = open_source(tmp_path / "lora.safetensors", scale=1).deltas
    base = open_checkpoint(tmp_path / "base.safetensors")
    for delta in deltas:
        start = 4 * "qkv".index(delta.address.module_type.split(".")[1][0])
        np.testing.assert_array_equal(base.fitted(deltas).weight(delta), whole[start : start + 4])


SHARED = ["first", "last.linear", "head.head", "final_linear", "patch_embed.proj"]


@pytest.mark.parametrize("name", SHARED)
def test_words_that_other_models_share_keep_their_names_there(name: str) -> None:
    for blocks in ("model.layers", "blocks", "h"):
        alone, beside = parse_all([f"{name}.weight", f"{blocks}.0.attn.q_proj.weight"])
        assert alone.module_type == parse(name).module_type == name
        assert beside.layer == 0


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("first", "txtfusion.refiner_blocks"), ("last.linear", "text_fusion.refiner_blocks"),
        ("final_linear", "double_layers"), ("patch_embed.proj", "transformer_blocks"),
        ("patch_embed.proj", "transformer.transformer_blocks"), ("head.head", "vace_blocks"),
    ],
)  # fmt: skip
def test_words_that_other_models_share_are_an_image_models_beside_its_blocks(name: str, blocks: str) -> None:
    beside = f"{blocks}.0.attn.to_q.weight"
    prefix = "transformer." if blocks.startswith("transformer.") else ""
    assert parse_all([f"{prefix}{name}.weight", beside])[0] == parse(f"diffusion_model.{name}")
    assert parse(dotted("lora_unet_" + name.replace(".", "_"))) == parse(f"diffusion_model.{name}")


@pytest.mark.parametrize(
    "name", ["multi_modal_projector.linear_1", "conv_in", "my_own.down_mixer", "lm_head"]
)
def test_other_modules_beside_an_image_models_blocks_keep_their_names(name: str) -> None:
    beside = "token2wav.code2wav_dit_model.transformer_blocks.0.attn.to_q.weight"
    assert parse_all([f"{name}.weight", beside])[0] == parse(name)


@pytest.mark.parametrize(
    ("name", "family", "component"),
    [
        ("model.transformer.blocks.0.att_proj", "attention", "ATTN_QKV"),
        ("model.transformer.blocks.0.self_attn.att_proj", "attention", "ATTN_QKV"),
        ("model.transformer.blocks.0.attn_out", "attention", "ATTN_O"),
        ("model.transformer.blocks.0.ff_proj", "mlp", "MLP_UP_GATE"),
        ("model.transformer.blocks.0.ff_out", "mlp", "MLP_DOWN"),
        ("model.transformer.blocks.0.mlp.ff_out", "mlp", "MLP_DOWN"),
        ("model.transformer.ff_out", "embedding", "LM_HEAD"),
        ("model.transformer.wte.embedding", "embedding", "EMBED"),
        ("model.vision_tower.encoder.layer.0.attention.projection_layer", "attention", "ATTN_O"),
    ],
)
def test_molmo_olmo_and_internvl_have_families(name: str, family: str, component: str) -> None:
    assert (parse(name).family, parse(name).component) == (family, component)
