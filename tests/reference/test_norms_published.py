"""The published readout of four Gemma-2-2b adapters comes out of adapters that have their norms."""

import json
import math
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  (registers bfloat16 with NumPy)
import numpy as np
import polars as pl
import pytest

from tunescope.questions.norms.question import QUESTION
from tunescope.questions.norms.study import norms

METRIC = "unscaled_frobenius_norm_normalized"
PUBLISHED: dict[str, dict[str, Any]] = {
    "PT2_COREDe": {
        "overall": 0.000652, "mlp": 0.000675, "attention": 0.000636,
        "top": [24, 22, 20, 23, 19, 21], "cell": ("L24_ATTN_K", 0.001028), "focus": 23.1,
    },
    "PT3_COREDe": {
        "overall": 0.000786, "mlp": 0.000796, "attention": 0.000779,
        "top": [20, 22, 18, 19, 24, 21], "cell": ("L25_ATTN_Q", 0.001162), "focus": 26.9,
    },
    "PT3_COREUt": {
        "overall": 0.001244, "mlp": 0.001240, "attention": 0.001247,
        "top": [24, 23, 20, 22, 25, 21], "cell": ("L25_ATTN_K", 0.002537), "focus": 11.5,
    },
}  # fmt: skip


def write_adapter(folder: Path, rows: pl.DataFrame) -> Path:
    """A LoRA whose components have exactly the given ‖BA‖; rank 2 and a narrow input keep it small."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    tensors = {}
    for layer, module, norm, normalized in rows.select(
        "layer", "module_type", "frobenius_norm", "frobenius_norm_normalized"
    ).iter_rows():
        d_out = round((norm / normalized) ** 2)
        B, A = rng.normal(size=(d_out, 2)), rng.normal(size=(2, 16))
        B *= norm / np.linalg.norm(B @ A)
        stem = f"base_model.model.model.layers.{layer}.{module}"
        tensors[f"{stem}.lora_A.weight"] = A.astype(np.float32)
        tensors[f"{stem}.lora_B.weight"] = B.astype(np.float32)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 1, "target_modules": ["q_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def document(outside: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    table = pl.read_csv(outside / "reference" / "llm_morality_weight_norms_all_models.csv")
    root = tmp_path_factory.mktemp("published")
    specs = [
        f"{label}={write_adapter(root / label, table.filter(pl.col('model_id') == label))}"
        for label in PUBLISHED
    ]
    return dict(norms(specs, metric=METRIC, focus_layer=2).readout)


@pytest.mark.parametrize("label", PUBLISHED)
def test_readout_equals_the_published_one(document: dict[str, Any], label: str) -> None:
    mine, published = document["models"][label], PUBLISHED[label]
    assert mine["overall_mean"] == pytest.approx(published["overall"], rel=1e-3)
    assert mine["family_means"]["mlp"] == pytest.approx(published["mlp"], rel=1e-3)
    assert mine["family_means"]["attention"] == pytest.approx(published["attention"], rel=1e-3)
    assert mine["top_layers"] == published["top"]
    assert mine["max_cell"]["component_name"] == published["cell"][0]
    assert mine["max_cell"]["value"] == pytest.approx(published["cell"][1], rel=1e-3)
    assert mine["thirds"]["early"] < mine["thirds"]["middle"] < mine["thirds"]["late"]
    assert mine["focus_layer"]["mlp"]["percentile"] == pytest.approx(published["focus"], abs=0.05)


def test_ratios_equal_the_published_ones(document: dict[str, Any]) -> None:
    ratios = document["ratios"]
    assert round(ratios["PT3_COREDe/PT2_COREDe"], 2) == pytest.approx(1.20, abs=0.006)
    assert round(ratios["PT3_COREUt/PT2_COREDe"], 2) == pytest.approx(1.91, abs=0.006)
    assert round(ratios["PT3_COREUt/PT3_COREDe"], 2) == pytest.approx(1.58, abs=0.006)


def test_the_focus_layer_grows_across_the_models(document: dict[str, Any]) -> None:
    growth = [document["models"][label]["focus_layer"]["growth"] for label in PUBLISHED]
    assert growth[0] == 1 < growth[1] < growth[2]


def test_the_mass_lies_late_and_says_changed_not_matters(document: dict[str, Any]) -> None:
    (late,) = [f for f in document["findings"] if f["kind"] == "late_layers"]
    assert late["models"] == list(PUBLISHED)
    assert not any("matter" in f["text"] for f in document["findings"])


def test_the_published_csv_is_a_source_and_is_not_recomputed(outside: Path) -> None:
    path = outside / "reference" / "llm_morality_weight_norms_all_models.csv"
    study = norms([str(path)])
    theirs = pl.read_csv(path)
    mine = study.table.frame
    assert mine["frobenius_norm"].to_list() == theirs["frobenius_norm"].to_list()
    assert study.readout["models"]["PT2_COREDe"]["top_layers"] == PUBLISHED["PT2_COREDe"]["top"]
    assert math.isclose(study.readout["ratios"]["PT3_COREUt/PT2_COREDe"], 1.91, abs_tol=0.006)


def test_heatmap_of_the_gemma_shape_is_26_by_7(outside: Path) -> None:
    from tunescope.questions.norms.views import heatmaps

    path = outside / "reference" / "llm_morality_weight_norms_all_models.csv"
    study = norms([str(path)])
    (grid,) = heatmaps(study.table.frame, "PT2_COREDe", "frobenius_norm_normalized")
    assert grid.columns == ("Gate", "Up", "Down", "Q", "K", "V", "O")
    assert grid.rows == tuple(f"L{i}" for i in range(26))
    assert not np.isnan(grid.values).any()


def test_the_published_norms_are_called_what_they_are(outside: Path) -> None:
    path = outside / "reference" / "llm_morality_weight_norms_all_models.csv"
    study = norms([str(path)], focus_layer=2)
    text = QUESTION.words(study)
    assert study.readout["metric"] == METRIC
    assert text.startswith("# How much changed: ‖BA‖_F / √d_out (scale not applied)")
    assert "PT2_COREDe: mean ‖BA‖/√d_out 0.000652" in text
    assert "‖ΔW‖" not in text
    assert "scale included" not in text
    assert "‖BA‖, without the adapter's scale, which another column of it has applied" in text
    assert "effective_scale" not in text.partition("## Ratios")[0]


def test_asked_for_by_the_name_of_its_column_a_published_norm_is_still_without_its_scale(
    outside: Path,
) -> None:
    path = outside / "reference" / "llm_morality_weight_norms_all_models.csv"
    study = norms([str(path)], metric="frobenius_norm")
    assert study.readout["metric"] == "unscaled_frobenius_norm"
    theirs = pl.read_csv(path).filter(pl.col("model_id") == "PT2_COREDe")["frobenius_norm"].mean()
    assert study.readout["models"]["PT2_COREDe"]["overall_mean"] == pytest.approx(theirs, rel=1e-12)
