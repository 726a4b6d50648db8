"""What the φ figure shows, how models are ordered, and what is said about them."""

import numpy as np
import polars as pl
import pytest

from tunescope.address import Address
from tunescope.questions.subspace import views as view
from tunescope.questions.subspace.kinds import THRESHOLDS
from tunescope.questions.subspace.measure import SUMMARY_SCHEMA
from tunescope.questions.subspace.summary import subspace_readout


def addresses(layers: int, modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")) -> list[Address]:
    return [Address("model", k, f"self_attn.{m}") for k in range(layers) for m in modules]


def figure(shown: list[Address], shape: tuple[int, int] = (64, 64), **options: object) -> view.PhiFigure:
    values = {a: np.full(shape, 0.5) for a in shown}
    settings = {"of": "A", "plain": False, "vmax": None, "controls": {768: np.zeros(shape)}} | options
    return view.phi_figure(shown, values, **settings)  # type: ignore[arg-type]


def test_four_layers_of_q_and_v_stand_in_two_rows_of_four() -> None:
    chosen = [a for a in addresses(96) if a.layer in (0, 31, 63, 95) and "k_proj" not in a.module_type]
    shown, partly = view.panels_shown(chosen, layers=True, modules=True)
    titles = [[panel.title for panel in row] for row in figure(shown).rows]
    q, v = "$A_{q}$", "$A_{v}$"
    assert titles == [
        [f"Layer 0: {q}", f"Layer 0: {v}", f"Layer 31: {q}", f"Layer 31: {v}"],
        [f"Layer 63: {q}", f"Layer 63: {v}", f"Layer 95: {q}", f"Layer 95: {v}"],
    ]
    assert not partly
    update = figure(shown, of="delta")
    assert update.rows[0][0].title == "Layer 0: $\\Delta W_{q}$"


def test_without_a_choice_four_layers_over_the_depth_and_query_and_value_are_shown() -> None:
    shown, partly = view.panels_shown(addresses(32), layers=False, modules=False)
    assert sorted({a.layer for a in shown if a.layer is not None}) == [0, 10, 21, 31]
    assert {a.component for a in shown} == {"ATTN_Q", "ATTN_V"}
    assert partly


def test_the_modules_of_a_layer_stand_in_network_order() -> None:
    modules = ["mlp.down_proj", "mlp.gate_proj", "mlp.up_proj", "self_attn.v_proj", "self_attn.q_proj"]
    shown, _ = view.panels_shown([Address("model", 0, m) for m in modules], layers=True, modules=True)
    assert [a.module_type.split(".")[1][0] for a in shown] == ["q", "v", "g", "u", "d"]


def test_modules_without_layers_are_shown_too() -> None:
    shown, _ = view.panels_shown([Address("model", None, "lm_head")], layers=False, modules=False)
    assert figure(shown).rows[0][0].title == "$A$ Lm head"


def test_the_title_names_matrix_ranks_and_the_second_model_by_a_prime() -> None:
    shown = addresses(1)[:1]
    assert figure(shown).formula == "$\\phi(A_{r=64},\\ A'_{r=64},\\ i,\\ j)$"
    ranks = figure(shown, (8, 64), plain=True)
    assert ranks.formula == "$\\phi(A_{r=8},\\ A_{r=64},\\ i,\\ j)$"
    assert figure(shown, of="delta").formula.startswith("$\\phi(\\Delta W_{r=64}")


def test_clipping_is_counted() -> None:
    shown = addresses(1)[:1]
    assert figure(shown, vmax=0.4).clipped == 1.0
    assert figure(shown, vmax=0.8).clipped == 0.0
    assert figure(shown).vmax == 1.0


def test_every_dimension_of_the_panels_has_a_control_of_its_own() -> None:
    shown = addresses(1)[:1]
    assert [panel.title for panel in figure(shown).controls] == ["Random Gaussian"]
    several = figure(shown, controls={896: np.zeros((4, 4)), 128: np.ones((4, 4))})
    assert [panel.title.split()[-1] for panel in several.controls] == ["$d=896$", "$d=128$"]


def test_seven_modules_of_one_layer_stand_in_two_rows() -> None:
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert [len(row) for row in figure(addresses(1, names)).rows] == [4, 3]
    assert [len(row) for row in figure(addresses(2, names)).rows] == [7, 7]


def test_the_gaussian_control_has_the_grids_shape_and_lies_at_chance() -> None:
    control = view.gaussian_control(200, 100, (8, 4), "A", "input")
    assert control.shape == (8, 4)
    assert control[-1, -1] == pytest.approx(8 / 100, abs=0.06)


def summary(rows: list[dict[str, object]]) -> pl.DataFrame:
    keys = {"model_a": "a", "model_b": "b", "stack": "model", "status": "ok", "layer": 0}
    return pl.DataFrame([keys | {"module_type": "self_attn.q_proj"} | row for row in rows], SUMMARY_SCHEMA)


def test_models_that_are_alike_come_to_stand_beside_each_other() -> None:
    alike = {("a", "c"), ("b", "d")}
    rows = [
        {"model_a": a, "model_b": b, "excess_output": 0.9 if (a, b) in alike else 0.1}
        for k, a in enumerate("abcd")
        for b in "abcd"[k + 1 :]
    ]
    overall, per_layer = view.model_matrices(summary(rows), "abcd", "output")
    order = "".join(overall.labels)
    assert any(pair in order for pair in ("ac", "ca"))
    assert any(pair in order for pair in ("bd", "db"))
    assert per_layer.labels == overall.labels
    np.testing.assert_array_equal(overall.values, overall.values.T)


def test_a_pair_without_numbers_is_nan_and_still_ordered() -> None:
    rows = [{"model_a": "a", "model_b": "b", "excess_output": 0.5}]
    overall = view.model_matrices(summary(rows), "abc", "output")[0]
    assert np.isnan(overall.values).sum() == 4


def test_the_readout_counts_what_was_not_compared() -> None:
    rows = [{"finding": "same_run", "inner": 3.0, "norm_a": 2.0, "norm_b": 3.0, "overlap_output": 0.5}]
    rows.append({"status": "only in b", "layer": 1})
    document = subspace_readout(summary(rows), [], THRESHOLDS)
    (pair,) = document["pairs"]
    assert (pair["n_components"], pair["n_compared"]) == (2, 1)
    assert pair["not_compared"] == {"only in b": 1}
    assert pair["delta_cosine"] == 0.5
    assert pair["length_ratio"] == 1.5


def test_overlaps_above_chance_are_on_one_scale_in_all_pairs() -> None:
    rows = [("a", "b", 0.12, 0.31), ("a", "c", 0.02, None), ("b", "c", -0.01, 0.08), ("a", "a", 1.0, 1.0)]
    frame = pl.DataFrame(
        [
            {
                "model_a": a, "model_b": b, "stack": "model", "layer": 0, "module_type": "q_proj",
                "expert": None, "component_name": "L0_ATTN_Q", "status": "ok",
                "excess_input": low, "excess_output": high,
            }
            for a, b, low, high in rows
        ],
        schema_overrides={"expert": pl.Int64},
    )  # fmt: skip
    pairs = (("a", "b"), ("a", "c"), ("b", "c"))
    assert {grid.limits for pair in pairs for grid in view.excess_maps(frame, *pair)} == {(0.0, 0.35)}
    assert {grid.limits for pair in pairs for grid in view.excess_maps(frame, *pair, "data")} == {
        (-0.01, 0.31)
    }
