"""What a run of checkpoints lacks is said wherever the run is shown."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image
from safetensors.numpy import save_file

from tunescope.training.recording import SCHEMA, Recording


def whole(folder: Path, size: float, last: int | None = None) -> None:
    """A checkpoint of all weights, beside the state of its trainer where `last` is given."""
    rng = np.random.default_rng(5)
    start, moved = (rng.normal(size=(8, 12, 12)).astype(np.float32) for _ in range(2))
    folder.mkdir(parents=True)
    weights = {f"model.layers.{i}.self_attn.q_proj.weight": start[i] + size * moved[i] for i in range(8)}
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "llama"}')
    if last is not None:
        log = [
            {"step": step, "loss": 4 - step / 100, "learning_rate": 1e-4} for step in range(10, last + 1, 10)
        ]
        state = {"global_step": last, "max_steps": 200, "log_history": log}
        (folder / "trainer_state.json").write_text(json.dumps(state))


@pytest.fixture
def holed(tmp_path: Path) -> Path:
    """A run of which the first checkpoints and one of the middle are gone."""
    for step in (60, 70, 90, 100):
        whole(tmp_path / "holed" / f"checkpoint-{step}", step / 100, step)
    return tmp_path / "holed"


def test_gaps_and_a_lost_beginning_are_said_in_every_output(run: Any, holed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = run("trajectory", holed, "-o", out)
    assert ran.code == 0
    document = json.loads((out / "tables" / "readout.json").read_text())
    texts = [f["text"] for f in document["findings"] if f["kind"] in ("steps_missing", "start_missing")]
    assert len(texts) == 3
    assert document["runs"]["holed"]["order"] == "steps as the names checkpoint-# number them"
    captions = (out / "figures" / "captions.md").read_text().splitlines()[2:]
    assert captions
    with Image.open(out / "figures" / "holed_mean.png") as picture:
        described = str(picture.info["Description"])
    for text in texts:
        assert text in ran.err
        assert text in (out / "readout.md").read_text()
        assert text in (out / "results.md").read_text()
        assert text in (out / "report.html").read_text()
        assert all(text in caption for caption in captions)
        assert text in described


def test_rate_and_loss_come_from_the_trainers_state(run: Any, holed: Path) -> None:
    document = json.loads(run("trajectory", holed, "--json").out)
    assert document["runs"]["holed"]["loss_last"] == pytest.approx(3.0)
    assert document["runs"]["holed"]["steps"] == [60, 70, 90, 100]


def test_sentences_of_one_run_are_followed_once_by_what_they_rest_on(
    run: Any, holed: Path, tmp_path: Path
) -> None:
    run("trajectory", holed, "-o", tmp_path / "out")
    assert (tmp_path / "out" / "results.md").read_text().count("One run each") <= 1


def test_base_is_answered_with_the_option_that_is_meant(run: Any, holed: Path) -> None:
    ran = run("trajectory", holed, "--base", holed / "checkpoint-60")
    assert ran.code == 2
    assert "--start" in ran.err
    assert "--base" not in run("trajectory", "--help").out


def test_a_capture_that_stopped_is_said_in_every_output_and_in_the_exit_status_under_strict(
    run: Any, tmp_path: Path
) -> None:
    folder, out = tmp_path / "cut", tmp_path / "out"
    recording = Recording(folder, {"planned_steps": 40})
    folder.mkdir()
    recording.begin(0)
    for step in (0, 10, 20):
        rows = [
            {
                "step": step, "epoch": step / 40, "stack": "model", "layer": layer,
                "module_type": "mlp.up_proj", "component_name": f"L{layer}_MLP_UP", "factor": factor,
                "numel": 64, "mean": 1e-5 * step, "variance": 1e-9 * step, "abs_mean": 1e-4 * step,
                "abs_variance": 1e-9 * step,
                "delta_frobenius_norm": 0.01 * step,
            }
            for layer in range(3) for factor in "AB"
        ]  # fmt: skip
        recording.append(step, pl.DataFrame(rows, schema=SCHEMA))
    capture = {"status": "stopped", "reason": "No space left on device"}
    (folder / "run.json").write_text(json.dumps({"status": "capture_stopped", "capture": capture}))
    ran = run("trajectory", folder, "-o", out)
    said = "3 captures, up to step 20 of 40; the capture stopped (No space left on device)"
    assert ran.code == 0
    assert said in ran.err
    for name in ("tables/readout.json", "readout.md", "results.md", "report.html", "figures/captions.md"):
        assert said in (out / name).read_text(), name
    assert said in run("trajectory", folder).out
    assert run("trajectory", folder, "--strict").code == 1
