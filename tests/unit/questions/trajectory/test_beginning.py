"""What ΔW counts from: before training, a start that lies beside the checkpoints, or the first of them."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from tunescope import trajectory
from tunescope.table import Table
from tunescope.training.recording import KIND, SCHEMA, START

STEM = "base_model.model.model.layers.0.mlp.up_proj.lora_"
SCALE = 2.0


def factors(seed: int, moved: float) -> dict[str, np.ndarray]:
    """A and B some way from where a seed began them, B not at zero."""
    rng, way = np.random.default_rng(seed), np.random.default_rng(99)
    shapes = {"A": (2, 8), "B": (6, 2)}
    begin = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    move = {name: way.normal(size=shape) for name, shape in shapes.items()}
    return {name: (begin[name] + moved * move[name]).astype(np.float32) for name in shapes}


def trained(folder: Path, seed: int = 0) -> Path:
    """A run of two checkpoints with its capture, and the weights of step zero of a seed."""
    rows = []
    for step in (10, 20):
        now, begin = factors(0, step / 100), factors(0, 0.0)
        place = folder / f"checkpoint-{step}"
        place.mkdir(parents=True)
        save_file({f"{STEM}{k}.weight": v for k, v in now.items()}, place / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["up_proj"]}
        (place / "adapter_config.json").write_text(json.dumps(config))
        for name in now:
            away = now[name].astype(np.float64) - begin[name]
            same = {"step": step, "epoch": None, "stack": "model", "layer": 0, "module_type": "mlp.up_proj"}
            same |= {"expert": None, "component_name": "L0_MLP_UP", "factor": name, "numel": away.size}
            sizes = {"mean": away.mean(), "variance": away.var()}
            sizes |= {"abs_mean": np.abs(away).mean(), "abs_variance": np.abs(away).var()}
            rows.append(same | sizes)
    frame = pl.DataFrame(rows, schema_overrides=SCHEMA)
    full = frame.with_columns(pl.lit(None, t).alias(n) for n, t in SCHEMA.items() if n not in frame.columns)
    Table(full.select(list(SCHEMA)), KIND, {}).write_parquet(folder / "capture.parquet")
    save_file({f"{STEM}{k}.default.weight": v for k, v in factors(seed, 0.0).items()}, folder / START)
    return folder


def product(of: dict[str, np.ndarray]) -> np.ndarray:
    return SCALE * of["B"].astype(np.float64) @ of["A"]


def asked(folder: Path) -> object:
    return trajectory(*sorted(folder.glob("checkpoint-*")))


def test_checkpoints_count_from_the_start_that_the_capture_of_their_run_left_beside_them(
    tmp_path: Path,
) -> None:
    study = asked(trained(tmp_path / "run"))
    expected = [np.linalg.norm(product(factors(0, s / 100)) - product(factors(0, 0.0))) for s in (10, 20)]
    run = study.readout["runs"]["run"]  # type: ignore[attr-defined]
    assert run["delta_frobenius_norm"] == pytest.approx(expected, rel=1e-6)
    assert run["references"] == ["start"]
    assert "Δ counts from capture.start.safetensors, which lies beside" in study.markdown()  # type: ignore[attr-defined]


def test_a_start_of_another_run_that_lies_beside_is_not_taken_and_that_is_said(tmp_path: Path) -> None:
    study = asked(trained(tmp_path / "run", seed=1))
    run = study.readout["runs"]["run"]  # type: ignore[attr-defined]
    assert run["references"] == ["first_checkpoint", "zero"]
    expected = [np.linalg.norm(product(factors(0, s / 100))) for s in (10, 20)]
    assert run["delta_frobenius_norm"] == pytest.approx(expected, rel=1e-6)
    assert "is not shown to be of their run" in study.markdown()  # type: ignore[attr-defined]


@pytest.mark.parametrize("damage", ["cut", "no-capture", "capture-cut"])
def test_a_damaged_start_or_capture_beside_checkpoints_does_not_keep_them_from_being_followed(
    tmp_path: Path, damage: str
) -> None:
    folder = trained(tmp_path / "run")
    spoiled = folder / (START if damage == "cut" else "capture.parquet")
    if damage == "no-capture":
        spoiled.unlink()
    else:
        spoiled.write_bytes(spoiled.read_bytes()[:40])
    study = asked(folder)
    assert study.readout["runs"]["run"]["references"] == ["first_checkpoint", "zero"]  # type: ignore[attr-defined]


def test_whole_models_without_a_start_say_in_their_row_from_which_step_they_count(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    begin, way = rng.normal(size=(2, 6, 4)).astype(np.float32)
    for step in (5, 10, 20):
        place = tmp_path / "run" / f"checkpoint-{step}"
        place.mkdir(parents=True)
        tensors = {"model.layers.0.mlp.up_proj.weight": begin + step * way}
        save_file(tensors, place / "model.safetensors")
    text = trajectory(tmp_path / "run").markdown()
    (row,) = [line for line in text.splitlines() if line.startswith("| run ") and "learning rate" not in line]
    assert f"| from step 5: 0 → {15 * np.linalg.norm(way.astype(np.float64)):.3g} " in row
    assert "between steps 10 and 20" in row
    assert "(0%)" not in row
