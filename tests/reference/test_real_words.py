"""The readouts of published adapters: short, and without a warning where nothing is wrong."""

from pathlib import Path

import pytest

import tunescope

ORDINARY = {
    "roberta-base_portuguese-news_r8": ("500", "2000", "4000", "8610"),
    "roberta-base_agnews_r4_bias-all": ("500", "1200"),
    "qwen2.5-0.5b_vinuni_r8": ("23", "46", "69"),
}
ONE = "open-calm-1b_r1_fp16"


def words(markdown: str) -> int:
    """Words of a readout, folds included, tables and the methods paragraph apart."""
    text = markdown.partition("## Methods")[0]
    return sum(len(line.split()) for line in text.splitlines() if not line.startswith("|"))


def checkpoints(real: Path, folder: str) -> list[Path]:
    return [real / folder / f"checkpoint-{step}" for step in ORDINARY[folder]]


def test_twelve_adapters_of_six_models_are_told_in_at_most_700_words(real: Path) -> None:
    every = [path for folder in ORDINARY for path in checkpoints(real, folder)]
    every += [
        real / ONE,
        real / "mlx_r4_npz/adapters.npz",
        real / "sam_lora_own-naming/lora_rank4.safetensors",
    ]
    study = tunescope.norms(*every, spectra="none")
    assert len(study.readout["models"]) == 12
    assert 300 < words(study.markdown()) <= 700
    # What could have been seen is told of the models beside those with a finding too.
    assert "Nothing stands out in the 8 other models." in study.markdown()


def test_five_adapters_of_two_runs_are_told_in_at_most_600_words(real: Path) -> None:
    four = checkpoints(real, "roberta-base_portuguese-news_r8")
    study = tunescope.subspace(*four, checkpoints(real, "roberta-base_agnews_r4_bias-all")[1], of=("delta",))
    assert 150 < words(study.markdown()) <= 600
    assert "look like steps of one run" in study.markdown()
    assert "times as long as the other" in study.markdown()


@pytest.mark.parametrize("folder", [*ORDINARY, ONE])
def test_an_ordinary_adapter_has_no_warning(real: Path, folder: str) -> None:
    paths = checkpoints(real, folder) if folder in ORDINARY else [real / folder]
    for study in (tunescope.norms(*paths, spectra="none"), tunescope.check(*paths)):
        assert [f["text"] for f in study.readout["findings"] if f["severity"] == "warning"] == []
