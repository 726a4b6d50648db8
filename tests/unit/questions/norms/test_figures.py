"""Figures draw on given axes, name their colour bar, and survive hostile labels."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure
from safetensors.numpy import save_file

import tunescope
from tunescope.errors import UsageError
from tunescope.picture.grid import heatmap
from tunescope.picture.profiles import far_apart, profile
from tunescope.picture.style import figure_of, save
from tunescope.picture.views import Grid, Line, Profile
from tunescope.questions.norms.alike import same_values
from tunescope.questions.norms.page import content
from tunescope.questions.norms.question import QUESTION
from tunescope.study.study import Study
from tunescope.table import Table


@pytest.fixture(scope="module")
def study() -> Study:
    from tunescope.questions.norms.measure import frame

    rows = [
        {
            "model_id": model,
            "layer": i,
            "module_type": module,
            "component_name": f"L{i}_{module}",
            "stack": "model",
            "family": "mlp" if module.startswith("mlp") else "attention",
            "frobenius_norm_normalized": 0.1 * (i + 1),
            "status": "ok",
        }
        for model in ("a", "b")
        for i in range(4)
        for module in ("self_attn.q_proj", "mlp.up_proj")
    ]
    return drawn_from(frame(rows))


def drawn_from(frame: pl.DataFrame) -> Study:
    readout = {"metric": "frobenius_norm_normalized", "models": {"a": {}, "b": {}}, "findings": []}
    return Study(QUESTION, {"norms": Table(frame, "norms")}, readout, {"shared_scale": False})


def test_heatmap_draws_on_the_axes_given(study: Study) -> None:
    ax = Figure().add_subplot()
    assert study.figure("norm_heatmap_a_normalized", ax=ax) is ax.get_figure()
    image = ax.images[0].get_array()
    np.testing.assert_allclose(image[:, 0], 0.1 * np.arange(1, 5))
    assert [t.get_text() for t in ax.get_xticklabels()] == ["Up", "Q"]
    assert ax.get_title() == "a"


def test_colour_bar_names_the_measure(study: Study) -> None:
    figure = study.figure("norm_heatmap_b_normalized")
    (bar,) = figure.axes[0].child_axes
    assert bar.get_ylabel().replace("\n", " ") == "‖ΔW‖_F / √d_out (unit of the weights)"
    assert [text.get_text() for text in bar.get_yticklabels()][:2] == ["0", "0.1"]


def test_one_panel_of_several_draws_on_the_axes_given(study: Study) -> None:
    ax = Figure().add_subplot()
    study.figure("layer_profiles/mlp", ax=ax)
    assert len(ax.lines) == 2
    bars = Figure().add_subplot()
    study.figure("top_components/a", ax=bars)
    assert len(bars.patches) == 8


def test_wrong_names_are_usage_errors_that_list_the_right_ones(study: Study) -> None:
    with pytest.raises(UsageError, match="norm_heatmap_a_normalized"):
        study.figure("heatmap")
    for name in ("layer_profiles/norm", "layer_profiles"):
        with pytest.raises(UsageError, match="layer_profiles/mlp"):
            study.figure(name, ax=Figure().add_subplot())


def test_broken_cells_are_marked_and_absent_ones_pale() -> None:
    values = np.array([[1.0, np.nan], [np.nan, 2.0]])
    broken = np.array([[False, True], [False, False]])
    grid = Grid("t", ("L0", "L1"), ("Q", "K"), values, broken, "norm", (0.0, 2.0))
    ax = heatmap(grid)
    (crosses,) = ax.lines
    corners = crosses.get_xydata()
    assert np.nanmin(corners, axis=0).tolist() == [0.5, -0.5]
    assert np.nanmax(corners, axis=0).tolist() == [1.5, 0.5]
    # Around the cell and along both diagonals.
    assert np.isnan(corners[:, 0]).sum() == 3


def test_hostile_labels_give_valid_files(tmp_path: Path) -> None:
    name = "$\\frac{<script>\x1b\u202e" + "x" * 500
    grid = Grid(name, (name,), (name,), np.ones((1, 1)), np.zeros((1, 1), bool), "norm", (0.0, 1.0))
    png, svg = save(figure_of(heatmap(grid)), tmp_path / "f", ("png", "svg"))
    assert png.read_bytes().startswith(b"\x89PNG")
    ElementTree.fromstring(svg.read_text())
    assert "<script>" not in svg.read_text()


def test_models_far_apart_are_told_from_near_ones() -> None:
    assert far_apart([np.array([1.0]), np.array([50.0])])
    assert not far_apart([np.array([1.0]), np.array([5.0])])
    assert not far_apart([np.array([0.0]), np.array([50.0])])


def test_a_table_without_values_has_no_pictures(study: Study) -> None:
    missing = pl.lit(None, pl.Float64).alias("frobenius_norm_normalized")
    assert not drawn_from(study.table.frame.with_columns(missing)).figures()


def test_profiles_label_whole_layers_and_plain_numbers() -> None:
    """One layer alone has no halves beside it; far-apart models share a logarithmic axis without markup."""
    one = profile(Profile("mlp", (Line("a", np.array([9]), np.array([2.0])),), "size"))
    figure_of(one).canvas.draw()
    assert [t.get_text() for t in one.get_xticklabels()] == ["8", "9", "10"]
    lines = tuple(Line(n, np.array([0, 1]), v * np.array([1.0, 2.0])) for n, v in (("a", 1.0), ("b", 200.0)))
    far = profile(Profile("mlp", lines, "size"))
    figure_of(far).canvas.draw()
    assert "100" in [t.get_text() for t in far.get_yticklabels()]


def adapter(folder: Path, rng: np.random.Generator, module: str = "self_attn.q_proj") -> list[np.ndarray]:
    """Five layers of rank 2 with a scale of 4; the products BA."""
    tensors, products = {}, []
    for layer in range(5):
        B, A = (rng.normal(size=shape).astype(np.float32) for shape in ((4, 2), (2, 6)))
        stem = f"base_model.model.model.layers.{layer}.{module}"
        tensors |= {f"{stem}.lora_A.weight": A, f"{stem}.lora_B.weight": B}
        products.append(B.astype(np.float64) @ A)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 8, "target_modules": [module.split(".")[-1]]}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return products


@pytest.mark.parametrize("suffix", ["", "_normalized"])
@pytest.mark.parametrize("known", ["", "unscaled_"])
def test_every_picture_is_of_the_metric_that_was_asked_for(tmp_path: Path, known: str, suffix: str) -> None:
    rng = np.random.default_rng(0)
    products = {label: adapter(tmp_path / label, rng) for label in "ab"}
    metric = f"{known}frobenius_norm{suffix}"
    study = tunescope.norms(tmp_path / "a", tmp_path / "b", metric=metric)
    name = f"{'‖BA‖_F' if known else '‖ΔW‖_F'}{' / √d_out' * bool(suffix)}"
    captions = study.figures()
    drawn = "raw" if not suffix else "normalized"
    assert next(iter(captions)) == f"norm_heatmaps_{drawn}"
    for figure in (f"norm_heatmaps_{drawn}", f"norm_heatmap_a_{drawn}", "layer_profiles", "top_components",
                   "difference_b_minus_a"):  # fmt: skip
        assert f"{name} " in captions[figure], figure
    scale = (1.0 if known else 4.0) / (2.0 if suffix else 1.0)
    expected = [scale * np.linalg.norm(product) for product in products["b"]]
    ax = Figure().add_subplot()
    study.figure(f"norm_heatmap_b_{drawn}", ax=ax)
    np.testing.assert_allclose(ax.images[0].get_array()[:, 0], expected, rtol=1e-6)
    assert content(study).panels[0].measures[0].column == metric


@pytest.mark.parametrize(("module", "told"), [("self_attn.q_proj", False), ("mlp.experts.0.up_proj", True)])
def test_the_page_says_of_experts_that_a_cell_is_their_mean(tmp_path: Path, module: str, told: bool) -> None:
    adapter(tmp_path / "a", np.random.default_rng(0), module)
    caption = content(tunescope.norms(tmp_path / "a")).panels[0].caption
    assert ("of experts the layer's mean" in caption) is told


def test_a_model_that_did_not_change_has_no_ranking_and_no_difference(study: Study) -> None:
    size = pl.col("frobenius_norm_normalized")
    still = pl.when(pl.col("model_id") == "b").then(0.0).otherwise(size).alias(size.meta.output_name())
    drawn = {
        drawing.name: drawing for drawing in drawn_from(study.table.frame.with_columns(still)).drawings()
    }
    assert list(drawn["top_components"].panels) == ["a"]
    assert not any(name.startswith("difference") for name in drawn)
    assert any(name.startswith("difference") for name in study.figures())


@pytest.mark.parametrize(("changed", "pictures"), [(1.0, []), (0.1, ["same_values"])])
def test_shared_values_are_drawn_where_not_all_changed(
    study: Study, changed: float, pictures: list[str]
) -> None:
    """Of models in which every value changed, the share of the same ones is 1 whatever they learned."""
    row = {"model_a": "a", "model_b": "b", "values": 100, "changed_a": changed, "changed_b": changed}
    row |= {"common": changed * 0.9 if changed < 1 else 1.0, "common_chance_given_weight": changed**2}
    held = study.tables | {"similarity_changed": Table(pl.DataFrame([row]), "similarity_changed")}
    assert [d.name for d in same_values(replace(study, tables=held), ["a", "b"])] == pictures
