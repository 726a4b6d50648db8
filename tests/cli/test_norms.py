"""`tunescope norms` as a person runs it."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

import tunescope
from tunescope.writing import held

Run = Callable[..., Any]
FIRST = [
    "model_id", "step", "stack", "layer", "module_type", "expert", "component_name", "family", "method",
    "lora_rank", "lora_alpha", "scale", "d_out", "d_in", "frobenius_norm", "frobenius_norm_normalized",
    "unscaled_frobenius_norm", "unscaled_frobenius_norm_normalized", "lora_A_norm", "lora_B_norm",
    "spectral_norm", "stable_rank", "effective_rank", "participation_ratio", "energy_rank_90",
    "energy_rank_99", "relative_norm", "cosine_to_base", "mean", "variance", "abs_mean", "abs_variance",
    "max_abs", "relative_l1", "changed_fraction", "changed_fraction_1e-6", "changed_fraction_1e-5",
    *(f"merge_{n}_{grid}" for grid in ("bf16", "fp16", "fp8") for n in ("projection", "cosine", "error")),
    "status",
]  # fmt: skip
MODULES = {
    "self_attn.q_proj": (16, 16),
    "self_attn.v_proj": (8, 16),
    "mlp.up_proj": (24, 16),
    "mlp.down_proj": (16, 24),
}
TABLES = {
    "weight_norms_a.csv",
    "weight_norms_b.csv",
    "weight_norms_all_models.csv",
    "norms.parquet",
    "coverage.csv",
    "coverage.parquet",
    "similarity.csv",
    "similarity.parquet",
    "readout.json",
    "similarity_delta_cosine.csv",
    "similarity_norm_map_cosine.csv",
    "similarity_norm_map_spearman.csv",
    "distance_norm_map_l2.csv",
}


def lora(
    folder: Path, seed: int = 0, layers: int = 6, change: Callable[[dict[str, Any]], Any] | None = None
) -> Path:
    """A small PEFT LoRA folder; `change` may edit its tensors."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, Any] = {}
    for layer in range(layers):
        for module, (d_out, d_in) in MODULES.items():
            stem = f"base_model.model.model.layers.{layer}.{module}"
            tensors[f"{stem}.lora_A.weight"] = rng.normal(size=(2, d_in)).astype(np.float32)
            tensors[f"{stem}.lora_B.weight"] = (rng.normal(size=(d_out, 2)) * (layer + 1)).astype(np.float32)
    if change is not None:
        change(tensors)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4}))
    return folder


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    return lora(tmp_path / "one", 0), lora(tmp_path / "two", 1)


def test_prints_readout_and_top_of_the_table(run: Run, two: tuple[Path, Path]) -> None:
    ran = run("norms", two[0])
    assert ran.code == 0, ran.err
    assert "not a causal map" in ran.out
    assert "L5_ATTN_Q" in ran.out
    assert "48 of 48 tensors" in ran.out


def test_writes_the_whole_study(run: Run, two: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "study"
    ran = run("norms", f"a={two[0]}", f"b={two[1]}", "-o", out, "--focus-layer", "2")
    assert ran.code == 0, ran.err
    tables = {p.name for p in (out / "tables").iterdir()}
    assert tables == TABLES
    figures = {p.name for p in (out / "figures").iterdir()}
    stems = ["norm_heatmaps_normalized", "norm_heatmap_a_normalized", "norm_heatmap_b_normalized"]
    stems += ["layer_profiles", "top_components", "difference_b_minus_a"]
    assert figures == {*(f"{s}.{kind}" for s in stems for kind in ("png", "svg")), "captions.md"}
    with (out / "tables" / "weight_norms_a.csv").open() as file:
        assert next(csv.reader(file)) == FIRST
    record = json.loads((out / "study.json").read_text())
    assert record["schema_version"] == 1
    assert record["arguments"]["focus_layer"] == 2
    weights = record["sources"][0]["files"]
    assert any(
        f["file"] == "adapter_model.safetensors" and len(f["digest"]["value"]) == 64 and f["bytes"] > 0
        for f in weights
    )
    square = pl.read_csv(out / "tables" / "similarity_delta_cosine.csv")
    assert square.columns == ["model_id", "a", "b"]
    assert square["a"][0] == 1


def test_all_pictures_are_drawn_where_all_are_asked_for(
    run: Run, two: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "study"
    assert run("norms", f"a={two[0]}", f"b={two[1]}", "-o", out, "--figures", "svg,all").code == 0
    drawn = {path.stem for path in (out / "figures").glob("*.svg")}
    assert {"norm_heatmap_a_raw", "norm_heatmap_b_raw", "norm_heatmaps_raw"} <= drawn
    assert drawn == set(tunescope.read(out).figures())


def test_many_models_are_one_sheet_and_not_a_file_each(
    run: Run, two: tuple[Path, Path], tmp_path: Path
) -> None:
    sources = [f"m{k}={two[k % 2]}" for k in range(12)]
    assert run("norms", *sources, "-o", tmp_path / "s").code == 0
    drawn = {path.stem for path in (tmp_path / "s" / "figures").glob("*.png")}
    assert drawn == {"norm_heatmaps_normalized", "layer_profiles", "model_similarity"}


def test_limits_begin_where_they_are_asked_to(run: Run, two: tuple[Path, Path], tmp_path: Path) -> None:
    wanted = {"zero": r"colours from 0 to ", "data": r"colours from [1-9]"}
    for word, pattern in wanted.items():
        assert run("norms", two[0], "-o", tmp_path / word, "--limits", word).code == 0
        captions = (tmp_path / word / "figures" / "captions.md").read_text()
        assert re.search(pattern, captions), captions
    assert run("norms", two[0], "--limits", "sky").code == 2


def test_numbers_equal_a_dense_computation(run: Run, two: tuple[Path, Path], tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    assert run("norms", f"a={two[0]}", "-o", tmp_path / "s").code == 0
    rows = pl.read_csv(tmp_path / "s" / "tables" / "weight_norms_a.csv")
    tensors = load_file(two[0] / "adapter_model.safetensors")
    for row in rows.iter_rows(named=True):
        stem = f"base_model.model.model.layers.{row['layer']}.{row['module_type']}"
        A, B = (tensors[f"{stem}.lora_{x}.weight"].astype(np.float64) for x in "AB")
        values = np.linalg.svd(2.0 * B @ A, compute_uv=False)[:2]
        assert row["frobenius_norm"] == pytest.approx(np.linalg.norm(values), rel=1e-6)
        assert row["frobenius_norm_normalized"] == pytest.approx(
            np.linalg.norm(values) / len(B) ** 0.5, rel=1e-6
        )
        assert row["unscaled_frobenius_norm"] == pytest.approx(np.linalg.norm(values) / 2, rel=1e-6)
        assert row["spectral_norm"] == pytest.approx(values[0], rel=1e-6)
        assert row["stable_rank"] == pytest.approx((values**2).sum() / values[0] ** 2, rel=1e-6)
        assert (row["lora_rank"], row["lora_alpha"], row["scale"]) == (2, 4, 2)


def test_json_is_one_document(run: Run, two: tuple[Path, Path]) -> None:
    ran = run("norms", f"a={two[0]}", f"b={two[1]}", "--json")
    document = json.loads(ran.out)
    assert document["schema_version"] == 1
    assert document["metric"] == "frobenius_norm_normalized"
    model = document["models"]["a"]
    assert set(model) >= {"overall_mean", "family_means", "top_layers", "max_cell", "thirds"}
    assert model["top_layers"] == [5, 4, 3, 2, 1, 0]
    assert document["ratios"]["a/b"] == pytest.approx(1 / document["ratios"]["b/a"])


def test_json_prints_nothing_on_stdout_when_it_fails(run: Run, tmp_path: Path) -> None:
    ran = run("norms", tmp_path / "absent", "--json")
    assert (ran.code, ran.out) == (4, "")
    assert "not" in ran.err


def test_no_spectra_leaves_spectral_columns_empty(run: Run, two: tuple[Path, Path], tmp_path: Path) -> None:
    assert run("norms", f"a={two[0]}", "--no-spectra", "-o", tmp_path / "s").code == 0
    rows = pl.read_csv(tmp_path / "s" / "tables" / "weight_norms_a.csv")
    assert rows["stable_rank"].null_count() == rows.height
    assert rows["frobenius_norm"].null_count() == 0


def test_layers_and_modules_select(run: Run, two: tuple[Path, Path], tmp_path: Path) -> None:
    assert (
        run("norms", f"a={two[0]}", "--layers", "0,2-3", "--modules", "q_proj,mlp", "-o", tmp_path / "s").code
        == 0
    )
    rows = pl.read_csv(tmp_path / "s" / "tables" / "weight_norms_a.csv")
    assert set(rows["layer"]) == {0, 2, 3}
    assert set(rows["module_type"]) == {"self_attn.q_proj", "mlp.up_proj", "mlp.down_proj"}


@pytest.mark.parametrize(
    "metric", ["stable_rank", "spectral_norm", "lora_B_norm", "energy_rank_90", "lora_rank", "d_out"]
)
def test_metric_takes_any_numeric_column(
    run: Run, two: tuple[Path, Path], tmp_path: Path, metric: str
) -> None:
    ran = run("norms", f"a={two[0]}", "--metric", metric, "-o", tmp_path / "s")
    assert ran.code == 0, ran.err
    document = json.loads((tmp_path / "s" / "tables" / "readout.json").read_text())
    rows = pl.read_csv(tmp_path / "s" / "tables" / "weight_norms_a.csv")
    assert document["models"]["a"]["overall_mean"] == pytest.approx(rows[metric].mean())
    assert (tmp_path / "s" / "figures" / f"norm_heatmap_a_{metric}.png").exists()


@pytest.mark.parametrize("metric", ["lora_rank", "d_out", "stable_rank"])
def test_only_a_norm_is_called_a_change(run: Run, two: tuple[Path, Path], metric: str) -> None:
    ran = run("norms", f"a={two[0]}", "--metric", metric)
    assert ran.code == 0, ran.err
    assert ran.out.startswith("# What changed: ")
    assert "changed most" not in ran.out
    assert run("norms", f"a={two[0]}").out.startswith("# How much changed: ")


def test_scale_gives_the_scale_of_a_file_without_one(run: Run, real: Path, tmp_path: Path) -> None:
    source = real / "sam_lora_own-naming" / "lora_rank4.safetensors"
    assert run("norms", f"sam={source}", "-o", tmp_path / "without").code == 0
    assert run("norms", f"sam={source}", "--scale", "sam=0.5", "-o", tmp_path / "with").code == 0
    without, given = (
        pl.read_csv(tmp_path / s / "tables" / "weight_norms_sam.csv") for s in ("without", "with")
    )
    assert without["frobenius_norm"].null_count() == without.height > 0
    assert without["unscaled_frobenius_norm"].null_count() == 0
    np.testing.assert_allclose(given["frobenius_norm"], 0.5 * given["unscaled_frobenius_norm"])


@pytest.mark.parametrize(
    ("arguments", "slug"),
    [
        (["--metric", "frobenius"], "unknown-metric"),
        (["--metric", "module_type"], "unknown-metric"),
        (["--metric", "stable_rank", "--no-spectra"], "metric-not-measured"),
        (["--layers", "5-2"], "bad-layers"),
        (["--layers", "x"], "bad-layers"),
        (["--layers", "77"], "nothing-selected"),
        (["--layers", "0,31"], "layer 31"),
        (["--modules", "k_proj"], "nothing-selected"),
        (["--scale", "a"], "bad-scale"),
        (["--scale", "a=nan"], "bad-scale"),
        (["--scale", "z=1"], "unknown-label"),
    ],
)
def test_bad_arguments_are_usage_errors(
    run: Run, two: tuple[Path, Path], arguments: list[str], slug: str
) -> None:
    ran = run("norms", f"a={two[0]}", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert slug in ran.err


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (["--metric", "frobenius"], "--metric frobenius_norm"),
        (["--figures", "bmp"], "--figures png,svg"),
        (["--layers", "77"], "--layers 0"),
        (["--modules", "q_porj"], "--modules q_proj"),
    ],
)
def test_words_that_mean_nothing_are_refused_with_one_that_does(
    run: Run, two: tuple[Path, Path], tmp_path: Path, arguments: list[str], fix: str
) -> None:
    ran = run("norms", f"a={two[0]}", "-o", tmp_path / "out", *arguments)
    assert ran.code == 2
    assert fix in " ".join(ran.err.split())


def test_a_config_value_of_another_type_is_refused_with_what_to_write(
    run: Run, two: tuple[Path, Path]
) -> None:
    path = two[0] / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"r": "4"}))
    ran = run("check", two[0])
    assert ran.code == 3
    assert "number for r in the file" in " ".join(ran.err.split())


def test_same_label_twice_is_refused(run: Run, two: tuple[Path, Path]) -> None:
    assert run("norms", f"a={two[0]}", f"a={two[1]}").code == 2


def test_equal_folder_names_get_labels_of_their_own(run: Run, tmp_path: Path) -> None:
    specs = [lora(tmp_path / run_name / "checkpoint-10", seed) for seed, run_name in enumerate(("x", "y"))]
    document = json.loads(run("norms", *specs, "--json").out)
    assert list(document["models"]) == ["x", "y"]


def test_non_finite_values_never_enter_a_mean(run: Run, tmp_path: Path) -> None:
    def spoil(tensors: dict[str, Any]) -> None:
        tensors["base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"][0, 0] = np.nan
        tensors["base_model.model.model.layers.2.mlp.up_proj.lora_A.weight"][0, :3] = np.inf

    folder = lora(tmp_path / "a", change=spoil)
    ran = run("norms", f"a={folder}", "--strict", "-o", tmp_path / "s")
    assert ran.code == 1
    document = json.loads((tmp_path / "s" / "tables" / "readout.json").read_text())
    found = [f for f in document["findings"] if f["kind"] == "non_finite"]
    assert [f["components"] for f in found] == [["L1_MLP_UP", "L2_MLP_UP"]]
    assert "1 of 48 values of B" in found[0]["text"]
    assert document["models"]["a"]["n_excluded"] == 2
    assert np.isfinite(document["models"]["a"]["overall_mean"])


def test_a_scale_of_zero_leaves_no_spectrum(run: Run, two: tuple[Path, Path], tmp_path: Path) -> None:
    assert run("norms", f"a={two[0]}", "--scale", "a=0", "-o", tmp_path / "s").code == 0
    rows = pl.read_csv(tmp_path / "s" / "tables" / "weight_norms_a.csv")
    assert rows["frobenius_norm"].to_list() == [0.0] * rows.height
    assert rows["stable_rank"].is_nan().all()
    assert (rows["unscaled_frobenius_norm"] > 0).all()


def test_an_untrained_adapter_is_said_to_be_one(run: Run, tmp_path: Path) -> None:
    def zero(tensors: dict[str, Any]) -> None:
        for name in tensors:
            if "lora_B" in name:
                tensors[name] *= 0

    ran = run("norms", lora(tmp_path / "a", change=zero), "--json", "--strict")
    document = json.loads(ran.out)
    assert ran.code == 1
    assert [f["kind"] for f in document["findings"]] == ["untrained"]


def test_identical_sources_are_said_and_exit_0(run: Run, two: tuple[Path, Path]) -> None:
    ran = run("norms", f"a={two[0]}", f"b={two[0]}", "--json")
    document = json.loads(ran.out)
    assert ran.code == 0
    assert "duplicate" in [f["kind"] for f in document["findings"]]
    assert document["ratios"]["a/b"] == 1


def test_frozen_components_between_two_sources_are_said(run: Run, tmp_path: Path) -> None:
    kept: dict[str, Any] = {}
    first = lora(
        tmp_path / "a", 0, change=lambda t: kept.update({k: v for k, v in t.items() if "layers.3." in k})
    )
    second = lora(tmp_path / "b", 1, change=lambda t: t.update(kept))
    found = [
        f for f in json.loads(run("norms", first, second, "--json").out)["findings"] if f["kind"] == "frozen"
    ]
    assert [f["evidence"]["identical_components"] for f in found] == [4]


def test_collapsed_and_hot_components_are_said(run: Run, tmp_path: Path) -> None:
    def plant(tensors: dict[str, Any]) -> None:
        for name in tensors:
            if "lora_B" in name:
                tensors[name] /= np.linalg.norm(tensors[name])
        tensors["base_model.model.model.layers.2.mlp.up_proj.lora_B.weight"] *= 1e-4
        tensors["base_model.model.model.layers.4.self_attn.q_proj.lora_B.weight"] *= 30

    found = json.loads(run("norms", lora(tmp_path / "a", change=plant), "--json").out)["findings"]
    said = {(f["kind"], *f["components"]) for f in found}
    assert ("collapsed", "L2_MLP_UP") in said
    assert ("hot_cell", "L4_ATTN_Q") in said


def test_strangers_have_null_similarity_and_it_is_said(run: Run, tmp_path: Path) -> None:
    def rename(tensors: dict[str, Any]) -> None:
        for name in list(tensors):
            tensors[name.replace("layers.", "layers.5")] = tensors.pop(name)

    a, b = lora(tmp_path / "a"), lora(tmp_path / "b", 1, change=rename)
    assert run("norms", a, b, "-o", tmp_path / "s").code == 0
    document = json.loads((tmp_path / "s" / "tables" / "readout.json").read_text())
    assert "nothing_in_common" in [f["kind"] for f in document["findings"]]
    matrix = pl.read_csv(tmp_path / "s" / "tables" / "similarity_delta_cosine.csv")
    assert matrix["b"][0] is None


def test_strangers_among_many_are_said_once(run: Run, tmp_path: Path) -> None:
    """Ten strangers make 45 pairs."""
    folders = []
    for i in range(10):
        other = {f"base_model.model.only{i}.lora_{x}.weight": np.ones((2, 2), np.float32) for x in "AB"}
        folders.append(lora(tmp_path / f"m{i}", layers=0, change=lambda tensors, o=other: tensors.update(o)))
    document = json.loads(run("norms", *folders, "--json").out)
    strangers = [f for f in document["findings"] if f["kind"] == "nothing_in_common"]
    assert [f["models"] for f in strangers] == [[f"m{i}" for i in range(10)]]


def test_a_model_called_like_the_label_column_keeps_its_row(
    run: Run, two: tuple[Path, Path], tmp_path: Path
) -> None:
    assert run("norms", f"model_id={two[0]}", f"b={two[1]}", "-o", tmp_path / "s").code == 0
    matrix = pl.read_csv(tmp_path / "s" / "tables" / "similarity_delta_cosine.csv")
    assert matrix.rows()[0][:2] == ("model_id", 1.0)


def test_hostile_names_harm_nothing(run: Run, tmp_path: Path) -> None:
    def hostile(tensors: dict[str, Any]) -> None:
        A, B = np.ones((2, 16), np.float32), np.ones((16, 2), np.float32)
        for name in ("=cmd()|'x'!A1", "../../escape", "<script>alert(1)</script>", "\u202eevil\x1b[31m"):
            stem = f"base_model.model.model.layers.0.{name}"
            tensors[f"{stem}.lora_A.weight"], tensors[f"{stem}.lora_B.weight"] = A, B

    folder = lora(tmp_path / "a", change=hostile)
    ran = run("norms", f"<b>\u202e\x1b={folder}", "-o", tmp_path / "s", "--spreadsheet-safe")
    assert ran.code == 0, ran.err
    assert "\x1b" not in ran.out + ran.err
    assert "\u202e" not in ran.out
    assert not {"\x1b", "\u202e"} & set((tmp_path / "s" / "readout.md").read_text())
    assert "<script>" not in (tmp_path / "s" / "readout.md").read_text()
    rows = pl.read_csv(tmp_path / "s" / "tables" / "weight_norms_all_models.csv")
    assert not any(value.startswith("=") for value in rows["module_type"])
    assert all(p.is_relative_to(tmp_path / "s") for p in (tmp_path / "s").rglob("*"))
    assert {p.name for p in tmp_path.iterdir()} == {"a", "s"}


def test_existing_output_needs_overwrite_and_keeps_foreign_files(
    run: Run, two: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "s"
    assert run("norms", f"a={two[0]}", "-o", out).code == 0
    assert run("norms", f"a={two[0]}", "-o", out).code == 2
    (out / "notes.txt").write_text("mine")
    assert run("norms", f"b={two[1]}", "-o", out, "--overwrite").code == 0
    assert (out / "notes.txt").read_text() == "mine"
    assert not (out / "tables" / "weight_norms_a.csv").exists()
    assert (out / "tables" / "weight_norms_b.csv").exists()


def test_a_folder_of_somebody_else_is_never_overwritten(
    run: Run, two: tuple[Path, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("mine")
    ran = run("norms", two[0], "-o", other, "--overwrite")
    assert ran.code == 2
    assert [p.name for p in other.iterdir()] == ["thesis.tex"]


def test_an_output_without_parent_or_on_an_input_is_refused(
    run: Run, two: tuple[Path, Path], tmp_path: Path
) -> None:
    assert run("norms", two[0], "-o", tmp_path / "no" / "parent").code == 2
    assert run("norms", two[0], "-o", two[0]).code == 2
    assert run("norms", two[0], "-o", tmp_path, "--overwrite").code == 2


def test_a_failing_run_leaves_nothing(run: Run, two: tuple[Path, Path], tmp_path: Path) -> None:
    weights = two[1] / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    before = sorted(p.name for p in tmp_path.iterdir())
    assert run("norms", *two, "-o", tmp_path / "s").code == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_locked_output_is_refused_and_a_stale_lock_is_taken(
    run: Run, two: tuple[Path, Path], tmp_path: Path
) -> None:
    with held(tmp_path / "s"):
        lock = next(tmp_path.glob(".s.*.lock"))
        done = subprocess.run(
            command("norms", two[0], "-o", tmp_path / "s"), capture_output=True, check=False
        )
        assert done.returncode == 5
        assert str(os.getpid()).encode() in done.stderr
    lock.write_text("1 a-host-that-is-gone")
    assert run("norms", two[0], "-o", tmp_path / "s").code == 0
    assert not lock.exists()


def test_unknown_words_name_the_nearest(run: Run, two: tuple[Path, Path]) -> None:
    ran = run("norm", two[0])
    assert ran.code == 2
    assert "'norms'" in ran.err
    ran = run("norms", two[0], "--focus-layr", "2")
    assert ran.code == 2
    assert "--focus-layer" in ran.err


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tunescope", *map(str, arguments)]


def test_a_closed_pipe_is_quiet(two: tuple[Path, Path]) -> None:
    piped = subprocess.Popen(
        command("norms", two[0], "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert piped.stdout is not None
    piped.stdout.close()
    _, error = piped.communicate(timeout=600)
    assert piped.returncode in (0, 141)
    assert error == b""


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_killed_run_leaves_no_torn_output(
    two: tuple[Path, Path], tmp_path: Path, sent: int, code: int
) -> None:
    """The signal comes while the study is being written, which the hidden neighbour shows."""
    out = tmp_path / "s"
    script = (
        "import os, sys\n"
        "from tunescope.study import saving\n"
        "draw = saving._draw\n"
        f"saving._draw = lambda *a: (draw(*a), os.kill(os.getpid(), {int(sent)}))\n"
        "sys.argv = ['tunescope', 'norms', sys.argv[1], '-o', sys.argv[2]]\n"
        "from tunescope.cli import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(two[0]), str(out)], capture_output=True, timeout=600, check=False
    )
    assert done.returncode == code
    assert not out.exists()
    again = subprocess.run(command("norms", two[0], "-o", out), capture_output=True, timeout=600, check=False)
    assert again.returncode == 0, again.stderr
    assert (out / "study.json").exists()
    assert {p.name for p in tmp_path.iterdir()} == {"one", "two", "s"}


def test_help_and_import_load_nothing_heavy() -> None:
    code = (
        "import sys, tunescope\n"
        "sys.argv = ['tunescope', 'norms', '--help']\n"
        "from tunescope.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('numpy', 'torch', 'matplotlib', 'polars', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_reading_loads_neither_torch_nor_matplotlib_nor_scipy(two: tuple[Path, Path]) -> None:
    code = (
        "import sys, tunescope\n"
        f"tunescope.norms({str(two[0])!r})\n"
        "print([m for m in ('torch', 'matplotlib', 'pandas', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_one_adapter_loads_no_other_format_no_base_and_no_page(two: tuple[Path, Path]) -> None:
    other = ("formats.kohya", "formats.gguf", "tuners.vera", "whole", "hub")
    needless = [f"tunescope.source.{name}" for name in other] + ["tunescope.page.panels"]
    code = (
        f"import sys, tunescope\ntunescope.norms({str(two[0])!r})\nprint({{*{needless}}} & {{*sys.modules}})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_the_garbage_collector_is_awake_while_a_command_measures_and_not_before(
    two: tuple[Path, Path],
) -> None:
    code = (
        "import gc, sys\n"
        "from tunescope.cli import main\n"
        "while_loading = []\n"
        "import tunescope.study.options as options\n"
        "parsed = options.parse_formats\n"
        "options.parse_formats = lambda text: while_loading.append(gc.isenabled()) or parsed(text)\n"
        "import tunescope.questions.norms.study as study\n"
        "def norms(*_, **__):\n    print(while_loading, gc.isenabled())\n    sys.exit(0)\n"
        "study.norms = norms\n"
        f"sys.argv = ['tunescope', 'norms', {str(two[0])!r}]\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[False] True"


def test_progress_tells_of_the_pairs_of_models_too(two: tuple[Path, Path]) -> None:
    told: list[tuple[str, int, int]] = []
    tunescope.norms(*map(str, two), tell=lambda *step: told.append(step))
    assert {what for what, *_ in told} == {"measuring", "comparing models"}
    pairs = [step[1:] for step in told if step[0] == "comparing models"]
    assert pairs == [(m, 24) for m in range(24)]


def test_the_same_study_twice_is_the_same_bytes(run: Run, two: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("s", "t"):
        assert run("norms", f"a={two[0]}", f"b={two[1]}", "-o", tmp_path / name).code == 0
    for path in sorted((tmp_path / "s").rglob("*")):
        if path.is_file() and path.name != "study.json":
            assert path.read_bytes() == (tmp_path / "t" / path.relative_to(tmp_path / "s")).read_bytes(), (
                path.name
            )


def test_labels_of_ten_thousand_letters_are_cut_to_different_texts_and_kept_whole_in_the_data(
    run: Callable[..., Any], two: list[Path]
) -> None:
    labels = ["a" * 10_000, "a" * 5000 + "b" + "a" * 4999]
    sources = [f"{label}={path}" for label, path in zip(labels, two, strict=True)]
    ran = run("norms", *sources)
    assert ran.code == 0
    assert "a" * 201 not in ran.out + ran.err
    shown = {line.split(" | ")[0].strip("| ") for line in ran.out.splitlines() if line.startswith("| aaa")}
    assert len(shown) == 2
    assert list(json.loads(run("norms", *sources, "--json").out)["models"]) == labels
    again = run("norms", sources[0], sources[0])
    assert again.code == 2
    assert "is given twice" in again.err
    assert len(again.err) < 1000
    assert len(run("norms", two[0], f"--{labels[0]}").err) < 1000
