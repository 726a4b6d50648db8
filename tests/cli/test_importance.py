"""`tunescope importance` from the command line: what it writes, says and refuses."""

import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from tunescope.demo import model_path
from tunescope.writing import beside

Run = Callable[..., Any]
COLUMNS = [
    "model_id", "step", "stack", "layer", "parameter", "expert", "method", "score", "stderr", "n", "unit",
    "share", "normalized", "numel",
]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = AutoTokenizer.from_pretrained(model_path())
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=4,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "texts.jsonl"
    rows = [{"prompt": f"{k} + {k} =", "completion": f" {2 * k}, as {k} and {k} make"} for k in range(6)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_study_holds_the_tables_maps_and_readout(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    done = run("importance", model, "--data", data, "--sequences", 6, "--device", "cpu", "-o", out)
    assert done.code == 0, done.err
    frame = pl.read_csv(out / "tables" / "importance.csv")
    assert frame.columns == COLUMNS
    assert frame["method"].unique(maintain_order=True).to_list() == ["taylor", "curvature", "bypass"]
    layers = frame.filter(pl.col("parameter") == "Layer Importance")
    assert layers["method"].unique().to_list() == ["bypass"]
    assert layers.height == 4
    summary = json.loads((out / "tables" / "readout.json").read_text())["summary"]
    assert summary["sequences"] == 6
    assert set(summary["methods"]["taylor"]) >= {"split_half_spearman", "spearman_numel"}
    assert len(summary["data_hash"]) == 64
    for name in ("importance_taylor.png", "importance_curvature.png"):
        assert (out / "figures" / name).stat().st_size > 1000
    assert "## curvature" in (out / "readout.md").read_text()
    assert not done.out
    assert not list(tmp_path.glob(".study*"))


def test_the_next_command_names_model_and_data_as_they_were_given(
    run: Run, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    few = ("--sequences", 2, "--no-layer-importance", "--method", "magnitude", "--device", "cpu")
    done = run("importance", f"mine=./{model.name}", "--data", data, *few)
    assert done.code == 0, done.err
    assert f": tunescope attribute ADAPTER --base ./{model.name} --data {data} -o effect/" in done.err


def test_json_is_one_document(run: Run, model: Path, data: Path) -> None:
    done = run(
        "importance", model, "--data", data, "--method", "taylor,ablation,magnitude", "--sequences", 99,
        "--batch-size", 50, "--no-layer-importance", "--json", "--device", "cpu",
    )  # fmt: skip
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert [m["method"] for m in document["methods"]] == ["taylor", "ablation", "magnitude"]
    assert document["methods"][0]["spearman_ablation"] is not None
    assert any(f["kind"] == "few_sequences" for f in document["findings"])
    assert any(f["kind"] == "batch_larger_than_data" for f in document["findings"])


def test_the_same_seed_writes_the_same_bytes(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        done = run(
            "importance", model, "--data", data, "--sequences", 3, "--device", "cpu", "-o", tmp_path / name
        )
        assert done.code == 0, done.err
    for file in ("tables/importance.csv", "tables/readout.json", "figures/importance_taylor.png"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "slug"),
    [
        (["--method", "tailor"], 2, "unknown-method"),
        (["--method", ","], 2, "unknown-method"),
        (["--precision", "2"], 2, "precision"),
        (["--sequences", "0"], 2, "sequences"),
        (["--colour", "cubic"], 2, "colour"),
        (["--max-length", "2"], 3, "data-all-cut"),
        (["--seed", str(2**70)], 2, "--seed"),
        (["--device", "abacus"], 2, "bad-device"),
        (["--device", "meta"], 2, "bad-device"),
        (["--method", "noise", "--noise-scale", "1e-30"], 2, "out-of-range"),
    ],
)
def test_arguments_that_cannot_work(
    run: Run, model: Path, data: Path, arguments: list[str], code: int, slug: str
) -> None:
    done = run("importance", model, "--data", data, "--device", "cpu", *arguments)
    assert (done.code, done.out) == (code, "")
    assert slug in done.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_an_error_when_asked_for(run: Run, model: Path, data: Path) -> None:
    done = run("importance", model, "--data", data, "--device", "cuda")
    assert (done.code, done.out) == (5, "")
    assert "no-device" in done.err


def test_memory_that_runs_out_is_said(
    run: Run, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    monkeypatch.setattr("tunescope.questions.importance.scores.measure", full)
    done = run("importance", model, "--data", data, "--device", "cpu")
    assert (done.code, done.out) == (5, "")
    assert "--batch-size" in done.err


def test_a_refused_run_leaves_nothing_behind(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    """No state folder for a run that never measured; missing data are said before the model is loaded."""
    out = tmp_path / "study"
    assert run("importance", tmp_path / "nothing", "--data", data, "--device", "cpu", "-o", out).code == 4
    done = run("importance", model, "--data", tmp_path / "no.jsonl", "--device", "cpu", "-o", out)
    assert "data-missing" in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_into_the_same_output_is_refused(
    run: Run, model: Path, data: Path, tmp_path: Path
) -> None:
    """Both would write the same state and the same study."""
    lock = beside((tmp_path / "study").resolve(), ".lock")
    with lock.open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        done = run("importance", model, "--data", data, "--device", "cpu", "-o", tmp_path / "study")
    assert (done.code, done.out) == (5, "")
    assert "locked" in done.err


def test_sequences_longer_than_the_model_are_cut_and_said(run: Run, model: Path, tmp_path: Path) -> None:
    """The model's 64 positions bound --max-length, which is 512 by default."""
    path = tmp_path / "long.jsonl"
    path.write_text(json.dumps({"text": "alpha beta " * 100}))
    done = run("importance", model, "--data", path, "--method", "taylor", "--device", "cpu", "--json")
    document = json.loads(done.out)
    assert document["summary"]["tokens"] == 63
    assert any(f["kind"] == "model_length" for f in document["findings"])


def test_an_early_stop_is_said(run: Run, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "same.jsonl"
    path.write_text("\n".join([json.dumps({"text": "one text, many times"})] * 20))
    done = run(
        "importance", model, "--data", path, "--method", "taylor", "--device", "cpu", "--precision", "0.5",
        "--no-layer-importance", "--json",
    )  # fmt: skip
    document = json.loads(done.out)
    assert document["summary"]["sequences"] == 8
    assert any("after 8 of 20 sequences" in f["text"] for f in document["findings"])


def test_missing_model_and_data(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    assert run("importance", tmp_path / "nothing", "--data", data, "--device", "cpu").code == 4
    assert run("importance", model, "--data", tmp_path / "nothing.jsonl", "--device", "cpu").code == 4


def test_an_output_that_exists_is_refused_before_anything_is_loaded(
    run: Run, model: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    done = run("importance", model, "--data", data, "-o", tmp_path)
    assert done.code == 2
    assert "output-exists" in done.err
