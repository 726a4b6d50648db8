"""`tunescope trajectory` from captures, from adapters, from whole models, and with bad input."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from tunescope.cli.frame import framed
from tunescope.questions.trajectory.command import COMMAND
from tunescope.table import Table, read_parquet
from tunescope.training.recording import SCHEMA, Recording

Run = Callable[..., Any]
LAYERS = 9
MODULES = {"self_attn.q_proj": "ATTN_Q", "mlp.up_proj": "MLP_UP"}


def capture(
    folder: Path,
    factors: str = "AB",
    size: float = 1.0,
    steps: Sequence[int] = (0, 10, 20, 30),
    finish: bool = True,
) -> Path:
    """A captured run in which ‖ΔW‖ grows with step and layer."""
    recording = Recording(folder, {})
    folder.mkdir(parents=True)
    recording.begin(0)
    for step in steps:
        rows = [
            {
                "step": step, "epoch": step / 40, "stack": "model", "layer": layer, "module_type": module,
                "component_name": f"L{layer}_{name}", "factor": factor, "numel": 64,
                "mean": 1e-5 * size * step * (1 if factor == "A" else -2), "variance": 1e-9 * step,
                "abs_mean": 1e-4 * size * step * (layer + 1), "abs_variance": 1e-9 * step,
                "delta_frobenius_norm": 0.01 * size * step * (layer + 1),
                "learning_rate": 2e-4, "loss": 3 - step / 20,
            }
            for layer in range(LAYERS) for module, name in MODULES.items() for factor in factors
        ]  # fmt: skip
        recording.append(step, pl.DataFrame(rows, schema=SCHEMA))
    if finish:
        recording.finish()
    return folder


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two domains at two rates."""
    root = tmp_path_factory.mktemp("sweep") / "runs"
    for i, domain in enumerate(("cpp", "math solutions")):
        for rate in ("2e-4", "1e-3"):
            capture(root / domain / f"lr-{rate}" / "seed-0", size=1.0 + i + (rate == "1e-3"))
    return root


@pytest.fixture(scope="module")
def out(sweep: Path) -> Path:
    """The study of that sweep."""
    folder = sweep.parent / "out"
    assert (
        framed(COMMAND).main([str(sweep), "-o", str(folder), "--figures", "png,svg"], standalone_mode=False)
        == 0
    )
    return folder


def adapters(folder: Path, steps: Sequence[int], *, seed: int = 0, max_steps: int = 100) -> Path:
    """A folder of PEFT checkpoints whose B grows in one direction."""
    rng = np.random.default_rng(seed)
    base = {
        (layer, part): rng.normal(size=shape).astype(np.float32)
        for layer in range(LAYERS) for part, shape in (("lora_A", (4, 16)), ("lora_B", (12, 4)))
    }  # fmt: skip
    config = {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj"],
        "task_type": "CAUSAL_LM",
    }
    for step in steps:
        path = folder / f"checkpoint-{step}"
        path.mkdir(parents=True)
        tensors = {
            f"base_model.model.model.layers.{layer}.self_attn.q_proj.{part}.weight": value
            * np.float32(step / 100 if part == "lora_B" else 1)
            for (layer, part), value in base.items()
        }
        save_file(tensors, path / "adapter_model.safetensors")
        (path / "adapter_config.json").write_text(json.dumps(config))
        log = [{"step": s, "loss": 2.0 + seed / 10 - s / 200} for s in steps if s <= step]
        state = {"global_step": step, "max_steps": max_steps, "epoch": step / 50, "log_history": log}
        (path / "trainer_state.json").write_text(json.dumps(state))
    return folder


def whole_models(folder: Path, steps: Sequence[int]) -> Path:
    """A folder of full checkpoints: weights, a bias and a norm."""
    rng = np.random.default_rng(5)
    start = {f"model.layers.{i}.mlp.up_proj.weight": rng.normal(size=(8, 6)) for i in range(LAYERS)}
    start |= {"model.layers.0.mlp.up_proj.bias": rng.normal(size=8), "model.norm.weight": np.ones(6)}
    drift = {name: rng.normal(size=value.shape) for name, value in start.items()}
    for step in steps:
        path = folder / f"checkpoint-{step}"
        path.mkdir(parents=True)
        tensors = {n: (w + step / 1000 * drift[n]).astype(np.float32) for n, w in start.items()}
        save_file(tensors, path / "model.safetensors")
        (path / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": 90}))
    return folder


def frames(path: Path) -> int:
    with Image.open(path) as image:
        return int(getattr(image, "n_frames", 1))


def kinds(out: Path) -> list[str]:
    return [f["kind"] for f in json.loads((out / "tables" / "readout.json").read_text())["findings"]]


def test_a_sweep_becomes_a_gallery(out: Path) -> None:
    names = {p.name for p in (out / "figures").iterdir()}
    for stem in (
        "2e-4_all",
        "1e-3_all",
        "2e-4_cpp",
        "1e-3_cpp",
        "2e-4_math-solutions",
        "1e-3_math-solutions",
    ):
        for statistic in ("mean", "abs_mean"):
            assert {f"{stem}_{statistic}.{kind}" for kind in ("gif", "apng", "png", "svg")} <= names
            assert frames(out / "figures" / f"{stem}_{statistic}.gif") == 4
            assert frames(out / "figures" / f"{stem}_{statistic}.apng") == 4
    assert {"2e-4_cpp_norm.png", "2e-4_cpp_norm.svg"} <= names
    assert json.loads((out / "study.json").read_text())["kind"] == "trajectory"


def test_the_table_of_layers_has_the_published_columns(out: Path) -> None:
    table = pl.read_csv(out / "tables" / "motion_by_layer.csv")
    assert table.columns == [
        "model_id", "step", "layer", "domain", "learning_rate", "seed", "epoch", "factor", "mean", "mean_std",
        "abs_mean", "abs_mean_std", "variance", "abs_variance", "n_matrices", "reference",
    ]  # fmt: skip
    row = table.filter(
        (pl.col("model_id") == "cpp/lr-2e-4/seed-0")
        & (pl.col("step") == 30)
        & (pl.col("layer") == 2)
        & (pl.col("factor") == "all")
    ).to_dicts()[0]
    assert (row["domain"], row["learning_rate"], row["seed"], row["epoch"]) == ("cpp", 2e-4, 0, 0.75)
    assert row["mean"] == pytest.approx(1e-5 * 30 * -0.5)
    assert row["mean_std"] == pytest.approx(1e-5 * 30 * 1.5)
    assert row["abs_mean"] == pytest.approx(1e-4 * 30 * 3)
    assert (row["n_matrices"], row["reference"]) == (4, "start")


def test_results_show_all_domains_first_and_every_image_exists(out: Path) -> None:
    text = (out / "results.md").read_text()
    headings = [line for line in text.splitlines() if line.startswith("#")]
    rates = ["### Learning rate 2e-4", "### Learning rate 1e-3"]
    assert headings == ["# Results", "## All domains", *rates, "## cpp", *rates, "## math solutions", *rates]
    links = [part.split(")")[0] for part in text.split("](")[1:]]
    assert len(links) == 12 + 4
    for link in links:
        assert (out / link).is_file()
    assert (
        text.index("2e-4_cpp_mean.gif")
        < text.index("2e-4_cpp_abs_mean.gif")
        < text.index("1e-3_cpp_mean.gif")
    )
    # Nine layers on one straight line: too few, in four runs, to tell a third from neighbours that are alike.
    assert "In none of these runs does a third of the layers stand out." in text


def test_a_killed_run_shows_what_was_recorded(run: Run, tmp_path: Path) -> None:
    folder = capture(tmp_path / "alone", finish=False)
    ran = run("trajectory", folder, "-o", tmp_path / "out")
    assert ran.code == 0
    assert frames(tmp_path / "out" / "figures" / "alone_mean.gif") == 4


def test_adapters_are_read_after_the_fact(run: Run, tmp_path: Path) -> None:
    folder = adapters(tmp_path / "my-run", (25, 50, 75, 100))
    ran = run("trajectory", folder, "-o", tmp_path / "out", "--json")
    document = json.loads(ran.out)
    assert ran.code == 0
    assert document["schema_version"] == 1
    assert document["runs"]["my-run"]["cosine_to_last"] == pytest.approx([1, 1, 1, 1])
    assert document["findings"] == []
    assert frames(tmp_path / "out" / "figures" / "my-run_abs_mean.gif") == 4
    motion = pl.read_parquet(tmp_path / "out" / "tables" / "motion.parquet")
    assert dict(motion.select("factor", "reference").unique().iter_rows()) == {
        "A": "first_checkpoint",
        "B": "zero",
    }


def test_checkpoints_are_told_by_the_digests_of_their_weights(run: Run, tmp_path: Path) -> None:
    folder = adapters(tmp_path / "my-run", (25, 50))
    (folder / "checkpoint-25" / "optimizer.pt").write_bytes(b"not looked at")

    def source(out: str) -> dict[str, Any]:
        assert run("trajectory", folder, "-o", tmp_path / out, "--figures", "none", "--no-report").code == 0
        return json.loads((tmp_path / out / "study.json").read_text())["sources"][0]

    first = source("one")
    assert [entry["file"] for entry in first["files"]] == [
        f"checkpoint-{step}/{name}"
        for step in (25, 50)
        for name in ("adapter_config.json", "adapter_model.safetensors")
    ]
    assert first["digest"]["kind"] == "sha256_of_list(sha256)"
    adapters(tmp_path / "other", (25, 50), seed=1)
    shutil.copytree(tmp_path / "other", folder, dirs_exist_ok=True)
    assert source("two")["digest"] != first["digest"]


def test_a_given_start_is_what_everything_counts_from(run: Run, tmp_path: Path) -> None:
    folder = adapters(tmp_path / "my-run", (50, 75, 100))
    start = adapters(tmp_path / "begin", (25,)) / "checkpoint-25"
    ran = run("trajectory", folder, "--start", start, "--json")
    norms = json.loads(ran.out)["runs"]["my-run"]["delta_frobenius_norm"]
    assert json.loads(ran.out)["runs"]["my-run"]["references"] == ["start"]
    assert norms[1] / norms[0] == pytest.approx(2)
    assert norms[2] / norms[0] == pytest.approx(3)


def test_whole_models_count_from_the_first_checkpoint(run: Run, tmp_path: Path) -> None:
    folder = whole_models(tmp_path / "full", (30, 60, 90))
    ran = run("trajectory", folder, "-o", tmp_path / "out")
    assert ran.code == 0
    table = pl.read_csv(tmp_path / "out" / "tables" / "motion_by_layer.csv")
    layers = table.filter(pl.col("layer").is_not_null())
    assert layers["reference"].unique().to_list() == ["first_checkpoint"]
    assert sorted(layers["factor"].unique()) == ["W", "all"]
    assert layers["n_matrices"].unique().to_list() == [1]
    assert (tmp_path / "out" / "figures" / "full_mean.gif").is_file()


def test_planted_seams_are_found_at_the_first_checkpoint_of_the_later_run(run: Run, tmp_path: Path) -> None:
    adapters(tmp_path / "mixed", (20, 40))
    adapters(tmp_path / "mixed", (60, 80), seed=1)
    ran = run("trajectory", tmp_path / "mixed", "--json", "--strict")
    (seam,) = [f for f in json.loads(ran.out)["findings"] if f["kind"] == "seam"]
    assert seam["step"] == 60
    assert seam["evidence"]["cosine"] < 0.2
    assert ran.code == 1


def test_lora_is_held_against_full_fine_tuning(run: Run, tmp_path: Path) -> None:
    for name, factors in (("lora", "AB"), ("full", "W")):
        capture(tmp_path / name / "cpp" / "lr-2e-4" / "seed-0", factors)
    ran = run(
        "trajectory", f"small={tmp_path / 'lora'}", f"whole={tmp_path / 'full'}", "-o", tmp_path / "out"
    )
    document = json.loads((tmp_path / "out" / "tables" / "readout.json").read_text())
    families = {r["family"]: r for r in document["lora_as_proxy"]}
    assert set(families) == {"attention", "mlp", "all"}
    assert families["mlp"]["spearman"] == pytest.approx(1.0)
    assert families["mlp"]["n_layers"] == LAYERS
    # Two slopes over depth: so smooth that any two would agree.
    assert families["mlp"]["interval_95"] == [-1, 1]
    assert "lora_as_proxy" not in [f["kind"] for f in document["findings"]]
    assert ran.code == 0, ran.err
    assert "LoRA as a proxy" in (tmp_path / "out" / "results.md").read_text()


def test_a_half_written_checkpoint_is_skipped_aloud(run: Run, tmp_path: Path) -> None:
    folder = adapters(tmp_path / "my-run", (25, 50, 75))
    (folder / "checkpoint-75" / "trainer_state.json").unlink()
    ran = run("trajectory", folder, "-o", tmp_path / "out")
    assert ran.code == 0
    assert "checkpoint-75 is half written" in ran.err
    assert frames(tmp_path / "out" / "figures" / "my-run_mean.gif") == 2
    assert kinds(tmp_path / "out") == ["half_written"]
    assert run("trajectory", folder / "checkpoint-75").code == 3


@pytest.mark.parametrize(
    "flags",
    [("--fps", v) for v in ("0", "-1", "nan", "inf", "x")] + [("--hold", v) for v in ("-1", "1e9", "nan")],
)
def test_numbers_that_cannot_be_are_refused_with_their_range(
    run: Run, sweep: Path, tmp_path: Path, flags: tuple[str, str]
) -> None:
    ran = run("trajectory", sweep, "-o", tmp_path / "out", *flags)
    assert ran.code == 2
    assert not (tmp_path / "out").exists()
    assert flags[0] in ran.err


def test_what_is_not_there_and_what_holds_no_run(run: Run, tmp_path: Path) -> None:
    assert run("trajectory", tmp_path / "absent").code == 4
    (tmp_path / "empty").mkdir()
    ran = run("trajectory", tmp_path / "empty")
    assert ran.code == 3
    assert "no-run" in ran.err
    assert ran.out == ""
    assert run("trajectory").code == 2


def test_a_torn_checkpoint_leaves_no_output(run: Run, tmp_path: Path) -> None:
    folder = adapters(tmp_path / "my-run", (25, 50))
    weights = folder / "checkpoint-50" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    ran = run("trajectory", folder, "-o", tmp_path / "out")
    assert ran.code == 3
    assert "checkpoint-50" in ran.err
    assert not (tmp_path / "out").exists()


def test_a_capture_that_is_none_is_named(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "capture.parquet"
    file.write_bytes(b"PAR1 not really PAR1")
    assert run("trajectory", tmp_path).code == 3
    pl.DataFrame({"step": [1], "mean": [0.0]}).write_parquet(file)
    ran = run("trajectory", file)
    assert ran.code == 3
    assert "bad-capture" in ran.err
    assert "abs_mean" in ran.err


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (lambda f: f.with_columns(factor=pl.lit("Z")), "unknown factor"),
        (lambda f: f.with_columns(step=pl.lit(None, pl.Int64)), "without a step"),
        (lambda f: pl.concat([f, f]), "L0_ATTN_Q (A) at step 0"),
        (
            lambda f: f.with_columns(epoch=pl.when(pl.int_range(pl.len()) == 0).then(7.0).otherwise("epoch")),
            "one step in two epochs",
        ),
        (lambda f: f.drop("mean").with_columns(pl.col("numel").cast(pl.String)), "mean is missing, numel is"),
    ],
)
def test_a_capture_with_rows_that_cannot_be_is_refused(
    run: Run, tmp_path: Path, spoilt: Callable[[pl.DataFrame], pl.DataFrame], said: str
) -> None:
    folder = capture(tmp_path / "run")
    found = read_parquet(folder / "capture.parquet")
    Table(spoilt(found.frame), found.kind, found.meta).write_parquet(folder / "capture.parquet")
    ran = run("trajectory", folder)
    assert (ran.code, ran.out) == (3, "")
    assert "bad-capture" in ran.err
    assert said in ran.err


def test_two_checkpoints_of_one_step_are_refused(run: Run, tmp_path: Path) -> None:
    folder = adapters(tmp_path / "my-run", (25, 50))
    shutil.copytree(folder / "checkpoint-50", folder / "checkpoint-050")
    ran = run("trajectory", folder)
    assert ran.code == 3
    assert "checkpoint-050 and checkpoint-50" in ran.err


def test_a_checkpoint_without_weights_is_skipped_aloud(run: Run, tmp_path: Path) -> None:
    folder = adapters(tmp_path / "my-run", (25, 50, 75))
    (folder / "checkpoint-75" / "adapter_model.safetensors").unlink()
    ran = run("trajectory", folder)
    assert ran.code == 0
    assert "checkpoint-75 is half written (no adapter or model weights)" in ran.out


def test_a_single_capture_is_told_as_one(run: Run, tmp_path: Path) -> None:
    """At step zero nothing has moved yet, which is no finding."""
    out = tmp_path / "out"
    assert run("trajectory", capture(tmp_path / "run", steps=(0,)), "-o", out).code == 0
    assert kinds(out) == []
    text = (out / "results.md").read_text()
    assert "one capture, at step 0; ‖ΔW‖ 0; training loss 3;" in text
    assert "by layer, 1 capture; at step 0" in text


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_a_warning_not_a_crash(run: Run, tmp_path: Path, bad: float) -> None:
    folder = adapters(tmp_path / "my-run", (25, 50, 75))
    path = folder / "checkpoint-75" / "adapter_model.safetensors"
    tensors = load_file(path)
    next(t for n, t in tensors.items() if "lora_B" in n)[0, 0] = bad
    save_file(tensors, path)
    ran = run("trajectory", folder, "-o", tmp_path / "out", "--strict")
    assert ran.code == 1
    assert kinds(tmp_path / "out") == ["diverged"]
    json.loads((tmp_path / "out" / "tables" / "readout.json").read_text(), parse_constant=pytest.fail)


def test_a_start_that_belongs_to_another_model_is_refused(run: Run, tmp_path: Path) -> None:
    folder = adapters(tmp_path / "my-run", (25, 50))
    other = whole_models(tmp_path / "other", (1,)) / "checkpoint-1"
    ran = run("trajectory", folder, "--start", other)
    assert ran.code == 3
    assert "start-unrelated" in ran.err


def test_weights_that_come_go_or_change_shape_are_named(run: Run, tmp_path: Path) -> None:
    folder = whole_models(tmp_path / "full", (30, 60, 90))
    path = folder / "checkpoint-30" / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.norm.weight"], tensors["model.layers.1.mlp.up_proj.weight"]
    tensors["model.layers.0.mlp.up_proj.weight"] = np.ones((5, 6), dtype=np.float32)
    tensors["lm_head.weight"] = np.ones((7, 6), dtype=np.float32)
    save_file(tensors, path)
    ran = run("trajectory", folder, "-o", tmp_path / "out")
    assert ran.code == 0
    assert "LM_HEAD, L1_MLP_UP and NORM (3 in all)" in ran.err
    assert "L0_MLP_UP (1 in all)" in ran.err
    motion = pl.read_parquet(tmp_path / "out" / "tables" / "motion.parquet")
    steps = motion.filter((pl.col("layer") == 0) & (pl.col("module_type") == "mlp.up_proj"))["step"]
    assert steps.to_list() == [60, 90]


def test_adapters_and_whole_models_do_not_make_one_run(run: Run, tmp_path: Path) -> None:
    folder = adapters(tmp_path / "my-run", (25, 50))
    whole_models(folder, (75,))
    ran = run("trajectory", folder)
    assert ran.code == 3
    assert "mixed-checkpoints" in ran.err


def test_an_output_that_exists_is_kept_unless_told(run: Run, sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("trajectory", sweep / "cpp" / "lr-2e-4", "-o", out).code == 0
    assert run("trajectory", sweep / "cpp" / "lr-2e-4", "-o", out).code == 2
    assert run("trajectory", sweep / "cpp" / "lr-2e-4", "-o", out, "--overwrite").code == 0


def test_help_ends_with_examples(run: Run) -> None:
    ran = run("trajectory", "--help")
    assert ran.code == 0
    assert "tunescope trajectory runs/ -o trajectory/" in ran.out


def test_whole_checkpoints_say_at_every_step_how_many_values_differ(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(20, 10)).astype(np.float32)
    for step in (10, 20, 30):
        path = folder / f"step_{step}"
        path.mkdir(parents=True)
        save_file({"model.layers.0.mlp.up_proj.weight": weights}, path / "model.safetensors")
        weights = weights.copy()
        weights[step // 10] += 1
    ran = run("trajectory", folder, "-o", tmp_path / "out", "--json")
    assert ran.code == 0
    table = pl.read_csv(tmp_path / "out" / "tables" / "motion_by_step.csv")
    assert table["changed_fraction"].to_list() == pytest.approx([0, 0.05, 0.1])
    assert "start_missing" in kinds(tmp_path / "out")
    assert "step_#" in json.loads(ran.out)["runs"]["run"]["order"]


def test_scale_gives_the_scale_of_checkpoints_that_do_not_say_it(run: Run, tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    B, A = generator.normal(size=(8, 2)).astype(np.float32), generator.normal(size=(2, 6)).astype(np.float32)
    for step in (100, 200):
        stem = "model.layers.0.self_attn.q_proj"
        factors = {f"{stem}.lora_a": A.T.copy(), f"{stem}.lora_b": (B * np.float32(step)).T.copy()}
        save_file(factors, tmp_path / f"{step:07d}_adapters.safetensors")
    out = tmp_path / "out"
    done = run("trajectory", f"mine={tmp_path}", "--scale", "mine=0.5", "-o", out, "--figures", "none")
    assert done.code == 0, done.err
    table = pl.read_csv(out / "tables" / "motion.csv").filter(pl.col("factor") == "B")
    expected = [0.5 * step * float(np.linalg.norm(B.astype(np.float64) @ A)) for step in (100, 200)]
    assert table["delta_frobenius_norm"].to_list() == pytest.approx(expected, rel=1e-6)
    unknown = run("trajectory", f"mine={tmp_path}", "--scale", "other=0.5")
    assert unknown.code == 2
    assert "unknown-label" in unknown.err


def test_the_page_says_the_order_and_what_changes_count_from(tmp_path: Path, run: Run) -> None:
    run_folder = capture(tmp_path / "run", steps=(0, 10, 30))
    assert run("trajectory", run_folder, "-o", tmp_path / "out", "--figures", "none").code == 0
    readout = (tmp_path / "out" / "readout.md").read_text()
    said = next(line for line in readout.splitlines() if "Δ counts from" in line)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Δ counts from" in page
    assert said.partition("; Δ")[0].removeprefix("- ") in page


def test_the_terminal_says_of_every_run_its_rates_its_half_way_step_its_turn_and_its_leading_layers(
    tmp_path: Path, run: Run
) -> None:
    generator = np.random.default_rng(3)
    B, A = generator.normal(size=(8, 2)).astype(np.float32), generator.normal(size=(2, 6)).astype(np.float32)
    for step, rate in ((100, 3e-4), (200, 1e-4)):
        folder = tmp_path / "mine" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        held = {}
        for layer in range(4):
            stem = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
            held |= {f"{stem}.lora_A.weight": A, f"{stem}.lora_B.weight": B * np.float32(step * (1 + layer))}
        save_file(held, folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(
            json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2})
        )
        log = [{"step": step, "learning_rate": rate, "loss": 2.0}]
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": log, "global_step": step}))
    ran = run("trajectory", tmp_path / "mine")
    assert ran.code == 0, ran.err
    header, _, row = (line.split("|")[1:-1] for line in ran.out.splitlines() if line.startswith("|"))
    cells = dict(zip((c.strip() for c in header), (c.strip() for c in row), strict=True))
    assert cells["learning rate first → last"] == "0.0003 → 0.0001"
    assert cells["steps first → last"] == "100 → 200"
    assert cells["half of that"] == "by its first capture, step 100 (50%)"
    assert cells["cosine of first and last ΔW"] == "1.00"
    assert cells["largest in layers"] == "3, 2, 1"
    assert "which layers move first (2 captures of 5 needed)" in ran.out
    assert "Δ counts from zero in B and from the first checkpoint in A, for want of" in ran.out
    assert "in the trainer's log; whether it still fell is told from 12 on." in ran.out
