"""`tunescope norms TUNED… --base BASE`: planted edits of whole models with known answers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

import tunescope

Run = Callable[..., Any]
Tensors = dict[str, np.ndarray]
D, LAYERS = 48, 3
Q, UP, NORM = (
    "model.layers.{}.self_attn.q_proj.weight", "model.layers.{}.mlp.up_proj.weight",
    "model.layers.{}.input_layernorm.weight",
)  # fmt: skip
EMBED = "model.embed_tokens.weight"


def base_weights(kind: Any = np.float32) -> Tensors:
    draw = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {EMBED: (100, D)}
    for k in range(LAYERS):
        shapes |= {Q.format(k): (D, D), UP.format(k): (2 * D, D), NORM.format(k): (D,)}
    return {
        name: (0.02 * draw.standard_normal(s)).astype(np.float32).astype(kind) for name, s in shapes.items()
    }


def saved(folder: Path, tensors: Tensors, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def measured(tmp_path: Path, base: Tensors, tuned: Tensors, **options: Any) -> pl.DataFrame:
    folders = [saved(tmp_path / name, tensors) for name, tensors in (("base", base), ("tuned", tuned))]
    return tunescope.norms(folders[1], base=folders[0], **options).table.frame


def row(frame: pl.DataFrame, name: str) -> dict[str, Any]:
    """The row of one tensor, by its module type and layer."""
    parts = name.removeprefix("model.").removesuffix(".weight")
    layer = int(parts.split(".")[1]) if parts.startswith("layers.") else None
    kind = parts.split(".", 2)[-1] if layer is not None else parts
    match = (pl.col("module_type") == kind) & pl.col("layer").eq_missing(pl.lit(layer, pl.Int64))
    return frame.filter(match).row(0, named=True)


def test_only_norm_layers_changed(tmp_path: Path) -> None:
    base = base_weights()
    tuned = base | {NORM.format(k): base[NORM.format(k)] + np.float32(0.25) for k in range(LAYERS)}
    frame = measured(tmp_path, base, tuned)
    assert frame.height == len(base)
    for k in range(LAYERS):
        found = row(frame, NORM.format(k))
        assert found["frobenius_norm"] == pytest.approx(0.25 * np.sqrt(D), rel=1e-6)
        assert found["frobenius_norm_normalized"] == pytest.approx(0.25, rel=1e-6)
        assert (found["family"], found["changed_fraction"]) == ("norm", 1.0)
    still = frame.filter(pl.col("family") != "norm")
    assert still["frobenius_norm"].to_list() == [0.0] * still.height
    assert set(still["relative_norm"].to_list()) == {0.0}


def test_a_change_of_low_rank_shows_its_rank(tmp_path: Path) -> None:
    base, draw = base_weights(), np.random.default_rng(1)
    planted = (draw.standard_normal((D, 2)) @ draw.standard_normal((2, D))).astype(np.float32)
    tuned = base | {Q.format(1): base[Q.format(1)] + planted}
    for spectra in ("top", "full"):
        found = row(measured(tmp_path / spectra, base, tuned, spectra=spectra), Q.format(1))
        values = np.linalg.svd(planted.astype(float), compute_uv=False)
        assert found["spectral_norm"] == pytest.approx(values[0], rel=1e-5)
        assert found["stable_rank"] == pytest.approx((values**2).sum() / values[0] ** 2, rel=1e-5)
        assert found["energy_rank_99"] == 2


def test_no_spectra_of_whole_models_unless_asked(tmp_path: Path) -> None:
    base = base_weights()
    frame = measured(tmp_path, base, {name: value + np.float32(0.1) for name, value in base.items()})
    assert frame["spectral_norm"].null_count() == frame.height


def test_one_row_of_a_table(tmp_path: Path) -> None:
    base = base_weights()
    tuned = base | {EMBED: base[EMBED].copy()}
    tuned[EMBED][7] += np.float32(0.5)
    found = row(measured(tmp_path, base, tuned), EMBED)
    assert found["changed_fraction"] == 1 / 100
    assert found["frobenius_norm"] == pytest.approx(0.5 * np.sqrt(D), rel=1e-5)
    assert found["max_abs"] == pytest.approx(0.5, rel=1e-5)


def test_a_layer_scaled_by_a_tenth(tmp_path: Path) -> None:
    base = base_weights()
    found = row(
        measured(tmp_path, base, base | {UP.format(2): base[UP.format(2)] * np.float32(1.1)}), UP.format(2)
    )
    assert found["relative_norm"] == pytest.approx(0.1, rel=1e-5)
    assert found["relative_l1"] == pytest.approx(0.1, rel=1e-5)
    assert found["cosine_to_base"] == pytest.approx(1.0, abs=1e-9)


def test_the_noise_of_rounding_to_bfloat16_is_no_changed_value(tmp_path: Path) -> None:
    base = base_weights()
    frame = measured(tmp_path, base, {name: value.astype(ml_dtypes.bfloat16) for name, value in base.items()})
    assert frame["changed_fraction"].to_list() == [0.0] * frame.height
    assert all("dtypes differ" in status for status in frame["status"])
    assert 1e-4 < frame["relative_norm"].max() < 2.0**-8  # type: ignore[operator]


def test_sparse_steps_count_exactly(tmp_path: Path) -> None:
    base = base_weights(ml_dtypes.bfloat16)
    tuned = base | {Q.format(0): base[Q.format(0)].copy()}
    tuned[Q.format(0)].reshape(-1)[::16] *= 2
    found = row(measured(tmp_path, base, tuned), Q.format(0))
    assert found["changed_fraction"] == 1 / 16


def test_the_same_model_is_all_zeros(run: Run, tmp_path: Path) -> None:
    folder = saved(tmp_path / "base", base_weights())
    done = run("norms", f"a={folder}", "--base", folder, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["models"]["a"]["overall_mean"] == 0


def test_a_nan_is_counted_and_stays_out_of_every_mean(tmp_path: Path) -> None:
    base = base_weights()
    tuned = {name: value + np.float32(0.1) for name, value in base.items()}
    tuned[Q.format(0)][0, 0] = np.nan
    folders = [saved(tmp_path / n, t) for n, t in (("base", base), ("tuned", tuned))]
    study = tunescope.norms(folders[1], base=folders[0])
    assert row(study.table.frame, Q.format(0))["status"] == "non-finite: 1 value of W or W'"
    assert study.readout["models"]["tuned"]["n_excluded"] == 1
    assert np.isfinite(study.readout["models"]["tuned"]["overall_mean"])


def test_a_resized_vocabulary_is_a_row_with_a_status(run: Run, tmp_path: Path) -> None:
    base = base_weights()
    tuned = base | {EMBED: np.vstack([base[EMBED] + 1, base[EMBED][:4]])}
    frame = measured(tmp_path, base, tuned)
    found = row(frame, EMBED)
    assert found["frobenius_norm"] is None
    assert found["status"].startswith("shapes differ: 100×48 in the base, 104×48")
    aligned = tunescope.norms(tmp_path / "tuned", base=tmp_path / "base", align_vocab=True).table.frame
    assert row(aligned, EMBED)["frobenius_norm"] == pytest.approx(np.sqrt(100 * D), rel=1e-5)
    assert run("norms", tmp_path / "tuned", "--align-vocab").code == 2


def test_an_adapter_and_a_full_fine_tune_stand_in_one_study(tmp_path: Path) -> None:
    base, draw = base_weights(), np.random.default_rng(3)
    A, B = draw.standard_normal((2, D)).astype("f4"), 0.01 * draw.standard_normal((D, 2)).astype("f4")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    module = "base_model.model." + Q.format(1).removesuffix(".weight")
    save_file(
        {f"{module}.lora_A.weight": A, f"{module}.lora_B.weight": B}, adapter / "adapter_model.safetensors"
    )
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    merged = base | {Q.format(1): base[Q.format(1)] + 2 * B @ A}
    folders = [saved(tmp_path / n, t) for n, t in (("base", base), ("merged", merged))]
    study = tunescope.norms(f"adapter={adapter}", f"full={folders[1]}", base=folders[0])
    similarity = study.tables["similarity"].frame.row(0, named=True)
    assert similarity["delta_cosine"] == pytest.approx(1.0, abs=1e-6)
    norms = [row(study.table.frame.filter(pl.col("model_id") == m), Q.format(1)) for m in ("adapter", "full")]
    assert norms[0]["frobenius_norm"] == pytest.approx(norms[1]["frobenius_norm"], rel=1e-5)


def test_two_whole_models_compare(tmp_path: Path) -> None:
    base = base_weights()
    one, other = ({n: v + np.float32(s) for n, v in base.items()} for s in (0.5, -0.25))
    folders = [saved(tmp_path / n, t) for n, t in (("base", base), ("one", one), ("other", other))]
    study = tunescope.norms(*folders[1:], base=folders[0])
    assert study.tables["similarity"].frame["delta_cosine"].to_list() == pytest.approx([-1.0])


def test_the_ledger_has_every_tensor_of_both(run: Run, tmp_path: Path) -> None:
    base = base_weights()
    tuned = dict(base) | {"model.extra.weight": np.ones((2, 2), "f4")}
    folders = [saved(tmp_path / n, t) for n, t in (("base", base), ("tuned", tuned))]
    done = run("norms", folders[1], "--base", folders[0], "-o", tmp_path / "study", "--figures", "none")
    assert done.code == 0, done.err
    coverage = pl.read_csv(tmp_path / "study" / "tables" / "coverage.csv")
    counts = dict(coverage.group_by("model_id").len().iter_rows())
    assert counts == {"tuned": len(tuned), "base": len(base)}
    record = json.loads((tmp_path / "study" / "study.json").read_text())
    assert [source["label"] for source in record["sources"]] == ["tuned", "base"]


def test_a_whole_model_without_its_base_is_refused_with_a_way_on(run: Run, tmp_path: Path) -> None:
    done = run("norms", saved(tmp_path / "tuned", base_weights()))
    assert done.code == 3
    assert "--base" in done.err


@pytest.mark.parametrize("spectra", ["some", ""])
def test_an_unknown_choice_of_spectra_is_a_usage_error(run: Run, spectra: str, tmp_path: Path) -> None:
    assert run("norms", tmp_path, "--spectra", spectra).code == 2


def test_rl_like_steps_of_two_seeds_are_no_finding_and_a_shared_choice_is(tmp_path: Path) -> None:
    draw = np.random.default_rng(8)
    W = (0.02 * draw.standard_normal((256, 256))).astype(ml_dtypes.bfloat16)
    base = {Q.format(0): W}
    chosen = draw.random(W.shape) < 0.1

    def stepped(seed: int, size: Any, where: Any = True) -> Tensors:
        signs = np.random.default_rng(seed).choice([-1, 1], size=W.shape).astype("f4")
        return {Q.format(0): (W.astype("f4") + np.where(where, size * signs, 0)).astype(W.dtype)}

    def kinds(first: Tensors, second: Tensors, name: str) -> tuple[set[str], dict[str, Any]]:
        folders = [
            saved(tmp_path / name / n, t) for n, t in (("base", base), ("one", first), ("two", second))
        ]
        study = tunescope.norms(*folders[1:], base=folders[0])
        row = study.tables["similarity_changed"].frame.row(0, named=True)
        shown = [row["overlap"], row["overlap_chance_given_weight"]]
        if shown[1] < 0.995:  # what chance alone explains is not drawn
            drawn = [image.get_array() for image in study.figure("same_values").axes[0].images[::2]]
            assert [values[0, 1] for values in drawn] == pytest.approx(shown)
        return {f.kind for f in study.findings}, row

    found, row = kinds(stepped(1, 3e-5), stepped(2, 3e-5), "rounding")
    assert "same_values" not in found
    assert row["overlap"] > 0.98
    assert row["overlap_chance_given_weight"] > 0.97
    columns = np.exp(draw.standard_normal((1, 256)))
    found, row = kinds(stepped(1, 3e-5 * columns), stepped(2, 3e-5 * columns), "columns")
    assert "same_values" not in found
    assert row["overlap"] - row["overlap_chance"] > 0.2
    found, row = kinds(stepped(1, 3e-3, chosen), stepped(2, 3e-3, chosen), "chosen")
    assert "same_values" in found
    assert row["overlap_chance_given_weight"] < 0.2


def test_a_checkpoint_that_is_its_base_is_said_to_be_identical_and_not_untrained(tmp_path: Path) -> None:
    base = base_weights()
    study = tunescope.norms(f"t={saved(tmp_path / 'tuned', base)}", base=saved(tmp_path / "base", base))
    found = {f.kind: f for f in study.findings}
    assert "untrained" not in found
    assert "equals the base in everything compared" in found["unchanged"].text
    assert found["unchanged"].severity == "note"


def test_an_empty_tensor_is_not_called_unchanged(tmp_path: Path) -> None:
    base = base_weights() | {"model.empty.weight": np.zeros((0, 4), np.float32)}
    tuned = {name: value + np.float32(0.01) for name, value in base.items()}
    study = tunescope.norms(f"t={saved(tmp_path / 'tuned', tuned)}", base=saved(tmp_path / "base", base))
    assert not {"untrained", "unchanged"} & {f.kind for f in study.findings}


def test_experts_that_one_side_stacks_and_the_other_numbers_compare_one_by_one(tmp_path: Path) -> None:
    draw, owner = np.random.default_rng(5), "model.layers.0.mlp.experts"
    parts = {"gate_proj": (6, 8), "up_proj": (6, 8), "down_proj": (8, 6)}
    one = {(e, p): draw.standard_normal(s).astype(np.float32) for e in range(3) for p, s in parts.items()}
    numbered = {f"{owner}.{e}.{p}.weight": values for (e, p), values in one.items()}
    numbered["model.norm.weight"] = np.ones(8, np.float32)
    both = np.stack([np.concatenate([one[e, "gate_proj"], one[e, "up_proj"]]) for e in range(3)])
    both[1, 6:] += np.float32(0.5)
    down = np.stack([one[e, "down_proj"] for e in range(3)])
    stacked = {f"{owner}.gate_up_proj": both, f"{owner}.down_proj": down}
    stacked["model.norm.weight"] = numbered["model.norm.weight"]
    for base, tuned, name in ((numbered, stacked, "a"), (stacked, numbered, "b")):
        frame = measured(tmp_path / name, base, tuned)
        moved = frame.filter(pl.col("frobenius_norm") > 0)
        assert (frame.height, moved.height) == (10, 1)
        row = moved.row(0, named=True)
        assert (row["module_type"], row["expert"], row["changed_fraction"]) == ("mlp.experts.up_proj", 1, 1.0)
        assert row["frobenius_norm"] == pytest.approx(0.5 * np.sqrt(48), rel=1e-5)


def test_dense_experts_beside_mxfp4_are_a_row_with_a_status(tmp_path: Path) -> None:
    name, norm = "model.layers.0.mlp.experts.gate_up_proj", {"model.norm.weight": np.ones(8, np.float32)}
    codes = {
        f"{name}_blocks": np.zeros((2, 6, 1, 4), np.uint8),
        f"{name}_scales": np.zeros((2, 6, 1), np.uint8),
    }
    dense = {name: np.ones((2, 8, 6), np.float32)}
    for base, tuned, kind in ((codes, dense, "a"), (dense, codes, "b")):
        frame = measured(tmp_path / kind, base | norm, tuned | norm)
        (row,) = frame.filter(pl.col("module_type") == "mlp.experts.gate_up_proj").iter_rows(named=True)
        assert row["frobenius_norm"] is None
        assert row["status"] == "quantised (mxfp4): its numbers are codes, not weights"
