"""Every list of blocks is a stack of its own, whole, whatever else lies in the file."""

from collections import defaultdict
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from tests.unit.address.saved_updates import saved

from tunescope.address import distinct_addresses, dotted, parse, parse_all
from tunescope.address.naming import TOWERS
from tunescope.measure.between import between
from tunescope.source import open_source

KINDS = ("self_attn.q_proj", "mlp.up_proj")
# Lists of blocks of public architectures, each with how many blocks it has here.
MODELS: dict[str, dict[str, int]] = {
    "Llama 3.2 Vision": {
        "model.vision_model.transformer.layers": 4,
        "model.vision_model.global_transformer.layers": 2,
        "model.language_model.layers": 3,
    },
    "BLIP-2 with T5": {
        "vision_model.encoder.layers": 2,
        "qformer.encoder.layer": 2,
        "language_model.encoder.block": 3,
        "language_model.decoder.block": 3,
    },
    "Florence-2": {"model.language_model.encoder.layers": 2, "model.language_model.decoder.layers": 2},
    "Qwen3-Omni": {
        "thinker.model.layers": 3,
        "talker.model.layers": 4,
        "talker.code_predictor.model.layers": 2,
    },
    "MiniCPM-o": {"llm.model.layers": 3, "apm.layers": 2, "vpm.encoder.layers": 2, "tts.model.layers": 2},
    "IDEFICS": {
        "model.layers": 4,
        "model.gated_cross_attn_layers": 2,
        "model.vision_model.encoder.layers": 2,
    },
    "DeepSeek-OCR": {
        "model.layers": 2,
        "model.sam_model.blocks": 2,
        "model.vision_model.transformer.layers": 2,
    },
    "Bark": {"semantic.layers": 2, "coarse_acoustics.layers": 2, "fine_acoustics.layers": 3},
    "SeamlessM4T": {
        "text_encoder.layers": 2,
        "text_decoder.layers": 2,
        "speech_encoder.encoder.layers": 2,
        "t2u_model.model.encoder.layers": 2,
        "t2u_model.model.decoder.layers": 2,
    },
    "two transformers of Wan 2.2": {"transformer.blocks": 2, "transformer_2.blocks": 2},
    "LTX-2": {
        "transformer.transformer_blocks": 3,
        "connectors.video_connector.transformer_blocks": 2,
        "connectors.audio_connector.transformer_blocks": 2,
    },
    "Qwen3-VL": {"visual.blocks": 3, "visual.deepstack_merger_list": 2, "language_model.layers": 3},
    "BLT": {
        "local_encoder.layers": 2,
        "local_encoder.cross_attn_layers": 2,
        "local_decoder.layers": 2,
        "local_decoder.cross_attn_layers": 2,
        "global_transformer.layers": 3,
        "patcher.layers": 2,
    },
    "MusicGen": {
        "text_encoder.encoder.block": 2,
        "audio_encoder.encoder.layers": 2,
        "audio_encoder.decoder.layers": 2,
        "decoder.model.decoder.layers": 3,
    },
    "Video-LLaVA": {
        "video_tower.encoder.layers": 2,
        "image_tower.encoder.layers": 2,
        "language_model.model.layers": 3,
    },
    "VibeVoice": {
        "model.language_model.layers": 3,
        "model.acoustic_tokenizer.encoder.layers": 2,
        "model.semantic_tokenizer.encoder.layers": 2,
        "model.prediction_head.layers": 2,
    },
    "SAM 3": {"geometry_encoder.layers": 2, "detr_encoder.layers": 2, "detr_decoder.layers": 2},
    "Krea 2": {
        "transformer_blocks": 3,
        "text_fusion.layerwise_blocks": 2,
        "text_fusion.refiner_blocks": 2,
    },
    "Krea 2, its own names": {"blocks": 3, "txtfusion.layerwise_blocks": 2, "txtfusion.refiner_blocks": 2},
    "Chroma Radiance": {"double_blocks": 3, "single_blocks": 4, "nerf_blocks": 2},
    "Z-Image Omni": {"layers": 3, "noise_refiner": 2, "context_refiner": 2, "siglip_refiner": 2},
    "BridgeTower": {"cross_modal_image_layers": 2, "cross_modal_text_layers": 2},
    "HRM": {"model.L_module.layers": 2, "model.H_module.layers": 2},
    "DeepSeek-VL hybrid": {
        "vision_model.encoder.layers": 2,
        "high_res_vision_model.vision_encoder.layers": 2,
        "language_model.layers": 2,
    },
    "DPR": {"question_encoder.bert_model.encoder.layer": 2, "ctx_encoder.bert_model.encoder.layer": 2},
    "LXMERT": {"lxmert.encoder.layer": 2, "lxmert.encoder.r_layers": 2, "lxmert.encoder.x_layers": 2},
    "FLAVA": {
        "image_model.encoder.layer": 2,
        "text_model.encoder.layer": 2,
        "multimodal_model.encoder.layer": 2,
    },
}


def names(blocks: str, count: int) -> list[str]:
    return [f"{blocks}.{layer}.{kind}.weight" for layer, kind in product(range(count), KINDS)]


@pytest.mark.parametrize("model", MODELS)
def test_every_list_of_a_model_is_a_stack_whatever_else_is_in_the_file(model: str) -> None:
    lists = MODELS[model]
    everything = [name for blocks, count in sorted(lists.items()) for name in names(blocks, count)]
    stacks: defaultdict[str, set[str]] = defaultdict(set)
    for address in distinct_addresses([parse(name) for name in everything]):
        stacks[address.stack].add(address.blocks)
    assert sorted(len(held) for held in stacks.values()) == [1] * len(lists)
    for blocks, count in lists.items():
        (alone,) = {a.stack for a in distinct_addresses([parse(name) for name in names(blocks, count)])}
        assert stacks[alone] == {blocks}


def test_lists_that_no_rule_knows_are_told_apart_as_wholes() -> None:
    everything = names("left.layers", 4) + names("right.inner.layers", 2)
    for addresses in (parse_all(everything), distinct_addresses([parse(n) for n in reversed(everything)])):
        assert {(a.stack, a.blocks) for a in addresses} == {
            ("model", "left.layers"), ("model_2", "right.inner.layers"),
        }  # fmt: skip


def test_layers_of_one_list_that_are_spelled_in_two_ways_stay_one_stack() -> None:
    spelled = [*names("model.layers", 2), "layers.5.mlp.up_proj", "layers.0.mlp.down_proj"]
    assert {address.stack for address in parse_all(spelled)} == {"model"}


def test_every_rule_of_towers_names_its_source() -> None:
    assert all(tower.source and tower.stack for tower in TOWERS)


def test_a_tower_alone_is_compared_with_itself_beside_another(tmp_path: Path) -> None:
    local, outer = "vision_model.transformer.layers", "vision_model.global_transformer.layers"
    first = [name.removesuffix(".weight") for name in names(local, 3)]
    more = [name.removesuffix(".weight") for name in names(outer, 2)]
    files = {"both": first + more, "one": first}
    sources = [open_source(saved(tmp_path / f"{label}.safetensors", held)) for label, held in files.items()]
    found = between([(source.label, source.deltas) for source in sources])
    assert found.compared[0, 1] == 6
    np.testing.assert_allclose(found.cosine, 1.0)


def test_lists_that_no_rule_knows_have_one_order_in_dotted_and_flat_names() -> None:
    lists = ("blocks", "fused.layered_blocks", "fused.token_blocks")
    dotted_names = [f"{blocks}.{layer}.up" for blocks in lists for layer in range(2)]
    flattened = [dotted(f"lora_unet_{name.replace('.', '_')}") for name in dotted_names]
    wanted = [(stack, layer) for stack in ("model", "model_2", "model_3") for layer in range(2)]
    for spelled in (dotted_names, flattened):
        addresses = distinct_addresses([parse(name) for name in spelled])
        assert [(a.stack, a.layer) for a in addresses] == wanted
