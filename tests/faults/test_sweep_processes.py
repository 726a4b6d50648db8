"""Two processes train one run: one of them writes, and the table is that of a single process."""

import json
import subprocess
import sys

import polars as pl
import pytest

from tunescope.demo import model_path
from tunescope.training import Recipe, finetune, read_capture

SETTINGS = {"quantize": "none", "rank": 2, "alpha": 4.0, "max_steps": 3, "captures_per_epoch": 1000}


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "sums.jsonl"
    rows = [{"prompt": f"{a}+{b}=", "completion": str(a + b)} for a in range(6) for b in range(5)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_two_processes_write_what_one_does(data, tmp_path):
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    command = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        "-m",
        "tunescope",
        "finetune",
    ]
    done = subprocess.run(
        [sys.executable, *command, f"--model={model_path()}", f"--data=sums={data}", "--accumulate=1",
         "--json", *flags, "-o", str(tmp_path / "two")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)["runs"]
    assert record["settings"]["processes"] == 2
    recipe = Recipe(model=str(model_path()), accumulate=2, **SETTINGS)
    (run,) = finetune(recipe, {"sums": str(data)}, tmp_path / "one")
    one, two = (read_capture(tmp_path / name / run.name).frame for name in ("one", "two"))
    keys = ["step", "component_name", "factor"]
    assert two.unique(keys).height == two.height == one.height
    both = one.join(two, on=keys, suffix="_two", how="inner")
    assert both.height == one.height
    for name in ("abs_mean", "delta_frobenius_norm"):
        error = (pl.col(name) - pl.col(f"{name}_two")).abs() / pl.col(name)
        assert both.select(error.max()).item() < 1e-3
    losses = run.record["losses"]["sums"]
    assert record["losses"]["sums"]["tokens"] == losses["tokens"]
    assert record["losses"]["sums"]["before"] == pytest.approx(losses["before"], rel=1e-5)
    assert record["losses"]["sums"]["after"] == pytest.approx(losses["after"], rel=1e-4)
