"""`--salvage`: what is whole of a safetensors file that was cut short is read, and said to be only that."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tunescope
from tunescope.errors import BadInput

from .fuzz.kinds import KINDS

STEM = "base_model.model.model.layers.{}.self_attn.{}.lora_{}.weight"


def cut(path: Path, bytes_left: int) -> Path:
    """Keep the header and so many bytes behind it."""
    whole = path.read_bytes()
    path.write_bytes(whole[: 8 + int.from_bytes(whole[:8], "little") + bytes_left])
    return path


@pytest.fixture
def four(adapter: Callable[..., Path]) -> Path:
    """Two layers of two modules, each factor of 48 or 32 bytes."""
    rng = np.random.default_rng(3)
    return adapter(
        {
            STEM.format(layer, module, factor): rng.normal(size=shape).astype(np.float32)
            for layer in range(2)
            for module in ("q_proj", "v_proj")
            for factor, shape in (("A", (2, 6)), ("B", (4, 2)))
        }
    )


def test_a_cut_file_is_refused_and_the_refusal_names_the_option(run: Callable[..., Any], four: Path) -> None:
    cut(four / "adapter_model.safetensors", 200)
    ran = run("norms", four)
    assert (ran.code, "--salvage" in ran.err) == (3, True)
    assert run("norms", four, "--salvage").code == 0


def test_the_complete_modules_have_the_numbers_of_the_whole_file(four: Path) -> None:
    whole = tunescope.norms(four).table.frame
    cut(four / "adapter_model.safetensors", 200)
    with tunescope.reading(salvage=True):
        salvaged = tunescope.norms(four).table.frame
    columns = ["layer", "module_type", "frobenius_norm", "spectral_norm"]
    assert 0 < salvaged.height < whole.height
    same = whole.join(salvaged.select("layer", "module_type"), on=["layer", "module_type"])
    assert same.select(columns).sort(columns).equals(salvaged.select(columns).sort(columns))


def test_of_a_cut_gguf_it_is_said_that_it_cannot_be_salvaged(run: Callable[..., Any], tmp_path: Path) -> None:
    path = KINDS["gguf"].make(tmp_path)
    assert run("norms", path, "--salvage").code == 0
    path.write_bytes(path.read_bytes()[:-40])
    ran = run("norms", path, "--salvage")
    assert (ran.code, "[bad-gguf]" in ran.err, "safetensors alone" in ran.err) == (3, True, True)
    assert "--salvage" not in run("norms", path).err


def test_every_tensor_that_was_cut_off_stands_in_the_ledger_with_its_bytes(four: Path) -> None:
    size = sum(a.nbytes for a in load_file(four / "adapter_model.safetensors").values())
    cut(four / "adapter_model.safetensors", size - 8)
    with tunescope.reading(salvage=True):
        study = tunescope.norms(four)
    left = study.tables["coverage"].frame.filter(status="not used")
    reasons = set(left["reason"])
    assert len(left) == 2
    assert any(r.startswith("cut off: ") and r.endswith("bytes are there") for r in reasons)
    (finding,) = [f for f in study.findings if f.kind == "salvaged"]
    assert finding.severity == "warning"
    assert "7 of 8 tensors are complete" in finding.text
    assert "7 of 8 tensors are complete" in study.markdown()
    assert "cut off" in study.markdown()


def test_a_salvaged_study_fails_under_strict(run: Callable[..., Any], four: Path) -> None:
    assert run("norms", four, "--salvage", "--strict").code == 0
    cut(four / "adapter_model.safetensors", 200)
    assert run("norms", four, "--salvage", "--strict").code == 1
    assert run("check", four, "--salvage", "--json").code in (0, 1)
    assert "salvaged" in run("check", four, "--salvage", "--json").out
    assert "salvaged" in run("subspace", four, four, "--salvage", "--json").out


@pytest.mark.parametrize("bytes_left", [0, 20])
def test_a_file_of_which_no_module_is_whole_is_refused(four: Path, bytes_left: int) -> None:
    cut(four / "adapter_model.safetensors", bytes_left)
    with tunescope.reading(salvage=True), pytest.raises(BadInput) as caught:
        tunescope.norms(four)
    assert caught.value.slug == "nothing-salvaged"
    assert caught.value.file
    assert caught.value.expected


def test_a_header_that_is_cut_cannot_be_salvaged(four: Path) -> None:
    path = four / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with tunescope.reading(salvage=True), pytest.raises(BadInput, match="truncated"):
        tunescope.norms(four)


@pytest.mark.parametrize("which", ["base", "tuned"])
def test_whole_models_give_a_row_with_a_status_for_what_was_cut_off(tmp_path: Path, which: str) -> None:
    rng = np.random.default_rng(0)
    for name in ("base", "tuned"):
        (tmp_path / name).mkdir()
        tensors = {f"model.layers.{i}.mlp.up_proj.weight": rng.normal(size=(4, 4)) for i in range(4)}
        save_file(tensors, tmp_path / name / "model.safetensors")
    cut(tmp_path / which / "model.safetensors", 300)
    with tunescope.reading(salvage=True):
        study = tunescope.norms(tmp_path / "tuned", base=tmp_path / "base")
    status = dict(study.table.frame.select("layer", "status").iter_rows())
    assert [status[i] for i in range(2)] == ["ok", "ok"]
    assert [status[i].startswith("cut off: ") for i in range(4)] == [False, False, True, True]
    assert "salvaged" in [f.kind for f in study.findings]


def test_a_cut_shard_is_salvaged_beside_whole_ones(tmp_path: Path) -> None:
    names = {}
    for number in (1, 2):
        shard = f"adapter_model-{number:05d}-of-00002.safetensors"
        tensors = {
            STEM.format(number, module, factor): np.ones(shape, np.float32)
            for module in ("q_proj", "v_proj")
            for factor, shape in (("A", (2, 6)), ("B", (4, 2)))
        }
        save_file(tensors, tmp_path / shard)
        names |= dict.fromkeys(tensors, shard)
    index = {"metadata": {}, "weight_map": names}
    (tmp_path / "adapter_model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 4}')
    cut(tmp_path / "adapter_model-00002-of-00002.safetensors", 100)
    with tunescope.reading(salvage=True):
        study = tunescope.norms(tmp_path)
    assert study.table.frame.filter(layer=1).height == 2
    assert study.table.frame.filter(layer=2).height < 2


def test_checkpoints_of_a_run_are_salvaged(run: Callable[..., Any], tmp_path: Path) -> None:
    from tests.faults.fuzz.kinds import _run_of_checkpoints

    _run_of_checkpoints(tmp_path)
    cut(tmp_path / "checkpoint-20" / "adapter_model.safetensors", 250)
    assert run("trajectory", tmp_path).code == 3
    ran = run("trajectory", tmp_path, "--salvage", "--json")
    assert ran.code == 0
    assert "salvaged" in ran.out
