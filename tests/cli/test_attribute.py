"""`tunescope attribute` as a person runs it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from peft import LoraConfig, get_peft_model
from scipy.stats import spearmanr
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from tunescope.demo import domain_paths, model_path
from tunescope.lm.texts import read_batches

Run = Callable[..., Any]
COLUMNS = [
    "model_id", "data", "step", "stack", "layer", "module_type", "expert", "component_name", "attribution",
    "stderr", "share", "frobenius_norm_normalized",
]  # fmt: skip
FEW = ("--sequences", 6, "--max-length", 72, "--batch-size", 6)


def train(model: Any, path: Path, steps: int, rate: float) -> None:
    """A few steps on a domain's answers, by torch's own loss."""
    tokenizer = AutoTokenizer.from_pretrained(model_path())
    batches, _ = read_batches(path, tokenizer, sequences=8, max_length=72, batch_size=4)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    for step in range(steps):
        batch = batches[step % len(batches)]
        optimiser.zero_grad()
        model(**batch).loss.backward()
        optimiser.step()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small base, a LoRA on it, a full fine-tune of it, and an adapter of a wider model."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = AutoTokenizer.from_pretrained(model_path())
    sizes = {"vocab_size": len(tokenizer), "intermediate_size": 48, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64}
    torch.manual_seed(0)
    base = LlamaForCausalLM(LlamaConfig(**sizes, **heads, hidden_size=32))
    base.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"])
    adapter = get_peft_model(base, config)
    train(adapter, domain_paths()["physics"], 12, 2e-2)
    adapter.save_pretrained(folder / "lora")
    full = LlamaForCausalLM.from_pretrained(folder / "base")
    train(full, domain_paths()["physics"], 12, 5e-3)
    full.save_pretrained(folder / "full")
    wide = LlamaForCausalLM(LlamaConfig(**sizes, **heads, hidden_size=64))
    get_peft_model(wide, config).save_pretrained(folder / "wide")
    return folder


def table(out: Path, name: str) -> pl.DataFrame:
    return pl.read_csv(out / "tables" / f"{name}.csv")


def summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "tables" / "readout.json").read_text())
    return found


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_study_has_its_tables_figures_and_readout(
    models: Path, tmp_path: Path, run: Run, kind: str
) -> None:
    """The promised columns and keys; one row per changed weight; cells add up; measured beside attributed."""
    out = tmp_path / "study"
    arguments = (models / kind, "--base", models / "base", "--data", domain_paths()["physics"], *FEW)
    done = run("attribute", *arguments, "--put-back", 4, "-o", out)
    assert done.code == 0, done.err
    cells, found = table(out, "attribution"), summary(out)
    assert cells.columns == COLUMNS
    assert cells.height == (12 if kind == "lora" else 30)
    assert {"base_loss", "tuned_loss", "gain", "sum", "residual", "nodes"} <= found.keys()
    assert found["gain"] == pytest.approx(found["base_loss"] - found["tuned_loss"])
    assert found["gain"] > 0
    assert cells["attribution"].sum() == pytest.approx(found["sum"])
    assert found["sum"] + found["gain"] == pytest.approx(found["residual"], abs=1e-9)
    assert found["converged"]
    assert abs(found["residual"]) <= found["tolerance"]
    checks = table(out, "put_back")
    assert checks["chosen"].to_list() == ["largest"] * 4 + ["random"] * 4
    largest = cells.sort(pl.col("attribution").abs(), descending=True)["component_name"].head(4)
    assert set(checks["component_name"].head(4)) == set(largest)
    expected = spearmanr(checks["attribution"], checks["measured"]).statistic
    assert found["verification"]["spearman"] == pytest.approx(expected)
    figures = {path.name for path in (out / "figures").iterdir()}
    stems = ("attribution", "change_effect", "put_back")
    assert figures == {*(f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")), "captions.md"}
    assert "gain of" in (out / "readout.md").read_text()
    assert json.loads((out / "study.json").read_text())["arguments"]["put_back"] == 4


def test_several_data_sets_have_maps_and_a_difference(models: Path, tmp_path: Path, run: Run) -> None:
    """A column says the data; the difference is the second minus the first; names may be given."""
    out = tmp_path / "study"
    data = domain_paths()
    done = run(
        "attribute", f"tuned={models / 'lora'}", "--base", models / "base", "--data", data["physics"],
        "--data", f"code={data['cpp']}", *FEW, "--nodes", 2, "-o", out,
    )  # fmt: skip
    assert done.code == 0, done.err
    cells = table(out, "attribution")
    assert cells.columns == COLUMNS
    parts = {name: part for (name,), part in cells.group_by("data", maintain_order=True)}
    assert list(parts) == ["physics", "code"]
    differences = table(out, "attribution_difference")
    ours = parts["code"]["attribution"] - parts["physics"]["attribution"]
    assert differences["difference"].to_list() == pytest.approx(ours.to_list())
    names = {path.stem for path in (out / "figures").glob("*.png")}
    expected = {f"{kind}_{d}" for kind in ("attribution", "change_effect") for d in parts}
    assert names == expected | {"attribution_difference_code_minus_physics"}
    found = summary(out)
    assert list(found["data_sets"]) == ["physics", "code"]
    assert "gain" not in found


def test_the_same_run_gives_the_same_bytes(models: Path, tmp_path: Path, run: Run) -> None:
    """Twice the same command, twice the same tables; json is one document."""
    arguments = (
        "attribute",
        models / "lora",
        "--base",
        models / "base",
        "--data",
        domain_paths()["cpp"],
        *FEW,
    )
    first = run(*arguments, "--nodes", 2, "--json", "-o", tmp_path / "a")
    second = run(*arguments, "--nodes", 2, "-o", tmp_path / "b")
    assert first.code == second.code == 0
    for name in ("attribution.csv", "attribution.parquet", "readout.json"):
        assert (tmp_path / "a" / "tables" / name).read_bytes() == (
            tmp_path / "b" / "tables" / name
        ).read_bytes()
    assert json.loads(first.out) == summary(tmp_path / "a")


def test_bad_input_is_refused_with_its_exit_code(models: Path, tmp_path: Path, run: Run) -> None:
    """Another base, a missing path, missing or useless data, equal models, impossible numbers."""
    data = domain_paths()["cpp"]
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    cases = [
        (models / "wide", models / "base", data, (), 3, "other-base"),
        (tmp_path / "absent", models / "base", data, (), 4, "not-found"),
        (models / "lora", tmp_path / "absent", data, (), 4, "not-found"),
        (models / "lora", models / "base", tmp_path / "absent.jsonl", (), 4, "data-missing"),
        (models / "lora", models / "base", empty, (), 3, "data-no-rows"),
        (models / "lora", models / "base", data, ("--data", data), 2, "duplicate-label"),
        (models / "lora", models / "base", data, ("--nodes", 0), 2, "--nodes"),
        (models / "lora", models / "base", data, ("-o", models), 2, "output"),
        (models / "lora", models / "base", data, ("--device", "banana"), 2, "bad-device"),
    ]
    for tuned, base, texts, more, code, said in cases:
        done = run("attribute", tuned, "--base", base, "--data", texts, *FEW, *more)
        assert (done.code, done.out) == (code, ""), done.err
        assert said in done.err
    wide = run("attribute", models / "wide", "--base", models / "base", "--data", data, *FEW)
    assert "ΔW [64, 64] on a weight of [32, 32]" in wide.err
    assert "more" in wide.err


@pytest.mark.parametrize("name", ["held.txt", "held", "./held/out"])
def test_data_that_is_not_there_is_said_before_a_model_is_loaded(
    models: Path, run: Run, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunescope.lm.pretrained.load_model", lambda *_: pytest.fail("a model was loaded"))
    for command in (("attribute", models / "lora", "--base"), ("importance",)):
        done = run(*command, models / "base", "--data", name)
        assert (done.code, done.out) == (4, "")
        assert f"there is no data file {name}" in done.err


def test_a_model_held_against_itself_gains_nothing(models: Path, tmp_path: Path, run: Run) -> None:
    """No cell, no gain and no figure, for one data set and for two; the models are called identical."""
    out, data = tmp_path / "study", domain_paths()
    arguments = ("--data", data["cpp"], "--data", data["physics"], *FEW, "--put-back", 2, "-o", out)
    done = run("attribute", models / "base", "--base", models / "base", *arguments)
    assert done.code == 0, done.err
    assert "identical" in done.err
    cells = table(out, "attribution")
    assert cells.columns == COLUMNS
    assert cells.height == 0
    assert not (out / "figures").exists()
    for found in summary(out)["data_sets"].values():
        assert found["base_loss"] == found["tuned_loss"] > 0
        assert (found["gain"], found["sum"], found["residual"]) == (0, 0, 0)
        assert found["converged"]


def test_the_demo_model_s_fine_tune_is_attributed(tmp_path: Path, run: Run) -> None:
    """A brief LoRA on one domain: a clear gain there, split over its 20 weights, measured beside it."""
    model = AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.float32)
    adapter = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["v_proj", "down_proj"]))
    train(adapter, domain_paths()["physics"], 8, 5e-3)
    adapter.save_pretrained(tmp_path / "lora")
    done = run(
        "attribute", tmp_path / "lora", "--base", model_path(), "--data", domain_paths()["physics"],
        *FEW, "--nodes", 4, "--put-back", 3, "-o", tmp_path / "study",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = summary(tmp_path / "study")
    assert found["gain"] > 3 * found["gain_stderr"]
    assert found["converged"]
    assert table(tmp_path / "study", "attribution").height == 20
    assert -1 <= found["verification"]["spearman"] <= 1
    assert (
        f"Spearman {found['verification']['spearman']:.2g}" in (tmp_path / "study" / "readout.md").read_text()
    )
