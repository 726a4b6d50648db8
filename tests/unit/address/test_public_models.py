"""One file for each public image or video model, in every spelling of it: one adapter, whatever its names."""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tests.unit.address.public_spellings import MODELS, pairs

from tunescope.address import component_names, distinct_addresses, dotted, parse
from tunescope.address.naming import BLOCKS, OUTSIDE, RENAMES
from tunescope.measure.between import between
from tunescope.source import open_source
from tunescope.source.checkpoint import open_checkpoint

WIDTH, RANK, BLOCK_COUNT = 6, 2, 3
Part = tuple[NDArray[np.float32], NDArray[np.float32]]


def flat(name: str) -> str:
    return name.replace(".", "_")


AUTHORS = {
    "ComfyUI": "diffusion_model.{}", "checkpoint": "model.diffusion_model.{}", "kohya": "lora_unet_{}",
    "DiffSynth": "pipe.dit.{}",
}  # fmt: skip
DIFFUSERS = {"diffusers": "transformer.{}", "bare": "{}", "OneTrainer": "lora_transformer_{}"}


def spelled(pattern: str, name: str) -> str:
    return pattern.format(flat(name) if pattern.startswith("lora_") else name)


def weights(model: str) -> list[tuple[str, tuple[str, ...], list[Part]]]:
    """Every weight of a model in three blocks: both names, and the factors of its parts, which share one."""
    rng = np.random.default_rng(0)
    found = {}
    for block in range(BLOCK_COUNT):
        for theirs, ours in pairs(model, block):
            down = rng.normal(size=(RANK, WIDTH)).astype(np.float32)
            heights = [2 * WIDTH if name.endswith("proj_mlp") and len(ours) > 1 else WIDTH for name in ours]
            ups = [rng.normal(size=(height, RANK)).astype(np.float32) for height in heights]
            found[theirs] = (theirs, ours, [(down, up) for up in ups])
    return list(found.values())


def file_of(path: Path, model: str, pattern: str, ours: bool) -> Path:
    tensors = {}
    for theirs, names, parts in weights(model):
        whole = [(parts[0][0], np.concatenate([up for _, up in parts]))]
        for name, (down, up) in zip(names if ours else [theirs], parts if ours else whole, strict=True):
            key = spelled(pattern, name)
            tensors |= {
                f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up,
                f"{key}.alpha": np.array(RANK, np.float32),
            }  # fmt: skip
    save_file(tensors, path)
    return path


@pytest.mark.parametrize("model", MODELS)
def test_every_spelling_of_a_model_is_one_adapter(model: str, tmp_path: Path) -> None:
    files = [
        file_of(tmp_path / f"{label}.safetensors", model, pattern, ours)
        for ours, patterns in ((False, AUTHORS), (True, DIFFUSERS))
        for label, pattern in patterns.items()
    ]
    sources = [open_source(file) for file in files]
    found = between([(source.label, source.deltas) for source in sources])
    np.testing.assert_allclose(found.cosine, 1.0, rtol=1e-9)
    parts = sum(len(names) for _, names, _ in weights(model))
    theirs = len(AUTHORS)
    apart = found.compared[:theirs, theirs:]
    assert (apart == parts).all()
    assert (found.compared[theirs:, theirs:] == parts).all()
    assert (found.compared[:theirs, :theirs] == len(weights(model))).all()


@pytest.mark.parametrize("model", MODELS)
def test_every_weight_of_a_model_has_a_short_name_of_its_own(model: str, tmp_path: Path) -> None:
    for ours, pattern in ((False, "lora_unet_{}"), (True, "transformer.{}")):
        source = open_source(file_of(tmp_path / "x.safetensors", model, pattern, ours))
        names = [delta.component_name for delta in source.deltas]
        assert len(set(names)) == len(names)
        assert max(len(d.component_name) for d in source.deltas if d.address.layer is not None) < 42
        stacks = {delta.address.stack for delta in source.deltas}
        assert not any(stack.endswith("_2") for stack in stacks)
        families = {delta.address.family for delta in source.deltas}
        assert {"attention", "mlp"} <= families


@pytest.mark.parametrize("model", MODELS)
def test_an_adapter_of_either_spelling_finds_its_weights_in_a_base_of_diffusers(
    model: str, tmp_path: Path
) -> None:
    held = {
        f"{name}.weight": np.zeros((len(up), WIDTH), np.float32)
        for _, names, parts in weights(model)
        for name, (_, up) in zip(names, parts, strict=True)
    }
    save_file(held, tmp_path / "base.safetensors")
    base = open_checkpoint(tmp_path / "base.safetensors")
    whole = {theirs for theirs, names, _ in weights(model) if len(names) == 1}
    for ours, pattern in ((False, "diffusion_model.{}"), (True, "transformer.{}")):
        source = open_source(file_of(tmp_path / "x.safetensors", model, pattern, ours))
        expected = [
            d for d in source.deltas if ours or d.tensors[0].split(".", 1)[1].rsplit(".", 2)[0] in whole
        ]
        assert expected
        assert all(d.address in base.fitted(source.deltas).tensors for d in expected)


def test_double_and_single_blocks_are_two_stacks_in_every_model_that_has_both() -> None:
    for model in MODELS:
        names = [name for theirs, ours in pairs(model, 1) for name in (theirs, *ours)]
        single = {parse(f"transformer.{n}").stack for n in names if re.match(r"single_\w*blocks", n)}
        double = {
            parse(f"transformer.{n}").stack for n in names if n.startswith(("double_blocks", "transformer_b"))
        }
        assert not single & double


def test_every_rule_is_of_a_public_model_here_or_names_another_source() -> None:
    lines = [name for model in MODELS for theirs, ours in pairs(model, 0) for name in (theirs, *ours)]
    reached = {parse(f"diffusion_model.{name}").module_type for name in lines}
    reached |= {parse(f"transformer.{name}").module_type for name in lines}
    unreached = {r.name: r.source for r in (*RENAMES, *OUTSIDE) if r.name not in reached}
    assert all("XLabs" in source for source in unreached.values()), unreached
    assert all(blocks.source for blocks in BLOCKS)


@pytest.mark.parametrize("prefix", ["lora_unet_", "lora_transformer_", "lycoris_"])
def test_flat_names_of_public_models_keep_their_addresses(prefix: str) -> None:
    for model in MODELS:
        names = [name for _, ours in pairs(model, 1) for name in ours]
        addresses = distinct_addresses([parse(dotted(prefix + flat(name))) for name in names])
        assert len(set(component_names(addresses))) == len(names)


@pytest.mark.parametrize("model", ["Cosmos 1", "Cosmos 2"])
def test_a_trainers_net_is_the_denoiser(model: str) -> None:
    for theirs, _ in pairs(model, 2):
        assert parse(f"net.{theirs}") == parse(f"diffusion_model.{theirs}")


@pytest.mark.parametrize(
    "name",
    [
        "net.0.weight",
        "net.layers.3.fc1",
        "net.encoder.blocks.1.attn.q",
        "net.blocks.2.attn.qkv",
        "ff.net.0.proj",
    ],
)
def test_other_modules_called_net_keep_their_names(name: str) -> None:
    assert parse(name).module_type in name
