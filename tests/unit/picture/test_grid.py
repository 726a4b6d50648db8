"""Views order, label and limit without drawing."""

import math

import numpy as np
import polars as pl
import pytest

from tunescope.picture.style import new_figure
from tunescope.questions.norms import views as view
from tunescope.questions.norms.measure import frame
from tunescope.questions.norms.summary import readout, thirds


def row(model: str, layer: int | None, module: str, value: float | None, **more: object) -> dict[str, object]:
    family = "mlp" if module.startswith("mlp") else "attention"
    return {
        "model_id": model,
        "layer": layer,
        "module_type": module,
        "component_name": f"L{layer}_{module}",
        "frobenius_norm_normalized": value,
        "unscaled_frobenius_norm": value,
        "stack": "model",
        "family": family,
        "status": "ok",
        **more,
    }


def test_columns_come_in_the_usual_order_and_missing_cells_are_nan() -> None:
    modules = ["self_attn.o_proj", "mlp.down_proj", "self_attn.q_proj", "mlp.gate_proj"]
    rows = [row("m", layer, module, 1.0 + layer) for layer in (0, 2) for module in modules]
    rows = [r for r in rows if not (r["layer"] == 2 and r["module_type"] == "mlp.gate_proj")]
    (grid,) = view.heatmaps(frame(rows), "m", "frobenius_norm_normalized")
    assert grid.columns == ("Gate", "Down", "Q", "O")
    assert grid.rows == ("L0", "L2")
    assert math.isnan(grid.values[1, 0])
    assert grid.limits == (0.0, 3.0)


def test_a_non_finite_cell_is_broken_and_not_in_the_limits() -> None:
    rows = [row("m", 0, "mlp.up_proj", math.nan), row("m", 1, "mlp.up_proj", 2.0)]
    (grid,) = view.heatmaps(frame(rows), "m", "frobenius_norm_normalized")
    assert grid.broken.tolist() == [[True], [False]]
    assert grid.limits == (0.0, 2.0)


def test_experts_are_averaged_and_the_column_says_so() -> None:
    rows = [row("m", 0, "mlp.experts.w1", v, expert=e) for e, v in enumerate((1.0, 3.0))]
    (grid,) = view.heatmaps(frame(rows), "m", "frobenius_norm_normalized")
    assert grid.columns == ("Gate (mean)",)
    assert grid.values.tolist() == [[2.0]]


def test_stacks_and_modules_outside_blocks_have_grids_of_their_own() -> None:
    rows = [
        row("m", 0, "attn.q", 1.0, stack="encoder"),
        row("m", 0, "attn.q", 1.0, stack="decoder"),
        row("m", None, "lm_head", 5.0, stack="decoder"),
    ]
    titles = [g.title for g in view.heatmaps(frame(rows), "m", "frobenius_norm_normalized")]
    assert titles == ["m · encoder", "m · decoder", "m · decoder · outside blocks"]


def test_unknown_scale_draws_the_unscaled_norm_and_says_so() -> None:
    rows = [row("m", 0, "mlp.up_proj", None, unscaled_frobenius_norm_normalized=4.0)]
    (grid,) = view.heatmaps(frame(rows), "m", "frobenius_norm_normalized")
    assert "scale not applied" in grid.label
    assert grid.values.tolist() == [[4.0]]


def test_differences_are_centred_and_over_common_components() -> None:
    rows = [row("a", 0, "mlp.up_proj", 1.0), row("b", 0, "mlp.up_proj", 3.0), row("b", 1, "mlp.up_proj", 9.0)]
    (grid,) = view.differences(frame(rows), "a", "b", "frobenius_norm_normalized")
    assert grid.values.tolist() == [[2.0]]
    assert grid.limits == (-2.0, 2.0)


@pytest.mark.parametrize(("n", "sizes"), [(3, (1, 1, 1)), (7, (3, 2, 2)), (26, (9, 9, 8)), (4, (2, 1, 1))])
def test_thirds_are_cut_at_the_ceilings(n: int, sizes: tuple[int, int, int]) -> None:
    layers = pl.DataFrame({"layer": range(n), "mean": np.arange(n, dtype=float)})
    edges = np.cumsum([0, *sizes])
    expected = [np.arange(edges[i], edges[i + 1]).mean() for i in range(3)]
    assert list(thirds(layers).values()) == pytest.approx(expected)


def test_readout_of_a_model_without_values_is_null_and_does_not_fail() -> None:
    rows = frame([row("m", 0, "mlp.up_proj", None)])
    document = readout(rows, ["m", "empty"], "frobenius_norm_normalized", [], focus=0)
    assert document["models"]["m"]["overall_mean"] is None
    assert document["models"]["empty"]["top_layers"] == []
    assert document["ratios"] == {"m/empty": None, "empty/m": None}


def test_a_figure_shows_itself_in_a_notebook_that_knows_no_pyplot() -> None:
    assert new_figure(2.0, 1.0)._repr_png_().startswith(b"\x89PNG")
