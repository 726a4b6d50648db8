"""Checkpoints of one run that differ in more than their values: vocabularies, scales, ranks."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tunescope import trajectory
from tunescope.errors import BadInput

Weights = dict[str, np.ndarray]
TABLES = ("model.embed_tokens.weight", "lm_head.weight")


def model(folder: Path, tensors: Weights) -> Path:
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    return folder


def grown(tmp_path: Path) -> tuple[Path, Path, Weights, Weights]:
    """A run whose vocabulary grows from 9 to 12 rows before its last checkpoint, and what it began from."""
    rng = np.random.default_rng(5)
    shapes = dict.fromkeys(TABLES, (9, 4)) | {"model.layers.0.mlp.up_proj.weight": (6, 4)}
    begin = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    move = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for step in (1, 2, 3):
        now = {name: begin[name] + step * move[name] for name in begin}
        if step == 3:
            now |= {name: np.concatenate([now[name], np.ones((3, 4), np.float32)]) for name in TABLES}
        model(tmp_path / "run" / f"checkpoint-{step}", now)
    return tmp_path / "run", model(tmp_path / "start", begin), begin, move


def norms(study: object, name: str) -> dict[int, float]:
    frame = study.table.frame  # type: ignore[attr-defined]
    rows = frame.filter(frame["component_name"] == name).select("step", "delta_frobenius_norm")
    return dict(rows.iter_rows())


def test_a_vocabulary_that_grows_leaves_every_other_weight_followed_from_the_start(tmp_path: Path) -> None:
    run, start, _, move = grown(tmp_path)
    study = trajectory(run, start=start)
    size = np.linalg.norm(move["model.layers.0.mlp.up_proj.weight"])
    assert norms(study, "L0_MLP_UP") == pytest.approx({1: size, 2: 2 * size, 3: 3 * size}, rel=1e-5)
    assert norms(study, "EMBED") == {}
    (said,) = [finding for finding in study.findings if finding.kind == "vocabulary_resized"]
    assert "--align-vocab" in said.text
    assert "EMBED" in said.text


def test_align_vocab_follows_the_rows_that_all_checkpoints_have(tmp_path: Path) -> None:
    run, start, _, move = grown(tmp_path)
    study = trajectory(run, start=start, align_vocab=True)
    for name, component in zip(TABLES, ("EMBED", "LM_HEAD"), strict=True):
        size = np.linalg.norm(move[name].astype(np.float64))
        assert norms(study, component) == pytest.approx({1: size, 2: 2 * size, 3: 3 * size}, rel=1e-5)
    assert "vocabulary_resized" not in {finding.kind for finding in study.findings}


def test_align_vocab_needs_no_start(tmp_path: Path) -> None:
    run, _, _, move = grown(tmp_path)
    study = trajectory(run, align_vocab=True)
    size = np.linalg.norm(move[TABLES[0]].astype(np.float64))
    assert norms(study, "EMBED") == pytest.approx({1: 0.0, 2: size, 3: 2 * size}, rel=1e-5, abs=1e-6)
    assert "shapes_differ" not in {finding.kind for finding in study.findings}


def test_a_vocabulary_that_grows_is_said_without_a_start_too(tmp_path: Path) -> None:
    study = trajectory(grown(tmp_path)[0])
    kinds = {finding.kind: finding.text for finding in study.findings}
    assert "shapes_differ" not in kinds
    assert "--align-vocab" in kinds["vocabulary_resized"]
    assert list(norms(study, "EMBED")) == [3]


def test_a_start_of_another_width_is_refused(tmp_path: Path) -> None:
    run, _, begin, _ = grown(tmp_path)
    other = model(tmp_path / "other", {name: np.ones((9, 5), np.float32) for name in begin})
    with pytest.raises(BadInput, match="start-unrelated"):
        trajectory(run, start=other)


def adapters(tmp_path: Path, settings: list[tuple[int, int]]) -> Path:
    """A checkpoint for each rank and alpha."""
    for step, (rank, alpha) in enumerate(settings, 1):
        folder = tmp_path / "run" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        stem = "base_model.model.model.layers.0.mlp.up_proj.lora_"
        tensors = {
            f"{stem}A.weight": np.ones((rank, 4), np.float32),
            f"{stem}B.weight": np.ones((6, rank), np.float32),
        }
        save_file(tensors, folder / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "target_modules": ["up_proj"]}
        (folder / "adapter_config.json").write_text(json.dumps(config))
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([(2, 4), (2, 4), (2, 8)], "scale alpha/r from 2 to 4"),
        ([(2, 4), (2, 4), (4, 8)], "rank from 2 to 4"),
    ],
)
def test_settings_that_change_between_checkpoints_are_said(
    tmp_path: Path, settings: list[tuple[int, int]], said: str
) -> None:
    study = trajectory(adapters(tmp_path, settings))
    (found,) = [finding for finding in study.findings if finding.kind == "settings_changed"]
    assert said in found.text
    assert "checkpoint-2 and checkpoint-3" in found.text


def refusal(run: Path, start: Path) -> str:
    with pytest.raises(BadInput, match="start-of-another-kind") as caught:
        trajectory(run, start=start)
    return str(caught.value)


def test_a_start_of_another_kind_is_refused_either_way(tmp_path: Path) -> None:
    """A weight minus an update is no motion; its norm is that of the weight."""
    whole, start, _, _ = grown(tmp_path / "whole")
    run = adapters(tmp_path / "lora", [(2, 4)] * 3)
    said = refusal(whole, run / "checkpoint-1")
    assert "the start is an adapter, the checkpoints are whole models" in said
    assert f"file: {run / 'checkpoint-1'}" in said
    assert "expected: the weight W itself, as in " in said
    assert "fix: --start the base model" in said
    said = refusal(run, start)
    assert "the start is a whole model, the checkpoints are adapters" in said
    assert "leave --start out" in said
    assert trajectory(run, start=run / "checkpoint-1").readout["runs"]["run"]["references"] == ["start"]


def test_weights_that_the_start_lacks_are_said_to_count_from_the_first_checkpoint(tmp_path: Path) -> None:
    run, _, begin, _ = grown(tmp_path)
    part = {name: tensor for name, tensor in begin.items() if "mlp" in name}
    text = trajectory(run, start=model(tmp_path / "part", part)).markdown()
    words = "the weights before training or, of weights that the start lacks, the first checkpoint."
    assert f"Δ counts from {words}" in text
    assert "for want of" not in text


def test_settings_that_stay_are_not_spoken_of(tmp_path: Path) -> None:
    study = trajectory(adapters(tmp_path, [(2, 4)] * 3))
    assert "settings_changed" not in {finding.kind for finding in study.findings}
