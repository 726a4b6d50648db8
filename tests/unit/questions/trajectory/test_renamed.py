import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tunescope.questions.trajectory.reading import motion_of
from tunescope.source.runs import find_runs

WRAPPERS = [
    "module.", "_orig_mod.", "module._orig_mod.", "base_model.model.", "language_model.",
    "model.language_model.", "actor.", "policy.", "net.",
]  # fmt: skip


def adapter(folder: Path, prefix: str, size: float, tower: str = "model.layers") -> float:
    """An adapter of two modules under a prefix; returns the norm of its ΔW of layer 0, scale 2."""
    rng = np.random.default_rng(3)
    tensors: dict[str, np.ndarray] = {}
    for layer in range(2):
        key = f"{prefix}{tower}.{layer}.mlp.up_proj.lora_"
        tensors[key + "A.weight"] = rng.normal(size=(4, 8)).astype(np.float32)
        tensors[key + "B.weight"] = (size * rng.normal(size=(6, 4))).astype(np.float32)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["up_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    first = f"{prefix}{tower}.0.mlp.up_proj.lora_"
    product = tensors[first + "B.weight"].astype(float) @ tensors[first + "A.weight"].astype(float)
    return float(2 * np.linalg.norm(product))


def whole(folder: Path, prefix: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = {"model.embed_tokens": (9, 4), "model.layers.0.mlp.up_proj": (6, 4), "model.norm": (4,)}
    tensors = {f"{prefix}{n}.weight": rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_an_adapter_whose_prefix_changes_between_checkpoints_is_followed_as_one(
    tmp_path: Path, wrapper: str
) -> None:
    plain = "base_model.model."
    norms = [
        adapter(tmp_path / f"checkpoint-{step}", prefix, step)
        for step, prefix in ((1, plain), (2, plain + wrapper), (3, plain))
    ]
    (run,) = find_runs([(None, str(tmp_path))])
    frame, _ = motion_of(run)
    rows = frame.filter((frame["layer"] == 0) & (frame["factor"] == "B")).sort("step")
    np.testing.assert_allclose(rows["delta_frobenius_norm"], norms, rtol=1e-6)
    np.testing.assert_allclose(rows["cosine_to_last"], 1.0)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_whole_model_whose_prefix_changes_between_checkpoints_is_followed_as_one(
    tmp_path: Path, wrapper: str
) -> None:
    for step, prefix in ((1, wrapper), (2, ""), (3, wrapper)):
        whole(tmp_path / f"checkpoint-{step}", prefix, step)
    (run,) = find_runs([(None, str(tmp_path))])
    frame, notices = motion_of(run)
    assert frame["component_name"].n_unique() == 3
    assert frame.group_by("component_name").len()["len"].to_list() == [3, 3, 3]
    assert "weights-differ" not in {notice.slug for notice in notices}


def test_a_changed_prefix_is_said(tmp_path: Path) -> None:
    adapter(tmp_path / "checkpoint-1", "base_model.model.", 1)
    adapter(tmp_path / "checkpoint-2", "base_model.model.language_model.", 2)
    (run,) = find_runs([(None, str(tmp_path))])
    (said,) = [notice for notice in motion_of(run)[1] if notice.slug == "names-changed"]
    assert "checkpoint-2" in said.text
    assert "language for model" in said.text


def test_two_towers_of_one_model_are_never_paired(tmp_path: Path) -> None:
    for step, tower in ((1, "text_model.encoder.layers"), (2, "vision_model.encoder.layers")):
        adapter(tmp_path / f"checkpoint-{step}", "base_model.model.", step, tower)
    (run,) = find_runs([(None, str(tmp_path))])
    frame, notices = motion_of(run)
    assert frame["component_name"].n_unique() == 4
    assert "weights-differ" in {notice.slug for notice in notices}


@pytest.mark.parametrize(
    ("of_run", "of_start", "said"),
    [
        ("", "base_model.model.", "base_model.model for none"),
        ("base_model.model.", "", "none for base_model.model"),
        ("", "model.", "model for none"),
        ("", "language_model.", "language_model for none"),
        ("module.", "module.", ""),
    ],
)
def test_a_start_under_any_wrapper_is_paired_and_the_wrapper_said(
    tmp_path: Path, of_run: str, of_start: str, said: str
) -> None:
    for step in (1, 2):
        whole(tmp_path / "run" / f"checkpoint-{step}", of_run, step)
    whole(tmp_path / "start", of_start, 0)
    (run,) = find_runs([(None, str(tmp_path / "run"))])
    frame, notices = motion_of(run, start=tmp_path / "start")
    assert frame["reference"].unique().to_list() == ["start"]
    last, first = (
        load_file(path / "model.safetensors")
        for path in (tmp_path / "run" / "checkpoint-2", tmp_path / "start")
    )
    name = "model.layers.0.mlp.up_proj.weight"
    right = np.linalg.norm(last[of_run + name].astype(float) - first[of_start + name])
    (row,) = frame.filter((frame["step"] == 2) & (frame["layer"] == 0)).to_dicts()
    assert row["delta_frobenius_norm"] == pytest.approx(right, rel=1e-6)
    texts = [notice.text for notice in notices if notice.slug == "start-renamed"]
    assert [said in text for text in texts] == ([True] if said else [])
