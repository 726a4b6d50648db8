"""The planted adapter holds what it was built from, and the tool says so."""

from pathlib import Path

import pytest

import tunescope
from tunescope.demo import model_path
from tunescope.demo.planted import BAND, LAYERS, SHAPES, planted_adapter, planted_norm
from tunescope.study.study import Study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    place = planted_adapter(tmp_path_factory.mktemp("planted"))
    return tunescope.norms(f"planted={place}", base=str(model_path()))


def test_every_weight_of_the_shipped_model_has_the_norm_that_was_chosen(study: Study) -> None:
    rows = study.table.frame.select("layer", "module_type", "frobenius_norm_normalized").rows()
    assert len(rows) == LAYERS * len(SHAPES)
    for layer, module, size in rows:
        assert size == pytest.approx(planted_norm(layer, module.split(".")[-1]), rel=1e-5)


def test_the_band_is_what_the_answer_says(study: Study) -> None:
    assert [finding.kind for finding in study.findings] == ["middle_layers"]
    assert study.findings[0].text.startswith("planted changed most in its middle layers, 4 to 6: 3.")
    moved = {layer: planted_norm(layer, "v_proj") for layer in range(LAYERS)}
    assert set(sorted(moved, key=lambda layer: -moved[layer])[: len(BAND)]) == set(BAND)


def test_a_second_writing_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = planted_adapter(tmp_path / "one"), planted_adapter(tmp_path / "two")
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes()
