"""Real checkpoint folders, as their authors left them, read as trajectories."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from tunescope.questions.trajectory.study import trajectory
from tunescope.study.study import Study

ROBERTA, QWEN, AGNEWS = (
    "roberta-base_portuguese-news_r8",
    "qwen2.5-0.5b_vinuni_r8",
    "roberta-base_agnews_r4_bias-all",
)


@pytest.fixture(scope="module")
def roberta(real: Path) -> Study:
    return trajectory([str(real / ROBERTA)])


def test_the_norm_of_roberta_rises_and_its_direction_settles(roberta: Study) -> None:
    steps = roberta.tables["motion_by_step"].frame.sort("step")
    assert steps["step"].to_list() == [500, 2000, 4000, 8610]
    assert steps["epoch"].to_list() == pytest.approx([0.174, 0.697, 1.394, 3.0], abs=1e-3)
    assert (np.diff(steps["delta_frobenius_norm"].to_numpy()) > 0).all()
    cosines = steps["cosine_to_last"].to_list()
    assert cosines[0] == pytest.approx(0.58, abs=0.005)
    assert cosines[-1] == pytest.approx(1.0, abs=1e-12)
    assert (np.diff(cosines) > 0).all()


def test_the_whole_norm_is_that_of_the_dense_products(roberta: Study, real: Path) -> None:
    tensors = load_file(real / ROBERTA / "checkpoint-2000" / "adapter_model.safetensors")
    squares = [
        np.linalg.norm(2.0 * tensors[a.replace("lora_A", "lora_B")].astype(np.float64) @ A.astype(np.float64))
        ** 2
        for a, A in tensors.items()
        if "lora_A" in a
    ]
    found = roberta.tables["motion_by_step"].frame.filter(pl.col("step") == 2000)["delta_frobenius_norm"][0]
    assert found == pytest.approx(np.sqrt(sum(squares)), rel=1e-10)


def test_qwen_turns_as_its_checkpoints_do(real: Path) -> None:
    study = trajectory([str(real / QWEN)])
    assert study.tables["motion_by_step"].frame["cosine_to_last"].to_list() == pytest.approx(
        [0.928, 0.998, 1.0], abs=5e-4
    )
    assert study.tables["motion_by_layer"].frame["layer"].n_unique() == 24


@pytest.mark.parametrize("name", [ROBERTA, QWEN, AGNEWS])
def test_clean_runs_have_no_seam_no_frozen_weight_and_no_divergence(real: Path, name: str) -> None:
    document = trajectory([str(real / name)]).readout
    told = {"late_layers", "middle_layers", "early_layers", "steps_missing"}
    assert {f["kind"] for f in document["findings"]} <= told
    # Of some runs not every checkpoint was published.
    assert all(f["severity"] == "note" for f in document["findings"] if f["kind"] == "steps_missing")


def test_the_statistics_of_b_are_numpys(roberta: Study, real: Path) -> None:
    tensors = load_file(real / ROBERTA / "checkpoint-4000" / "adapter_model.safetensors")
    name = "base_model.model.roberta.encoder.layer.{}.attention.self.{}.lora_B.weight"
    for layer in range(12):
        Bs = [tensors[name.format(layer, kind)].astype(np.float64) for kind in ("query", "value")]
        row = roberta.tables["motion_by_layer"].frame.filter(
            (pl.col("step") == 4000) & (pl.col("layer") == layer) & (pl.col("factor") == "B")
        )
        means, sizes = [B.mean() for B in Bs], [np.abs(B).mean() for B in Bs]
        expected = {
            "mean": np.mean(means), "mean_std": np.std(means), "abs_mean": np.mean(sizes),
            "abs_mean_std": np.std(sizes), "variance": np.mean([B.var() for B in Bs]),
            "abs_variance": np.mean([np.abs(B).var() for B in Bs]),
        }  # fmt: skip
        for column, value in expected.items():
            assert row[column][0] == pytest.approx(value, abs=1e-10, rel=1e-10)
        assert (row["n_matrices"][0], row["reference"][0]) == (2, "zero")


def test_a_counts_from_the_first_checkpoint(roberta: Study) -> None:
    rows = roberta.tables["motion_by_layer"].frame.filter(
        (pl.col("factor") == "A") & pl.col("layer").is_not_null()
    )
    assert rows["reference"].unique().to_list() == ["first_checkpoint"]
    assert rows.filter(pl.col("step") == 500)["abs_mean"].max() == 0
    assert (rows.filter(pl.col("step") == 8610)["abs_mean"] > 0).all()


def test_a_classifier_saved_whole_is_followed_but_not_added_to_the_adapter(roberta: Study) -> None:
    rows = roberta.table.frame.filter(pl.col("module_type") == "classifier.dense")
    assert rows["reference"].unique().to_list() == ["first_checkpoint"]
    norms = rows.sort("step")["delta_frobenius_norm"].to_list()
    assert norms[0] == 0
    assert norms[-1] > 0


def copied(source: Path, target: Path, *, step: int | None = None) -> None:
    shutil.copytree(source, target)
    for path in (target, *target.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    if step is not None:
        state = target / "trainer_state.json"
        state.write_text(json.dumps(json.loads(state.read_text()) | {"global_step": step}))


def test_two_real_runs_in_one_folder_meet_at_a_seam(real: Path, tmp_path: Path) -> None:
    """The Portuguese run's first half, continued by a checkpoint whose factors are another model's."""
    for step in (500, 2000):
        copied(real / ROBERTA / f"checkpoint-{step}", tmp_path / f"checkpoint-{step}")
    later = tmp_path / "checkpoint-4000"
    copied(real / ROBERTA / "checkpoint-4000", later)
    shuffled = load_file(later / "adapter_model.safetensors")
    rng = np.random.default_rng(1)
    from safetensors.numpy import save_file

    other = {n: rng.permuted(t, axis=0) if "lora_B" in n else t for n, t in shuffled.items()}
    save_file(other, later / "adapter_model.safetensors")
    seams = [f for f in trajectory([str(tmp_path)]).readout["findings"] if f["kind"] == "seam"]
    assert [f["step"] for f in seams] == [4000]
    assert seams[0]["evidence"]["cosine"] < 0.1


def test_runs_of_two_people_in_one_folder_meet_at_a_seam(real: Path, tmp_path: Path) -> None:
    """Other data, other rank, other modules, other schedule; the base model and the step order fit."""
    copied(real / ROBERTA / "checkpoint-500", tmp_path / "checkpoint-500")
    copied(real / AGNEWS / "checkpoint-1200", tmp_path / "checkpoint-1200")
    study = trajectory([str(tmp_path)])
    (seam,) = [f for f in study.readout["findings"] if f["kind"] == "seam"]
    assert seam["step"] == 1200
    assert seam["evidence"]["cosine"] < seam["evidence"]["cosine_threshold"]
    assert (seam["evidence"]["max_steps_before"], seam["evidence"]["max_steps_after"]) == (8610, 1200)
    kinds = [finding.kind for finding in study.findings]
    assert [kind for kind in kinds if kind.endswith("_differ")] == ["weights_differ", "shapes_differ"]


def test_a_real_run_that_stands_still_is_frozen(real: Path, tmp_path: Path) -> None:
    for step in (500, 1000, 1500):
        copied(real / ROBERTA / "checkpoint-500", tmp_path / f"checkpoint-{step}", step=step)
    findings = trajectory([str(tmp_path)]).readout["findings"]
    assert [f["kind"] for f in findings] == ["frozen"]
    assert findings[0]["evidence"]["captures"] == 3
