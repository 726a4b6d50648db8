"""A fused projection and its parts in one file: one update, or a fused one that is named as left over."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tunescope import norms
from tunescope.source.open import open_source

D, R = 8, 2
RNG = np.random.default_rng(3)
Floats = NDArray[np.float32]
# A fused module, its parts, and the rows of each.
KINDS = {
    "Flux": (
        "lora_unet_double_blocks_1_img_attn_qkv",
        [f"transformer.transformer_blocks.1.attn.to_{s}" for s in "qkv"],
        [D, D, D],
    ),
    "Flux, single block": (
        "diffusion_model.single_blocks.1.linear1",
        [
            f"transformer.single_transformer_blocks.1.{module}"
            for module in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
        ],
        [D, D, D, 4 * D],
    ),
    "SD3, text": (
        "diffusion_model.joint_blocks.1.context_block.attn.qkv",
        [f"transformer.transformer_blocks.1.attn.add_{s}_proj" for s in "qkv"], [D, D, D],
    ),
    "Z-Image": (
        "lora_unet_layers_1_attention_qkv", [f"lora_unet_layers_1_attention_to_{s}" for s in "qkv"], [D, D, D]
    ),
    "language": (
        "base_model.model.model.layers.1.self_attn.qkv_proj",
        [f"base_model.model.model.layers.1.self_attn.{s}_proj" for s in "qkv"], [D, D // 2, D // 2],
    ),
    "gate and up": (
        "base_model.model.model.layers.1.mlp.gate_up_proj",
        [f"base_model.model.model.layers.1.mlp.{s}_proj" for s in ("gate", "up")], [12, 12],
    ),
}  # fmt: skip


def factors(module: str, down: Floats, up: Floats) -> dict[str, Floats]:
    words = ("lora_down", "lora_up") if module.startswith("lora_unet_") else ("lora_A", "lora_B")
    return {f"{module}.{words[0]}.weight": down, f"{module}.{words[1]}.weight": np.ascontiguousarray(up)}


def drawn(kind: str) -> tuple[dict[str, Floats], list[dict[str, Floats]], Floats, Floats]:
    """The fused update, the parts that are its rows, and its factors A and B."""
    fused, names, rows = KINDS[kind]
    down, up = (RNG.standard_normal(shape).astype("f4") for shape in ((R, D), (sum(rows), R)))
    split = np.split(up, np.cumsum(rows)[:-1])
    return (
        factors(fused, down, up),
        [factors(n, down, u) for n, u in zip(names, split, strict=True)],
        down,
        up,
    )


def norm(path: Path) -> tuple[float, list[str]]:
    study = norms(f"x={path}", scale={"x": 1.0})
    sizes = study.tables["norms"].frame["frobenius_norm"].to_numpy()
    return float(np.sqrt((sizes**2).sum())), [f.kind for f in study.findings]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("held", [slice(None), slice(0, 1)])
def test_one_update_fused_and_in_parts_counts_once(kind: str, held: slice, tmp_path: Path) -> None:
    fused, split, down, up = drawn(kind)
    file = tmp_path / "x.safetensors"
    save_file(fused | {k: v for part in split[held] for k, v in part.items()}, file)
    size, kinds = norm(file)
    assert size == pytest.approx(np.linalg.norm(up.astype(np.float64) @ down), rel=1e-6)
    assert "saved_twice" in kinds
    assert "fused_beside_parts" not in kinds


def test_parts_joined_by_rank_are_the_same_update(tmp_path: Path) -> None:
    """As sd-scripts writes what was trained with one rank for each of q, k and v."""
    fused, names, rows = KINDS["Flux"]
    downs = [RNG.standard_normal((R, D)).astype("f4") for _ in names]
    ups = [RNG.standard_normal((n, R)).astype("f4") for n in rows]
    joined = np.zeros((3 * D, 3 * R), np.float32)
    for k, up in enumerate(ups):
        joined[k * D : (k + 1) * D, k * R : (k + 1) * R] = up
    tensors = factors(fused, np.concatenate(downs), joined)
    for name, down, up in zip(names, downs, ups, strict=True):
        tensors |= factors(name, down, up)
    save_file(tensors, tmp_path / "x.safetensors")
    size, kinds = norm(tmp_path / "x.safetensors")
    parts = [np.linalg.norm(up.astype(np.float64) @ down) for up, down in zip(ups, downs, strict=True)]
    assert size == pytest.approx(np.linalg.norm(parts), rel=1e-6)
    assert "saved_twice" in kinds


@pytest.mark.parametrize("kind", KINDS)
def test_a_fused_update_beside_other_parts_is_left_over_and_named(kind: str, tmp_path: Path) -> None:
    fused, split, down, up = drawn(kind)
    apart = {k: (3 * v if "lora_B" in k or "lora_up" in k else v) for part in split for k, v in part.items()}
    save_file(fused | apart, tmp_path / "x.safetensors")
    source = open_source(tmp_path / "x.safetensors", scale=1.0)
    assert {name for delta in source.deltas for name in delta.tensors} == set(apart)
    left = {entry.tensor: entry.reason for entry in source.coverage if entry.status != "used"}
    assert set(left) == set(fused)
    assert all("its parts are there as well" in reason for reason in left.values())
    size, kinds = norm(tmp_path / "x.safetensors")
    assert size == pytest.approx(3 * np.linalg.norm(up.astype(np.float64) @ down), rel=1e-6)
    assert "fused_beside_parts" in kinds


APART = {
    "self and cross attention": ("blocks.1.attn.qkv", "blocks.1.cross_attn.to_q"),
    "two lists": ("first.blocks.1.attn.qkv", "second.blocks.1.attn.to_q"),
    "a face's keys and values beside its query": (
        "face_adapter.fuser_blocks.1.linear1_kv", "face_adapter.fuser_blocks.1.linear1_q"
    ),
    "all experts and one that is shared": (
        "model.layers.1.mlp.gate_up_proj", "model.layers.1.mlp.shared_experts.gate_proj"
    ),
    "other layers": ("model.layers.1.self_attn.qkv_proj", "model.layers.2.self_attn.q_proj"),
}  # fmt: skip


@pytest.mark.parametrize("kind", APART)
def test_what_stands_in_other_modules_is_kept(kind: str, tmp_path: Path) -> None:
    fused, part = APART[kind]
    down = RNG.standard_normal((R, D)).astype("f4")
    rows = 2 * D if fused.endswith(("kv", "gate_up_proj")) else 3 * D
    tensors = factors(fused, down, RNG.standard_normal((rows, R)).astype("f4"))
    tensors |= factors(part, down, RNG.standard_normal((D, R)).astype("f4"))
    save_file(tensors, tmp_path / "x.safetensors")
    source = open_source(tmp_path / "x.safetensors", scale=1.0)
    assert len(source.deltas) == 2
    assert not {n.slug for n in source.notices} & {"saved-twice", "fused-beside-parts"}
