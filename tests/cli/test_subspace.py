"""`tunescope subspace` from the command line: what it writes, says and refuses."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

from tunescope.table import read_parquet

Run = Callable[..., Any]
LAYERS, MODULES, D = (0, 1), ("q_proj", "v_proj"), 24


def adapter(folder: Path, seed: int, r: int = 4, layers: tuple[int, ...] = LAYERS) -> Path:
    random = np.random.default_rng(seed)
    tensors = {
        f"base_model.model.model.layers.{k}.self_attn.{m}.lora_{factor}.weight": random.standard_normal(
            (r, D) if factor == "A" else (D, r)
        ).astype(np.float32)
        for k in layers
        for m in MODULES
        for factor in "AB"
    }
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": r, "lora_alpha": r, "target_modules": list(MODULES)}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def base(folder: Path) -> Path:
    random = np.random.default_rng(99)
    folder.mkdir()
    names = [f"model.layers.{k}.self_attn.{m}.weight" for k in LAYERS for m in MODULES]
    save_file(
        {n: random.standard_normal((D, D)).astype(np.float32) for n in names}, folder / "model.safetensors"
    )
    return folder


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return adapter(tmp_path / "one", 1), adapter(tmp_path / "two", 2, r=3)


def test_a_study_holds_tables_figures_and_readout(run: Run, pair: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "study"
    done = run(
        "subspace", *pair, "--base", base(tmp_path / "base"), "--ranks", "2", "--side", "input", "-o", out
    )
    assert done.code == 0, done.err
    table = read_parquet(out / "tables" / "subspace.parquet")
    assert table.kind == "subspace"
    assert table.frame.height == 2 * 4 * 4 * 3
    assert table.meta["columns"]["phi"]["unit"] == "[0, 1]"
    summary = pl.read_csv(out / "tables" / "subspace_summary.csv")
    assert summary.select("rank_a", "rank_b", "d_in", "d_out").unique().rows() == [(4, 3, D, D)]
    assert set(summary["finding"]) == {"nothing_shared"}
    for name in ("amplification.csv", "intruders.csv", "coverage.csv", "readout.json"):
        assert (out / "tables" / name).stat().st_size > 0
    figures = {path.name for path in (out / "figures").iterdir()}
    stems = {"subspace_one_vs_two", "subspace_one_vs_two_excess", "amplification_one", "intruders_two"}
    assert {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")} <= figures
    assert "share nothing" in (out / "readout.md").read_text()
    record = json.loads((out / "study.json").read_text())
    assert record["kind"] == "subspace"
    assert not [name for name in record["files"] if name.startswith("parts")]


def test_three_sources_also_give_ordered_matrices(run: Run, pair: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "study"
    third = adapter(tmp_path / "three", 3)
    assert run("subspace", *pair, third, "--of", "B", "-o", out).code == 0
    matrix = pl.read_csv(out / "tables" / "subspace_models_output.csv")
    assert set(matrix["model_id"]) == {"one", "two", "three"}
    by_layer = pl.read_csv(out / "tables" / "subspace_models_by_layer.csv")
    assert set(by_layer["weights"]) == {"all weights", "L0", "L1"}
    assert read_parquet(out / "tables" / "subspace.parquet").frame["side"].unique().to_list() == ["output"]
    assert (out / "figures" / "subspace_models_output.png").is_file()


def test_without_an_output_the_readout_is_printed_and_json_is_one_document(
    run: Run, pair: tuple[Path, Path]
) -> None:
    assert run("subspace", *pair).out.startswith("# In which directions")
    document = json.loads(run("subspace", *pair, "--json").out)
    assert document["schema_version"] == 1
    assert document["pairs"][0]["n_compared"] == 4


def test_layers_modules_and_max_rank_narrow_what_is_compared(
    run: Run, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "study"
    done = run(
        "subspace", *pair, "--layers", "1", "--modules", "q_proj", "--max-rank", "2", "--of", "B", "-o", out
    )
    assert done.code == 0, done.err
    frame = read_parquet(out / "tables" / "subspace.parquet").frame
    assert frame.select("layer", "module_type").unique().rows() == [(1, "self_attn.q_proj")]
    assert (frame["i"].max(), frame["j"].max()) == (2, 2)


def test_one_source_needs_against_self(run: Run, pair: tuple[Path, Path]) -> None:
    refused = run("subspace", pair[0])
    assert refused.code == 2
    assert "one-source" in refused.err
    allowed = json.loads(run("subspace", pair[0], "--against-self", "--json").out)
    assert allowed["pairs"][0]["kinds"] == {"identical": 4}
    assert allowed["findings"] == []


def test_the_same_folder_twice_is_identical_and_strict_says_so_by_its_exit_code(
    run: Run, pair: tuple[Path, Path]
) -> None:
    same = run("subspace", f"a={pair[0]}", f"b={pair[0]}", "--json", "--strict")
    assert same.code == 1
    assert json.loads(same.out)["pairs"][0]["kinds"] == {"identical": 4}
    assert run("subspace", f"a={pair[0]}", f"b={pair[0]}").code == 0


def test_no_weight_in_common_is_refused_with_names_of_both(run: Run, tmp_path: Path) -> None:
    one = adapter(tmp_path / "one", 1)
    far = adapter(tmp_path / "far", 1, layers=(7,))
    refused = run("subspace", one, far)
    assert refused.code == 3
    assert "nothing-in-common" in refused.err
    assert "layer 7" in refused.err
    assert "layer 0" in refused.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--of", "A", "--side", "output"), 2),
        (("--of", "C"), 2),
        (("--vmax", "nan"), 2),
        (("--vmax", "2"), 2),
        (("--max-rank", "0"), 2),
        (("--ranks", "1,x"), 2),
        (("--epsilon", "1"), 2),
        (("--epsilon", "nan"), 2),
        (("--ranks", "2"), 2),
        (("--modules", "nothing_like_it"), 2),
        (("--base", "/nowhere/at/all"), 4),
    ],
)
def test_arguments_that_cannot_work_are_refused(
    run: Run, pair: tuple[Path, Path], arguments: tuple[str, ...], code: int
) -> None:
    done = run("subspace", *pair, *arguments)
    assert done.code == code
    assert done.out == ""


def test_cuda_that_is_not_there_is_refused_and_auto_falls_back(
    run: Run, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunescope.linalg.device._gpus", lambda: 0)
    refused = run("subspace", *pair, "--device", "cuda")
    assert refused.code == 5
    assert "no-device" in refused.err
    assert run("subspace", *pair, "--device", "auto").code == 0


def test_another_bases_weights_are_refused(run: Run, pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    save_file({"encoder.block.0.x.weight": np.ones((2, 2), np.float32)}, other / "model.safetensors")
    refused = run("subspace", *pair, "--base", other)
    assert refused.code == 3
    assert "other-base" in refused.err


def test_an_untrained_adapter_is_a_warning_without_numbers(
    run: Run, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = adapter(tmp_path / "zero", 5)
    random = np.random.default_rng(0)
    tensors = {
        f"base_model.model.model.layers.{k}.self_attn.{m}.lora_{factor}.weight": np.zeros((D, 4), np.float32)
        if factor == "B"
        else random.standard_normal((4, D)).astype(np.float32)
        for k in LAYERS
        for m in MODULES
        for factor in "AB"
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    done = run("subspace", pair[0], folder, "-o", tmp_path / "study")
    assert done.code == 0, done.err
    assert "its ΔW is exactly zero" in done.err
    assert "NaN" not in (tmp_path / "study" / "tables" / "subspace_summary.csv").read_text()


def test_another_width_is_refused_with_the_first_three_mismatches(
    run: Run, pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "D", 16)
    narrow = adapter(tmp_path / "narrow", 1)
    refused = run("subspace", pair[0], narrow, "-o", tmp_path / "study")
    assert refused.code == 3
    assert "different bases" in refused.err
    assert refused.err.count("16×16") == 3
    assert not (tmp_path / "study").exists()


def test_a_base_of_another_name_is_a_warning(run: Run, pair: tuple[Path, Path], tmp_path: Path) -> None:
    for folder, name in zip(pair, ("org/alpha", "org/beta"), strict=True):
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": name}))
    document = json.loads(run("subspace", *pair, "--base", base(tmp_path / "alpha"), "--json").out)
    texts = [f["text"] for f in document["findings"] if f["kind"] == "base_name"]
    assert len(texts) == 2
    assert "one: org/alpha, two: org/beta" in texts[0]
    assert "two: it says it was tuned from org/beta" in texts[1]


def test_what_was_noticed_while_reading_is_in_the_readout(
    run: Run, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    config = json.loads((pair[0] / "adapter_config.json").read_text())
    (pair[0] / "adapter_config.json").write_text(json.dumps(config | {"r": 9}))
    place = base(tmp_path / "base")
    shard = place / "model-00001-of-00001.safetensors"
    (place / "model.safetensors").rename(shard)
    (place / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": shard_map(shard)})
    )
    out = run("subspace", *pair, "--base", place).out
    assert "**Check first:** one: " in out
    assert "the index states 1 bytes" in out


def shard_map(shard: Path) -> dict[str, str]:
    return {f"model.layers.{k}.self_attn.{m}.weight": shard.name for k in LAYERS for m in MODULES}


def test_a_source_without_a_single_update_says_why(run: Run, pair: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "fourier"
    folder.mkdir()
    name = "base_model.model.model.layers.0.self_attn.q_proj.fourierft_spectrum"
    save_file({name: np.ones(20, np.float32)}, folder / "adapter_model.safetensors")
    config = {"peft_type": "FOURIERFT", "n_frequency": 20, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    refused = run("subspace", pair[0], folder)
    assert refused.code == 3
    assert "no-directions" in refused.err
    assert "shape is not in the file" in refused.err


def test_spans_that_fill_the_space_are_said_not_to_be_judged(run: Run, tmp_path: Path) -> None:
    one, two = adapter(tmp_path / "one", 1, r=D), adapter(tmp_path / "two", 2)
    assert "4 weights not judged" in run("subspace", one, two).out


def test_a_base_under_a_wrapper_prefix_gives_the_same_amplification(
    run: Run, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    plain = base(tmp_path / "plain")
    wrapped = tmp_path / "wrapped"
    wrapped.mkdir()
    tensors = {
        f"language_model.{name}": value for name, value in load_file(plain / "model.safetensors").items()
    }
    save_file(tensors, wrapped / "model.safetensors")
    tables = []
    for folder in (plain, wrapped):
        out = tmp_path / f"out-{folder.name}"
        assert run("subspace", *pair, "--of", "delta", "--base", folder, "-o", out).code == 0
        tables.append((out / "tables" / "amplification.csv").read_text())
    assert tables[0] == tables[1]


def test_five_adapters_of_unlike_kinds_are_told_in_at_most_600_words(run: Run, tmp_path: Path) -> None:
    """One start, two steps of one run, directions in common in all weights, in some, and in none."""
    first = adapter(tmp_path / "base-seed-0", 0)
    tensors = load_file(first / "adapter_model.safetensors")
    draw = np.random.default_rng(5)

    def noise(value: Any) -> Any:
        return draw.standard_normal(value.shape).astype("f4") * float(np.abs(value).mean())

    def written(name: str, change: Callable[[str, Any], Any]) -> Path:
        folder = adapter(tmp_path / name, 1)
        made = {key: change(key, value) for key, value in tensors.items()}
        save_file(made, folder / "adapter_model.safetensors")
        return folder

    def common(key: str, value: Any) -> Any:
        if "lora_A" in key:
            return noise(value)
        return np.hstack([value[:, :2], noise(value)[:, 2:]])

    later = written("later-step", lambda k, v: v if "lora_A" in k else 1.4 * v + 0.2 * noise(v))
    start = written("same-start", lambda k, v: v if "lora_A" in k else noise(v))
    shared = written("shares-two", common)
    sources = [first, later, start, shared, adapter(tmp_path / "alone", 9)]
    done = run("subspace", *sources, "--figures", "none", "--no-report", "-o", tmp_path / "study")
    assert done.code == 0, done.err
    text = (tmp_path / "study" / "readout.md").read_text().partition("## Methods")[0]
    words = [word for line in text.splitlines() if not line.startswith("|") for word in line.split()]
    assert 150 < len(words) <= 600
    assert re.search(
        r"same direction \(cosine 0\.9\d\), later-step 1\.4\d times as long as base-seed-0", text
    )
    findings = json.loads((tmp_path / "study" / "tables" / "readout.json").read_text())["findings"]
    facts = [(finding["kind"], model) for finding in findings for model in finding["models"]]
    assert {"same_run", "shared_initialisation"} <= {kind for kind, _ in facts}


def test_five_adapters_are_told_in_at_most_600_words(run: Run, tmp_path: Path) -> None:
    """Folds included, tables and the methods paragraph apart; no pair has a sentence of its own."""
    sources = [adapter(tmp_path / name, seed) for seed, name in enumerate(("a", "b", "c", "d", "e"))]
    done = run("subspace", *sources, "--figures", "none", "--no-report", "-o", tmp_path / "study")
    assert done.code == 0, done.err
    text = (tmp_path / "study" / "readout.md").read_text().partition("## Methods")[0]
    words = [word for line in text.splitlines() if not line.startswith("|") for word in line.split()]
    assert len(words) <= 600
    findings = json.loads((tmp_path / "study" / "tables" / "readout.json").read_text())["findings"]
    assert len(findings) <= 5
