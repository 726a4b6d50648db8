"""What `--scale` does to the scales that a file states."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import tunescope
from tunescope.source.selection import open_labelled

STEM = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_"


def kohya(path: Path, alphas: dict[str, float | None]) -> Path:
    """A kohya file of rank 4, with an alpha where one is named."""
    tensors = {}
    for module, alpha in alphas.items():
        tensors[f"{STEM}{module}.lora_down.weight"] = np.ones((4, 8), np.float32)
        tensors[f"{STEM}{module}.lora_up.weight"] = np.ones((8, 4), np.float32)
        if alpha is not None:
            tensors[f"{STEM}{module}.alpha"] = np.array(alpha, np.float32)
    save_file(tensors, path)
    return path


def test_only_the_modules_whose_scale_is_unknown_get_the_scale_that_is_given(tmp_path: Path) -> None:
    path = kohya(tmp_path / "mix.safetensors", {"q": 2.0, "k": None})
    study = tunescope.norms(path, scale={"mix": 1.0})
    frame = study.table.frame.sort("module_type")
    assert frame["scale"].to_list() == [1.0, 0.5]
    # All entries of BA are 4, in 8×8.
    np.testing.assert_allclose(frame["frobenius_norm"], [32.0, 16.0])
    assert not {"scale_unknown", "scale_replaced"} & {finding.kind for finding in study.findings}


def test_scales_that_all_modules_state_are_replaced_with_a_notice(tmp_path: Path) -> None:
    path = kohya(tmp_path / "all.safetensors", {"q": 2.0, "k": 4.0})
    study = tunescope.norms(path, scale={"all": 1.0})
    assert study.table.frame["scale"].to_list() == [1.0, 1.0]
    (text,) = [finding.text for finding in study.findings if finding.kind == "scale_replaced"]
    assert "in 1 of 2 modules" in text


@pytest.mark.parametrize(
    ("alphas", "scales", "slugs"),
    [
        ({"q": 2.0, "k": None}, [0.5, 3.0], set()),
        ({"q": 2.0, "k": 2.0}, [3.0, 3.0], {"scale-replaced"}),
        ({"q": None, "k": None}, [3.0, 3.0], set()),
    ],
)
def test_a_label_that_is_only_made_on_opening_is_scaled_the_same_way(
    tmp_path: Path, alphas: dict[str, float | None], scales: list[float], slugs: set[str]
) -> None:
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(kohya(tmp_path / folder / "lora.safetensors", alphas))
    label = open_labelled(paths)[1].label
    _, source = open_labelled(paths, {label: 3.0})
    assert sorted(delta.scale or 0.0 for delta in source.deltas) == scales
    assert {notice.slug for notice in source.notices} >= slugs
    assert {notice.slug for notice in source.notices} & {"scale-unknown", "scale-replaced"} == slugs
