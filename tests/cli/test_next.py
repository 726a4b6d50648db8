"""What a command names as the next one, what it says where nothing was found, and refusals with a remedy."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.faults.disk.commands import make_inputs

import tunescope
from tunescope.study.following import several

Run = Callable[..., Any]
# A command line in a process of its own, which says at its end whether torch was loaded.
_TOLD = """
import atexit, sys
from tunescope.cli import main
atexit.register(lambda: print("torch" in sys.modules))
main()
"""


@pytest.fixture(autouse=True)
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two adapters, a small model, an adapter of it that names it, and it merged; the working directory."""
    make_inputs(tmp_path)
    config = tmp_path / "tuned" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "model"}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def following(err: str) -> str:
    """The command of the line that begins with Next."""
    (line,) = (line for line in err.splitlines() if line.startswith("Next"))
    return line.partition("tunescope ")[2]


def test_the_next_command_runs_as_it_is_printed(run: Run) -> None:
    compared = following(run("norms", "a", "other=b", "--figures", "none").err)
    assert compared == "subspace a other=b -o directions/"
    assert run(*shlex.split(compared), "--figures", "none").code == 0
    told = following(run("norms", "tuned").err)
    assert told == "attribute tuned --base model --data TEXTS -o effect/"
    few = ("--sequences", 1, "--max-length", 8, "--nodes", 1, "--figures", "none")
    ran = run(*shlex.split(told.replace("TEXTS", "rows.jsonl")), *few)
    assert ran.code == 0, ran.err


def test_no_attribution_is_suggested_where_the_base_scores_no_texts(inputs: Path, run: Run) -> None:
    for path in (inputs / "model").glob("tokenizer*"):
        path.unlink()
    assert following(run("norms", "tuned").err) == "subspace tuned -o directions/"


def test_words_of_the_next_command_that_stand_for_something_are_said(run: Run) -> None:
    (line,) = (line for line in run("norms", "a").err.splitlines() if line.startswith("Next"))
    assert line.startswith("Next, with BASE for the model that was tuned and TEXTS for ")
    assert line.endswith(": tunescope attribute a --base BASE --data TEXTS -o effect/")


@pytest.mark.parametrize("command", [("norms", "a", "b"), ("trajectory", "run")])
def test_a_study_in_which_nothing_stands_out_says_so_where_it_is_written(
    run: Run, command: tuple[str, ...]
) -> None:
    err = run(*command, "-o", "study", "--figures", "none").err
    said = [line for line in err.splitlines() if line.startswith("- ")]
    (inside,) = (
        s for s in Path("study/readout.md").read_text().splitlines() if s.startswith("Nothing stands")
    )
    assert said == [f"- {inside[: len(said[0]) - 2]}"]
    assert said[0].endswith((".", "told.", "compared."))


@pytest.mark.parametrize(
    "command",
    [("verify", "merged.safetensors", "tuned"), ("attribute", "tuned", "--data", "rows.jsonl", "--nodes", 1)],
)
def test_a_base_that_is_wanted_is_the_one_that_the_config_names_and_the_advice_works(
    run: Run, command: tuple[Any, ...]
) -> None:
    ran = run(*command)
    assert ran.code == 2
    assert "the config of tuned names model" in ran.err
    (fix,) = (line.partition("add ")[2] for line in ran.err.splitlines() if "fix:" in line)
    assert run(*command, *shlex.split(fix)).code == 0


@pytest.mark.parametrize(
    ("named", "fix"),
    [
        ("/gone/model", "the place where /gone/model lies now"),
        ("org/name", "add --base org/name"),
        (5, "the folder or the hub id of the model"),
    ],
)
def test_a_base_that_is_not_there_is_not_advised(inputs: Path, run: Run, named: object, fix: str) -> None:
    config = inputs / "tuned" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": named}))
    ran = run("verify", "merged.safetensors", "tuned")
    assert (ran.code, fix in ran.err) == (2, True), ran.err


@pytest.mark.parametrize(
    "command",
    [
        ("importance", "tuned", "--data", "rows.jsonl"),
        ("importance", "tuned/adapter_model.safetensors", "--data", "rows.jsonl"),
        ("attribute", "a", "--base", "tuned", "--data", "rows.jsonl"),
    ],
)
def test_an_adapter_in_the_place_of_a_model_is_called_so_before_torch_is_loaded(
    command: tuple[str, ...],
) -> None:
    here = os.environ | {"PYTHONPATH": str(Path(tunescope.__file__).parents[1])}
    ran = subprocess.run(
        [sys.executable, "-c", _TOLD, *command], env=here, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, "[adapter-not-model]" in ran.stderr) == (3, True), ran.stderr
    assert ran.stdout == "False\n"
    assert "names the base model" in ran.stderr
    assert "--base model --data TEXTS" in ran.stderr


def test_finetune_refuses_an_adapter_as_its_model(run: Run) -> None:
    ran = run("finetune", "--model", "tuned", "--data", "x=rows.jsonl", "-o", "runs")
    assert (ran.code, "[adapter-not-model]" in ran.err) == (3, True), ran.err


@pytest.mark.parametrize(
    "metric", ["relative_norm", "cosine_to_base", "changed_fraction", "merge_error_bf16"]
)
def test_a_metric_that_takes_the_base_is_refused_without_one(run: Run, metric: str) -> None:
    ran = run("norms", "tuned", "--metric", metric, "-o", "study")
    assert (ran.code, "[metric-not-measured]" in ran.err) == (2, True), ran.err
    assert "add --base BASE" in ran.err
    assert not Path("study").exists()
    if metric != "changed_fraction":
        assert run("norms", "tuned", "--metric", metric, "--base", "model").code == 0


def test_spectra_that_whole_models_are_not_measured_by_are_refused_with_the_option(run: Run) -> None:
    asked = ("norms", "merged.safetensors", "--base", "model", "--metric", "stable_rank")
    ran = run(*asked)
    assert (ran.code, "add --spectra top" in ran.err) == (2, True), ran.err
    assert run(*asked, "--spectra", "top").code == 0


def test_a_base_of_another_architecture_is_called_so_with_the_one_that_the_config_names(
    inputs: Path, run: Run
) -> None:
    """Names of GPT-2; fewer layers alone made it `a deeper model`."""
    shapes = {"attn.c_attn": (16, 48), "mlp.c_fc": (16, 64)}
    save_file(
        {f"transformer.h.0.{name}.weight": np.zeros(s, np.float32) for name, s in shapes.items()},
        inputs / "gpt2.safetensors",
    )
    ran = run("check", "tuned", "--base", "gpt2.safetensors", "--fail-on", "other_architecture")
    assert ran.code == 1
    assert "another architecture. Its config names the base model." in ran.out
    assert "deeper" not in ran.out


def test_more_adapters_than_are_named_are_meant_by_a_pattern_that_a_shell_expands_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [f"my runs/{task}/lr-{rate}/adapter" for task in "abc" for rate in ("1e-3", "2e-4")]
    for place in places:
        (tmp_path / place).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    words = several(places, 4)
    assert "lr-" not in words
    shown = subprocess.run(
        ["sh", "-c", f'for i in {words}; do echo "$i"; done'], capture_output=True, text=True, check=True
    )
    assert sorted(shown.stdout.splitlines()) == sorted(places)
    assert shlex.split(several(places[:4], 4)) == places[:4]
    # A pattern that names others too is none.
    (tmp_path / "my runs/d/lr-1e-3/adapter").mkdir(parents=True)
    assert shlex.split(several(places, 4)) == places[:4]


def test_the_base_that_was_given_stands_in_the_next_command(inputs: Path, run: Run) -> None:
    config = inputs / "tuned" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": None}))
    told = following(run("norms", "tuned", "--base", "model").err)
    assert told == "attribute tuned --base model --data TEXTS -o effect/"
