"""PEFT's wrapper around a model of ComfyUI's names is no part of these."""

from pathlib import Path

import pytest
from tests.unit.address.saved_updates import saved

from tunescope.source import open_source

MODULES = ["double_blocks.0.img_attn.proj", "single_blocks.1.linear2", "final_layer.linear"]


@pytest.mark.parametrize("wrapper", ["base_model.model.", "module."])
def test_wrappers_in_front_of_a_denoiser_are_taken_off(wrapper: str, tmp_path: Path) -> None:
    plain = saved(tmp_path / "a.safetensors", [f"diffusion_model.{name}" for name in MODULES])
    wrapped = saved(tmp_path / "b.safetensors", [f"{wrapper}diffusion_model.{name}" for name in MODULES])
    mine, theirs = (open_source(file) for file in (plain, wrapped))
    assert [d.address for d in mine.deltas] == [d.address for d in theirs.deltas]
