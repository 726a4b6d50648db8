"""An adapter and its negation: what both commands say of two updates that undo each other."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tunescope
from tunescope.demo.adapters import made_adapters


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An adapter, and one whose every B has the other sign."""
    root = tmp_path_factory.mktemp("pair")
    first = next(iter(made_adapters(root / "made").values()))
    second = root / "turned"
    second.mkdir()
    (second / "adapter_config.json").write_bytes((first / "adapter_config.json").read_bytes())
    tensors = load_file(first / "adapter_model.safetensors")
    turned = {name: -value if ".lora_B." in name else value for name, value in tensors.items()}
    save_file(turned, second / "adapter_model.safetensors")
    return first, second


def test_norms_says_that_one_undoes_the_other(pair: tuple[Path, Path]) -> None:
    study = tunescope.norms(*map(str, pair))
    (found,) = [finding for finding in study.findings if finding.kind == "opposite"]
    assert found.severity == "warning"
    assert found.evidence["value"] == pytest.approx(-1, abs=1e-9)
    assert "opposite directions" in found.text


def test_subspace_says_the_sign_beside_the_common_directions(pair: tuple[Path, Path]) -> None:
    study = tunescope.subspace(*map(str, pair), layers="0")
    texts = [finding.text for finding in study.findings]
    assert any("in opposite senses (cosine of ΔW -1.00)" in text for text in texts), texts


def test_many_pairs_of_opposites_are_one_finding(pair: tuple[Path, Path], tmp_path: Path) -> None:
    third = tmp_path / "half"
    third.mkdir()
    (third / "adapter_config.json").write_bytes((pair[0] / "adapter_config.json").read_bytes())
    tensors = load_file(pair[1] / "adapter_model.safetensors")
    half = {n: v * np.float32(0.5) if ".lora_B." in n else v for n, v in tensors.items()}
    save_file(half, third / "adapter_model.safetensors")
    study = tunescope.norms(*map(str, pair), str(third))
    (found,) = [finding for finding in study.findings if finding.kind == "opposite"]
    assert found.text.startswith("In 2 pairs of models")
    assert len(found.models) == 3
