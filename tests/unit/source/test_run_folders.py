"""A run's folder, or a whole sweep's, stands for the adapters that it ended with."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tunescope.source import open_source, open_sources
from tunescope.source.selection import open_labelled

STEM = "base_model.model.model.layers.0.self_attn.q_proj"


def weights(size: float) -> dict[str, np.ndarray]:
    a, b = np.ones((2, 6), np.float32), np.full((4, 2), size, np.float32)
    return {f"{STEM}.lora_A.weight": a, f"{STEM}.lora_B.weight": b}


def finished_run(folder: Path, size: float = 1.0) -> Path:
    """A run's folder as `finetune` leaves it: the start and the end of one adapter."""
    (folder / "adapter").mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    save_file(weights(0.0), folder / "capture.start.safetensors")
    save_file(weights(size), folder / "adapter" / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    return folder


def last(source: object) -> float:
    return float(source.deltas[0].open().B[0, 0])  # type: ignore[attr-defined]


@pytest.mark.parametrize("config_beside", [False, True])
def test_a_run_is_the_adapter_that_it_ended_with_never_its_start(tmp_path: Path, config_beside: bool) -> None:
    run = finished_run(tmp_path / "seed-0", 3.0)
    if config_beside:
        (run / "adapter_config.json").write_text((run / "adapter" / "adapter_config.json").read_text())
    source = open_source(run)
    assert (source.label, source.location, last(source)) == ("seed-0", str(run / "adapter"), 3.0)


def test_a_sweep_is_all_its_adapters_labelled_by_what_differs(tmp_path: Path) -> None:
    for size, domain in enumerate(("cpp", "physics"), start=1):
        finished_run(tmp_path / domain / "lr-1e-3" / "seed-0", float(size))
    (tmp_path / "go" / "lr-1e-3" / "seed-0").mkdir(parents=True)
    assert [(s.label, last(s)) for s in open_sources(tmp_path)] == [("cpp", 1.0), ("physics", 2.0)]
    assert [s.label for s in open_labelled([f"mine={tmp_path}"])] == ["mine/cpp", "mine/physics"]


def test_runs_named_one_by_one_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    runs = [finished_run(tmp_path / domain / "lr-1e-3" / "seed-0") for domain in ("cpp", "python")]
    assert [s.label for s in open_labelled(list(map(str, runs)))] == ["cpp", "python"]
