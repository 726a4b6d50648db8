"""Every place of Stable Diffusion's UNets and their ControlNets, in diffusers' names and in CompVis'."""

import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.unit.address.saved_updates import saved

from tunescope.address import component_names, distinct_addresses, dotted, parse
from tunescope.source import open_source
from tunescope.source.checkpoint import open_checkpoint

ATTENTION = [f"attn{k}.{side}" for k in (1, 2) for side in ("to_q", "to_k", "to_v", "to_out.0")]
BLOCK = [*ATTENTION, "ff.net.0.proj", "ff.net.2"]
RESNET = ["conv1", "time_emb_proj", "conv2"]
OUTSIDE = ["time_embedding.linear_1", "time_embedding.linear_2", "conv_in"]
# Transformer blocks at each place of a level, from the first level down; 0 where there is no attention.
SDXL, SD1 = (0, 2, 10), (1, 1, 1, 0)


def attention(place: str, depth: int) -> list[str]:
    inner = [f"transformer_blocks.{block}.{module}" for block in range(depth) for module in BLOCK]
    return [f"{place}.{module}" for module in ("proj_in", *inner, "proj_out")] if depth else []


def down(depths: tuple[int, ...]) -> list[str]:
    """The modules of the way down and of the middle."""
    last, names = len(depths) - 1, []
    for level, depth in enumerate(depths):
        for place in range(2):
            names += [f"down_blocks.{level}.resnets.{place}.{module}" for module in RESNET]
            names += attention(f"down_blocks.{level}.attentions.{place}", depth)
        names += [f"down_blocks.{level}.downsamplers.0.conv"] if level < last else []
    names += [f"mid_block.resnets.{k}.{module}" for k in range(2) for module in RESNET]
    return names + attention("mid_block.attentions.0", depths[-1] or 1)


def up(depths: tuple[int, ...]) -> list[str]:
    """The modules of the way up, whose residual blocks all change the number of channels."""
    names = []
    for level, depth in enumerate(reversed(depths)):
        for place in range(3):
            parts = (*RESNET, "conv_shortcut")
            names += [f"up_blocks.{level}.resnets.{place}.{module}" for module in parts]
            names += attention(f"up_blocks.{level}.attentions.{place}", depth)
        names += [f"up_blocks.{level}.upsamplers.0.conv"] if level < len(depths) - 1 else []
    return names


MODELS = {
    "SDXL": [
        *OUTSIDE,
        "conv_out",
        "add_embedding.linear_1",
        "add_embedding.linear_2",
        *down(SDXL),
        *up(SDXL),
    ],
    "SD 1": [*OUTSIDE, "conv_out", *down(SD1), *up(SD1)],
}
ENCODERS = [
    f"lora_te{k}_text_model_encoder_layers_{layer}_{module}"
    for k, layers in ((1, 12), (2, 32))
    for layer in range(layers)
    for module in ("self_attn_out_proj", "mlp_fc1")
]
_OUTSIDE = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0", "conv_out": "out.2",
}  # fmt: skip
_PARTS = {
    "conv1": "in_layers.2", "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}  # fmt: skip


def numbered(name: str, names: list[str]) -> str:
    """The name in CompVis' code [diffusers: loaders/single_file_utils.py, convert_ldm_unet_checkpoint]."""
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    if found := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", name):
        number = 1 if found[1] == "attentions" else 2 * int(found[2])
        return f"middle_block.{number}.{_PARTS.get(found[3], found[3])}"
    found = re.match(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.+)", name)
    assert found
    side, level, kind, place, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    if kind == "downsamplers":
        return f"input_blocks.{3 * level + 3}.0.op"
    if kind == "upsamplers":
        beside = any(n.startswith(f"up_blocks.{level}.attentions") for n in names)
        return f"output_blocks.{3 * level + 2}.{2 if beside else 1}.conv"
    number = 3 * level + place + (side == "down")
    blocks = "input_blocks" if side == "down" else "output_blocks"
    return f"{blocks}.{number}.{0 if kind == 'resnets' else 1}.{_PARTS.get(rest, rest)}"


@pytest.mark.parametrize("model", MODELS)
def test_every_place_of_a_unet_is_one_address_in_every_spelling(model: str) -> None:
    for name in MODELS[model]:
        theirs = numbered(name, MODELS[model])
        spellings = [
            f"unet.{name}", f"diffusion_model.{theirs}", f"model.diffusion_model.{theirs}",
            *(dotted(f"lora_unet_{spelled.replace('.', '_')}") for spelled in (name, theirs)),
            *((name, theirs) if "_block" in name else ()),
        ]  # fmt: skip
        assert len({parse(spelled) for spelled in spellings}) == 1, spellings


@pytest.mark.parametrize("model", MODELS)
def test_every_place_of_a_unet_has_a_short_name_of_its_own(model: str) -> None:
    names = [f"unet.{name}" for name in MODELS[model]] + list(map(dotted, ENCODERS))
    addresses = distinct_addresses(list(map(parse, names)))
    assert {a.stack for a in addresses} == {"unet", "text_encoder", "text_encoder_2"}
    assert len({a.module_type for a in addresses if a.stack == "unet"}) < 30
    components = component_names(addresses)
    assert len(set(components)) == len(names)
    assert max(map(len, components)) < 32


def test_layers_of_sdxl_count_places_in_tens_and_their_blocks_in_ones() -> None:
    queries = [n for n in MODELS["SDXL"] if n.endswith("attn1.to_q")]
    layers = [a.layer for a in distinct_addresses([parse(f"unet.{n}") for n in queries])]
    assert layers == sorted(layers, key=lambda layer: -1 if layer is None else layer)
    assert (layers[0], layers[-1]) == (40, 181)


def test_blocks_of_a_unet_have_families() -> None:
    addresses = [parse(f"unet.{n}") for n in MODELS["SDXL"] if "transformer_blocks" in n]
    families = {a.module_type.split(".")[3].rstrip("12"): a.family for a in addresses}
    assert families == {"attn": "attention", "ff": "mlp"}


@pytest.mark.parametrize("model", MODELS)
def test_a_controlnet_of_either_naming_is_a_stack_of_its_own(model: str) -> None:
    depths = {"SDXL": SDXL, "SD 1": SD1}[model]
    for name in (*OUTSIDE, *down(depths)):
        address = parse(f"control_model.{numbered(name, MODELS[model])}")
        assert address == parse(f"controlnet.{name}")
        assert address.stack == "controlnet"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("zero_convs.3.0", "controlnet_down_blocks.3"),
        ("middle_block_out.0", "controlnet_mid_block"),
        ("input_hint_block.0", "controlnet_cond_embedding.conv_in"),
        ("input_hint_block.4", "controlnet_cond_embedding.blocks.1"),
        ("input_hint_block.14", "controlnet_cond_embedding.conv_out"),
    ],
)
def test_what_a_controlnet_adds_is_one_in_both_namings(theirs: str, ours: str) -> None:
    assert parse(f"control_model.{theirs}") == parse(f"controlnet.{ours}")


def test_an_adapter_of_sdxl_finds_its_weights_in_a_base_of_either_naming(tmp_path: Path) -> None:
    flat = [f"lora_unet_input_blocks_4_1_transformer_blocks_{block}_attn1_to_q" for block in range(2)]
    source = open_source(saved(tmp_path / "x.safetensors", flat))
    for place in ("down_blocks.1.attentions.0", "model.diffusion_model.input_blocks.4.1"):
        held = {
            f"{place}.transformer_blocks.{i}.attn1.to_q.weight": np.full((4, 6), i, "f4") for i in range(2)
        }
        save_file(held, tmp_path / "base.safetensors")
        base = open_checkpoint(tmp_path / "base.safetensors")
        for i, delta in enumerate(source.deltas):
            weight = base.weight(delta)
            assert isinstance(weight, np.ndarray)
            assert weight[0, 0] == i


@pytest.mark.parametrize("name", ["time_embedding.linear_1", "time_embed.0", "add_embedding.linear_1"])
def test_embeddings_of_a_unet_stay_its_own(name: str) -> None:
    assert parse(dotted("lora_unet_" + name.replace(".", "_"))).stack == "unet"
