"""Weights that diffusers stores with their halves the other way round: one update in both spellings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tunescope import check, norms
from tunescope.measure.between import between
from tunescope.source import open_source
from tunescope.source.checkpoint import open_checkpoint

D, R = 6, 2
Floats = NDArray[np.float32]
# The authors' name, diffusers', how many rows for each input, and a module of the model that both call so.
SPELLED = {
    "Flux": ("final_layer.adaLN_modulation.1", "norm_out.linear", 2),
    "Flux 3": ("final_layer.image.adaLN_modulation.1", "norm_out.linear", 2),
    "AuraFlow": ("modF.1", "norm_out.linear", 2),
    "Mochi": ("final_layer.mod", "norm_out.linear", 2),
    "Mochi, MLP": ("blocks.0.mlp_x.w1", "transformer_blocks.0.ff.net.0.proj", 8),
    "Mochi, text MLP": ("blocks.0.mlp_y.w1", "transformer_blocks.0.ff_context.net.0.proj", 8),
    "MiniMax-H3": ("blocks.0.mlp.fc1", "transformer_blocks.0.ff.net.0.proj", 8),
    "SD3, last block": (
        "joint_blocks.0.context_block.adaLN_modulation.1",
        "transformer_blocks.0.norm1_context.linear",
        2,
    ),
}  # fmt: skip
TELLING = {"MiniMax-H3": ("blocks.0.adaln_proj.linear", "transformer_blocks.0.adaln_proj.linear")}


def factors(modules: dict[str, tuple[Floats, Floats]], prefix: str) -> dict[str, Floats]:
    return {
        f"{prefix}{name}.lora_{side}.weight": np.ascontiguousarray(factor)
        for name, pair in modules.items()
        for side, factor in zip("AB", pair, strict=True)
    }


def written(tmp_path: Path, model: str) -> tuple[list[Path], list[Floats]]:
    """One update as its authors and as diffusers have it, and ΔW of either."""
    rng = np.random.default_rng(0)
    theirs, ours, height = SPELLED[model]
    down, up = rng.normal(size=(R, D)).astype("f4"), rng.normal(size=(height * D, R)).astype("f4")
    moved = np.concatenate([up[len(up) // 2 :], up[: len(up) // 2]])
    first, second = {theirs: (down, up)}, {ours: (down, moved)}
    if model in TELLING:
        same = down, rng.normal(size=(3 * D, R)).astype("f4")
        first[TELLING[model][0]], second[TELLING[model][1]] = same, same
    files = [tmp_path / "theirs.safetensors", tmp_path / "ours.safetensors"]
    save_file(factors(first, "diffusion_model."), files[0])
    save_file(factors(second, "transformer."), files[1])
    return files, [up @ down, moved @ down]


@pytest.mark.parametrize("model", SPELLED)
def test_both_orders_are_one_update(model: str, tmp_path: Path) -> None:
    files, _ = written(tmp_path, model)
    sources = [open_source(file, scale=1.0) for file in files]
    found = between([(s.label, s.deltas) for s in sources])
    np.testing.assert_allclose(found.cosine, 1.0, rtol=1e-9)
    assert found.compared[0, 1] == len(sources[0].deltas)
    back = between([(s.label, s.deltas) for s in reversed(sources)])
    np.testing.assert_allclose(back.cosine, 1.0, rtol=1e-9)


def test_the_halves_are_what_the_two_codes_apply() -> None:
    """`shift, scale = chunk(…)` of the authors, `scale, shift = chunk(…)` of diffusers."""
    x, weight = torch.randn(3, D), torch.randn(2 * D, D)
    shift, scale = (x @ weight.T).chunk(2, dim=1)
    ours = torch.roll(weight, D, dims=0)
    scale_there, shift_there = (x @ ours.T).chunk(2, dim=1)
    torch.testing.assert_close((shift, scale), (shift_there, scale_there))


@pytest.mark.parametrize("model", SPELLED)
@pytest.mark.parametrize("adapter", [0, 1])
def test_the_base_of_the_other_spelling_comes_in_the_adapters_order(
    model: str, adapter: int, tmp_path: Path
) -> None:
    files, deltas = written(tmp_path, model)
    theirs, ours, _ = SPELLED[model]
    weights = [delta.astype(np.float32) for delta in deltas]
    held = {f"{(ours, theirs)[adapter]}.weight": np.ascontiguousarray(weights[1 - adapter])}
    if model in TELLING:
        held[f"{TELLING[model][1 - adapter]}.weight"] = np.ones((3 * D, D), np.float32)
    save_file(held, tmp_path / "base.safetensors")
    base = tmp_path / "base.safetensors"
    source = open_source(files[adapter], scale=1.0)
    fitted = open_checkpoint(base).fitted(source.deltas)
    (delta,) = [d for d in source.deltas if "adaln" not in d.address.module_type]
    np.testing.assert_allclose(fitted.weight(delta), weights[adapter], rtol=1e-5, atol=1e-6)
    frame = norms(f"x={files[adapter]}", base=base, scale={"x": 1.0}).tables["norms"].frame
    assert set(frame["status"]) == {"ok"}
    assert pytest.approx(1.0, rel=1e-5) in frame["relative_norm"].to_list()
    attached = check(str(files[adapter]), base=base).tables["attach"].frame
    assert set(attached["status"]) == {"attached"}


def test_a_modulation_with_more_than_a_shift_and_a_scale_keeps_its_order(tmp_path: Path) -> None:
    """All but the last context block of SD3 have six parts, in one order in both."""
    rng = np.random.default_rng(1)
    pair = rng.normal(size=(R, D)).astype("f4"), rng.normal(size=(6 * D, R)).astype("f4")
    names = {
        "diffusion_model.": "joint_blocks.0.context_block.adaLN_modulation.1",
        "transformer.": "transformer_blocks.0.norm1_context.linear",
    }
    for k, (prefix, name) in enumerate(names.items()):
        save_file(factors({name: pair}, prefix), tmp_path / f"{k}.safetensors")
    sources = [open_source(tmp_path / f"{k}.safetensors", scale=1.0) for k in range(2)]
    assert between([(s.label, s.deltas) for s in sources]).cosine[0, 1] == pytest.approx(1.0)


# What other models call alike.
OTHERS = [("blocks.0.mlp.fc1", "transformer_blocks.0.ff.net.0.proj"), ("final_layer.adaLN_modulation.1",) * 2]


@pytest.mark.parametrize("names", OTHERS)
def test_names_alone_do_not_exchange_halves(names: tuple[str, str], tmp_path: Path) -> None:
    """PixArt's `fc1` has no gate, and two files in one spelling have one order."""
    rng = np.random.default_rng(2)
    pair = rng.normal(size=(R, D)).astype("f4"), rng.normal(size=(4 * D, R)).astype("f4")
    for k, (prefix, name) in enumerate(zip(("diffusion_model.", "transformer."), names, strict=True)):
        save_file(factors({name: pair}, prefix), tmp_path / f"{k}.safetensors")
    sources = [open_source(tmp_path / f"{k}.safetensors", scale=1.0) for k in range(2)]
    assert between([(s.label, s.deltas) for s in sources]).cosine[0, 1] == pytest.approx(1.0)
