"""The first Stable Diffusion format, numbered and as a bare list."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tunescope.source import open_source


def factors(d_in: int, d_out: int, rank: int = 1) -> tuple[Any, Any]:
    return np.ones((rank, d_in), np.float16), np.ones((d_out, rank), np.float16)


def test_unknown_layouts_keep_their_numbers(tmp_path: Path) -> None:
    tensors = {}
    for number, (d_in, d_out) in enumerate([(8, 8), (8, 16), (4, 8)]):
        down, up = factors(d_in, d_out)
        tensors |= {f"unet:{number}:down": down, f"unet:{number}:up": up}
    tensors["<s1>"] = np.ones(8, np.float32)
    save_file(tensors, tmp_path / "a.safetensors")
    source = open_source(tmp_path / "a.safetensors")
    assert source.format == "first-sd"
    assert [(d.address.stack, d.address.module_type) for d in source.deltas] == [
        ("unet", "module_0"), ("unet", "module_1"), ("unet", "module_2"),
    ]  # fmt: skip
    assert [e.reason for e in source.coverage if e.status != "used"] == ["textual inversion embedding"]
    assert {d.scale for d in source.deltas} == {None}


def test_half_a_pair_is_left_out(tmp_path: Path) -> None:
    down, up = factors(8, 8)
    save_file({"unet:0:down": down, "unet:0:up": up, "unet:1:up": up}, tmp_path / "a.safetensors")
    source = open_source(tmp_path / "a.safetensors")
    assert len(source.deltas) == 1
    assert "half_saved" in {notice.slug for notice in source.notices}


def test_stable_diffusion_numbers_get_their_names(real: Path) -> None:
    source = open_source(real / "stable-diffusion-1.5_early-lora" / "analog_svd_rank4.safetensors")
    by_stack = {
        stack: [d for d in source.deltas if d.address.stack == stack] for stack in ("text_encoder", "unet")
    }
    assert [len(of) for of in by_stack.values()] == [48, 144]
    assert {d.address.layer for d in by_stack["text_encoder"]} == set(range(12))
    # Sixteen places hold attention: two in each of three down blocks, a middle one, three in each up block.
    assert len({d.address.layer for d in by_stack["unet"]}) == 16
    for delta in by_stack["unet"]:
        crosses = delta.address.module_type.endswith(("attn2.to_k", "attn2.to_v"))
        assert (delta.d_in == 768) == crosses
    # The channels of the network: narrow at both ends.
    width = {
        d.address.layer: d.d_in for d in by_stack["unet"] if d.address.module_type.endswith("attn1.to_q")
    }
    down, up = [320] * 2 + [640] * 2 + [1280] * 2, [1280] * 3 + [640] * 3 + [320] * 3
    assert [width[layer] for layer in sorted(width)] == [*down, 1280, *up]


def test_bare_list(real: Path) -> None:
    pytest.importorskip("torch")
    source = open_source(real / "stable-diffusion-1.5_early-lora" / "lora_kiriko2.text_encoder.pt")
    assert len(source.deltas) == 48
    assert {d.address.module_type for d in source.deltas} == {
        f"self_attn.{m}_proj" for m in ("q", "k", "v", "out")
    }
