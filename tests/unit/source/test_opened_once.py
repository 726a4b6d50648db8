"""Headers are read and pickles converted once, whatever has to be looked into to tell what a source is."""

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import tunescope

STEM = "model.layers.0.self_attn."


def tensors(by: float) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    names = (f"{STEM}{kind}.weight" for kind in ("q_proj", "v_proj"))
    return {name: (draw.standard_normal((4, 6)) + by).astype("f4") for name in names}


def save(folder: Path, held: dict[str, np.ndarray], kind: str) -> Path:
    folder.mkdir()
    if kind == "pickle":
        torch = pytest.importorskip("torch")
        torch.save({n: torch.from_numpy(v) for n, v in held.items()}, folder / "pytorch_model.bin")
        return folder
    shards = [held] if kind == "file" else [{n: v} for n, v in held.items()]
    for i, shard in enumerate(shards, 1):
        name = "model" if kind == "file" else f"model-{i:05}-of-{len(shards):05}"
        save_file(shard, folder / f"{name}.safetensors")
    return folder


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file's header was read, and each pickle converted by its guarded process."""
    found: Counter[str] = Counter()
    preadv, run = os.preadv, subprocess.run

    def reading(descriptor: int, buffers: Any, offset: int) -> int:
        if offset == 8:
            found[str(Path(f"/proc/self/fd/{descriptor}").readlink())] += 1
        return preadv(descriptor, buffers, offset)

    def running(command: Any, **more: Any) -> Any:
        found[next(part for part in command if part.endswith(".bin"))] += 1
        return run(command, **more)

    monkeypatch.setattr(os, "preadv", reading)
    monkeypatch.setattr(subprocess, "run", running)
    return found


@pytest.mark.parametrize("kind", ["file", "shards", "pickle"])
@pytest.mark.parametrize("named", ["folder", "file"])
def test_two_whole_models(tmp_path: Path, kind: str, named: str, opened: Counter[str]) -> None:
    base, tuned = (save(tmp_path / name, tensors(by), kind) for name, by in (("base", 0), ("tuned", 0.1)))
    if named == "file" and kind == "shards":
        pytest.skip("shards are named by their folder")
    if named == "file":
        base, tuned = (next(folder.iterdir()) for folder in (base, tuned))
    rows = tunescope.norms(tuned, base=base).table.frame
    assert rows["frobenius_norm"].to_list() == pytest.approx([0.1 * 24**0.5] * 2, rel=1e-5)
    files = {str(f) for f in tmp_path.rglob("*") if f.is_file()}
    assert opened == dict.fromkeys(files, 1)


@pytest.mark.parametrize("kind", ["file", "shards", "pickle"])
def test_an_adapter_in_the_save_of_its_whole_model(tmp_path: Path, kind: str, opened: Counter[str]) -> None:
    held = {f"{STEM}q_proj.base_layer.weight": tensors(0)[f"{STEM}q_proj.weight"]}
    held |= {f"{STEM}q_proj.lora_A.default.weight": np.ones((2, 6), "f4")}
    held |= {f"{STEM}q_proj.lora_B.default.weight": np.ones((4, 2), "f4")}
    folder = save(tmp_path / "wrapped", held, kind)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    norm = tunescope.norms(folder).table.frame["frobenius_norm"]
    assert norm.to_list() == pytest.approx([2 * 24**0.5])
    weights = {str(f) for f in folder.iterdir() if f.suffix != ".json"}
    assert opened == dict.fromkeys(weights, 1)


def test_an_adapter_beside_its_base(tmp_path: Path, opened: Counter[str]) -> None:
    base = save(tmp_path / "base", tensors(0), "file")
    torch, folder = pytest.importorskip("torch"), tmp_path / "adapter"
    folder.mkdir()
    module = f"base_model.model.{STEM}q_proj."
    factors = {f"{module}lora_A.weight": torch.ones(2, 6), f"{module}lora_B.weight": torch.ones(4, 2)}
    torch.save(factors, folder / "adapter_model.bin")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    assert tunescope.norms(folder, base=base).table.frame["relative_norm"].null_count() == 0
    assert set(opened.values()) == {1}
