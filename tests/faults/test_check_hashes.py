"""`--check-hashes` in every command that reads sources: a file is what it is stated to be, or refused."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import tunescope
from tunescope.demo import model_path

WRONG = "0" * 64


def state(path: Path, digits: str | None = None) -> None:
    found = digits or hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(path.name + ".sha256").write_text(f"{found}  {path.name}\n")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": f"{a}+1=", "completion": str(a + 1)}) + "\n" for a in range(8))
    )
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the demo's model, to lay sidecars beside."""
    return Path(shutil.copytree(model_path(), tmp_path / "model"))


@pytest.fixture
def on_model(adapter: Callable[..., Path], model: Path) -> Path:
    """An adapter that fits the demo's model."""
    config = json.loads((model / "config.json").read_text())
    out = config["num_attention_heads"] * config["head_dim"]
    stem = "base_model.model.model.layers.0.self_attn.q_proj"
    random = np.random.default_rng(0)
    shapes = {"A": (2, config["hidden_size"]), "B": (out, 2)}
    return adapter(
        {f"{stem}.lora_{f}.weight": random.normal(size=s).astype(np.float32) for f, s in shapes.items()},
        name="on-model",
        target_modules=["q_proj"],
    )


Ways = dict[str, Callable[[], list[Any]]]


@pytest.fixture
def ways(adapter: Callable[..., Path], on_model: Path, model: Path, rows: Path) -> Ways:
    """Every command that reads weights, so that one of the files it reads is `adapter_model.safetensors`."""
    weights = on_model
    texts = ["--data", rows, "--sequences", 2, "--max-length", 16]
    return {
        "norms": lambda: ["norms", weights],
        "subspace": lambda: ["subspace", weights, adapter(name="other")],
        "check": lambda: ["check", weights, "--base", model],
        "verify": lambda: ["verify", model, weights, "--base", model_path()],
        "attribute": lambda: ["attribute", weights, "--base", model, "--nodes", 1, *texts],
        "norms --base": lambda: ["norms", weights, "--base", model],
    }


@pytest.mark.parametrize("way", ["norms", "subspace", "check", "verify", "attribute", "norms --base"])
def test_every_command_refuses_a_file_that_holds_something_else(
    run: Callable[..., Any], ways: Ways, on_model: Path, way: str
) -> None:
    state(on_model / "adapter_model.safetensors", WRONG)
    command = ways[way]()
    ran = run(*command, "--check-hashes")
    assert ran.code == 3
    assert "[hash-mismatch]" in ran.err
    assert str(on_model / "adapter_model.safetensors") in ran.err
    assert WRONG in ran.err
    assert "[hash-mismatch]" not in run(*command).err


@pytest.mark.parametrize("way", ["norms --base", "check", "attribute", "importance"])
def test_the_base_and_the_model_are_compared_too(
    run: Callable[..., Any], ways: Ways, model: Path, rows: Path, way: str
) -> None:
    state(model / "model.safetensors", WRONG)
    ways["importance"] = lambda: [
        "importance", model, "--data", rows, "--sequences", 2, "--max-length", 16,
        "--method", "magnitude", "--no-layer-importance",
    ]  # fmt: skip
    ran = run(*ways[way](), "--check-hashes")
    assert ran.code == 3
    assert f"{model / 'model.safetensors'}" in ran.err
    assert "[hash-mismatch]" in ran.err


def test_a_config_that_was_changed_is_refused(run: Callable[..., Any], adapter: Callable[..., Path]) -> None:
    folder = adapter()
    names = ("adapter_config.json", "adapter_model.safetensors")
    lines = [f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
    (folder / "SHA256SUMS").write_text("".join(lines))
    assert run("norms", folder, "--check-hashes", "--strict").code == 0
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 4', '"lora_alpha": 5'))
    ran = run("norms", folder, "--check-hashes")
    assert (ran.code, "adapter_config.json" in ran.err) == (3, True)


def test_data_that_was_changed_is_refused(run: Callable[..., Any], model: Path, rows: Path) -> None:
    state(rows, WRONG)
    ran = run("importance", model, "--data", rows, "--check-hashes")
    assert (ran.code, str(rows) in ran.err) == (3, True)


def test_a_capture_that_was_changed_is_refused(run: Callable[..., Any], tmp_path: Path) -> None:
    from tests.faults.fuzz.kinds import _capture

    state(_capture(tmp_path), WRONG)
    assert run("trajectory", tmp_path).code == 0
    ran = run("trajectory", tmp_path, "--check-hashes")
    assert (ran.code, "capture.parquet" in ran.err, "[hash-mismatch]" in ran.err) == (3, True, True)


def test_a_source_without_a_stated_hash_is_called_unverified_and_fails_under_strict(
    run: Callable[..., Any], adapter: Callable[..., Path], model: Path, rows: Path
) -> None:
    folder = adapter()
    ran = run("norms", folder, "--check-hashes", "--strict", "--json")
    assert ran.code == 1
    assert "hash_unknown" in [f["kind"] for f in json.loads(ran.out)["findings"]]
    plain = ["importance", model, "--data", rows, "--method", "magnitude", "--no-layer-importance", "--json"]
    assert "hash_unknown" in run(*plain, "--check-hashes").out


def test_a_study_says_of_every_file_who_stated_the_hash_that_it_was_compared_with(
    adapter: Callable[..., Path],
) -> None:
    folder = adapter()
    state(folder / "adapter_model.safetensors")
    with tunescope.reading(check_hashes=True):
        study = tunescope.norms(folder)
    (entry,) = study.sources[0]["files"]
    assert entry["verified"] == ["adapter_model.safetensors.sha256"]
    assert "verified" not in tunescope.norms(folder).sources[0]["files"][0]


def test_shards_are_compared_each(run: Callable[..., Any], tmp_path: Path) -> None:
    for number in (1, 2):
        name = f"model-{number:05d}-of-00002.safetensors"
        save_file({f"model.layers.{number}.mlp.up_proj.weight": np.ones((4, 4), np.float32)}, tmp_path / name)
        state(tmp_path / name, WRONG if number == 2 else None)
    ran = run("norms", tmp_path, "--base", tmp_path, "--check-hashes")
    assert (ran.code, "model-00002-of-00002" in ran.err) == (3, True)
