"""The made-up adapters have the norms, spectra and overlaps that they were built from."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tunescope.demo import made_adapters
from tunescope.demo.adapters import ALPHA, LAYERS, RANK, SHAPES, made_norm


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return made_adapters(tmp_path_factory.mktemp("made"))


def dense(path: Path, layer: int, module: str) -> NDArray[np.float64]:
    tensors = load_file(path / "adapter_model.safetensors")
    name = f"base_model.model.model.layers.{layer}.{module}.lora_"
    a, b = (tensors[f"{name}{factor}.weight"].astype(np.float64) for factor in "AB")
    return ALPHA / RANK * b @ a


@pytest.mark.parametrize("module", SHAPES)
@pytest.mark.parametrize("layer", [0, 13, 25])
def test_norm_and_spectrum_are_those_built_in(made: dict[str, Path], layer: int, module: str) -> None:
    values = np.linalg.svd(dense(made["chat"], layer, module), compute_uv=False)[:RANK]
    assert math.sqrt((values**2).sum()) == pytest.approx(made_norm("chat", layer, module), rel=1e-5)
    assert values[1:] / values[:-1] == pytest.approx(np.full(RANK - 1, math.exp(-1 / 2.5)), rel=1e-4)


def test_python_leans_on_the_input_directions_of_cpp(made: dict[str, Path]) -> None:
    left, right, other = (
        np.linalg.svd(dense(made[name], 7, "mlp.up_proj"))[2][:RANK] for name in ("cpp", "python", "chat")
    )
    shared = np.linalg.svd(left @ right.T, compute_uv=False)
    assert shared[:3] == pytest.approx([0.9] * 3, abs=1e-4)
    assert shared[3:].max() < 1e-4
    assert np.linalg.svd(left @ other.T, compute_uv=False).max() < 0.6


def test_every_matrix_is_there_and_peft_reads_the_configuration(made: dict[str, Path]) -> None:
    from peft import LoraConfig

    tensors = load_file(made["cpp"] / "adapter_model.safetensors")
    shapes = {name: tensors[name].shape for name in tensors}
    assert len(shapes) == 2 * LAYERS * len(SHAPES)
    assert shapes["base_model.model.model.layers.25.mlp.down_proj.lora_A.weight"] == (8, 576)
    config = LoraConfig.from_pretrained(str(made["cpp"]))
    assert (config.r, config.lora_alpha, len(config.target_modules)) == (RANK, ALPHA, len(SHAPES))


def test_a_second_writing_gives_the_same_bytes(made: dict[str, Path], tmp_path: Path) -> None:
    again = made_adapters(tmp_path)
    for name, path in again.items():
        for file in path.iterdir():
            assert file.read_bytes() == (made[name] / file.name).read_bytes()
    assert json.loads((again["cpp"] / "adapter_config.json").read_text())["peft_type"] == "LORA"
