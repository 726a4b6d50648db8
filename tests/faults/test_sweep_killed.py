"""A sweep that is killed again and again ends as the one that was left alone."""

import json
import multiprocessing
import random

import pytest
from polars.testing import assert_frame_equal

from tunescope.demo import model_path
from tunescope.training import Recipe, finetune, read_capture

RATES = [1e-3, 5e-3]


@pytest.fixture(scope="module")
def processes():
    """Processes that start with everything imported, and that nothing has computed in before."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["transformers", "peft", "accelerate", "tunescope.training.fine_tuning"])
    return context


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "sums.jsonl"
    rows = [{"prompt": f"{a}+{b}=", "completion": str(a + b)} for a in range(6) for b in range(5)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"sums": str(path)}


@pytest.fixture
def recipe():
    return Recipe(
        model=str(model_path()),
        quantize="none",
        rank=2,
        alpha=4,
        max_steps=8,
        accumulate=1,
        checkpoints_per_epoch=7,
        captures_per_epoch=1000,
        held_out_rows=2,
    )


def swept(processes, recipe, data, folder, kill_after=None):
    """Sweep in a process of its own, killed after so many seconds; returns its exit code."""
    process = processes.Process(target=finetune, args=(recipe, data, folder), kwargs={"rates": RATES})
    process.start()
    process.join(kill_after)
    process.kill()
    process.join()
    return process.exitcode


def test_a_sweep_killed_at_random_moments_ends_as_one_that_was_not(processes, recipe, data, tmp_path):
    assert swept(processes, recipe, data, tmp_path / "straight") == 0
    straight = finetune(recipe, data, tmp_path / "straight", rates=RATES)
    chance = random.Random(7)
    killed = 0
    for _ in range(5):
        killed += swept(processes, recipe, data, tmp_path / "broken", chance.uniform(0.5, 4.0)) == -9
        for folder in (tmp_path / "broken").glob("sums/lr-*/seed-0"):
            if any(folder.glob("capture.p*/*.parquet")):
                read_capture(folder)
    assert killed
    assert swept(processes, recipe, data, tmp_path / "broken") == 0
    broken = finetune(recipe, data, tmp_path / "broken", rates=RATES)
    for run, other in zip(straight, broken, strict=True):
        assert other.complete
        assert_frame_equal(read_capture(other.folder).frame, read_capture(run.folder).frame, rel_tol=1e-9)
        assert other.record["losses"] == run.record["losses"]
        assert not (other.folder / "capture.parts").exists()
    tables = [tmp_path / name / "tables" / "transfer.csv" for name in ("straight", "broken")]
    assert tables[0].read_bytes() == tables[1].read_bytes()
