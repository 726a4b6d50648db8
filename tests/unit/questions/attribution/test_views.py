"""Attribution as pictures and sentences: sums, differences, planted outliers, thresholds."""

import numpy as np
import polars as pl
import pytest

from tunescope.questions.attribution.views import (
    caption,
    checks,
    difference,
    difference_maps,
    maps,
    outliers,
    ranked,
    scatter,
)

MODULES = ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj")


def cells(layers=3, attribution=None, change=None, stderr=0.001):
    """A frame of every module in every layer, and an embedding outside them."""
    rng = np.random.default_rng(0)
    rows = [("model", i, m, None, f"L{i}_{m[-6:].upper()}") for i in range(layers) for m in MODULES]
    rows.append(("model", None, "embed_tokens", None, "EMBED"))
    frame = pl.DataFrame(
        rows, schema=["stack", "layer", "module_type", "expert", "component_name"], orient="row"
    )
    values = -rng.uniform(0.01, 0.1, len(rows)) if attribution is None else np.asarray(attribution)
    moved = rng.uniform(0.1, 1.0, len(rows)) if change is None else np.asarray(change)
    return frame.with_columns(
        pl.col("expert").cast(pl.Int64),
        pl.Series("attribution", values),
        pl.Series("stderr", np.full(len(rows), stderr)),
        pl.Series("share", values / values.sum()),
        pl.Series("frobenius_norm_normalized", moved),
    )


def verified(measured):
    """Four cells that were put back."""
    return pl.DataFrame(
        {
            "component_name": list("abcd"),
            "chosen": ["largest", "largest", "random", "random"],
            "attribution": [-0.4, -0.3, -0.2, -0.1],
            "attribution_stderr": [0.01] * 4,
            "measured": measured,
            "measured_stderr": [None] * 4,
        },
        schema_overrides={"measured_stderr": pl.Float64},
    )


def summary(frame, gain=None, error=0.01, **more):
    """The sums that go with a frame."""
    total = float(frame["attribution"].sum())
    gain = -total if gain is None else gain
    return {
        "base_loss": 3.0, "tuned_loss": 3.0 - gain, "gain": gain, "gain_stderr": error, "sum": total,
        "residual": total + gain, "sequences": 32, "tolerance": 0.01 * abs(gain), "converged": True,
        "nodes": 8, "tokens": 100,
        "dtype": "float32", "data_sha256": "ab" * 32, "split_half_spearman": 0.9, "spearman_numel": 0.1,
        "spearman_change_effect": 0.2, "not_attributed": {}, **more,
    }  # fmt: skip


def test_a_map_is_centred_and_its_bars_are_the_sums():
    """Rows and columns add up to the attribution inside blocks, limits are symmetric, outside is apart."""
    frame = cells()
    inside, outside = maps(frame, "run")
    blocks = frame.filter(pl.col("layer").is_not_null())
    assert inside.row_sums.sum() == pytest.approx(blocks["attribution"].sum())
    assert inside.row_sums[1] == pytest.approx(frame.filter(pl.col("layer") == 1)["attribution"].sum())
    assert inside.column_sums.sum() == pytest.approx(blocks["attribution"].sum())
    assert inside.grid.limits[0] == -inside.grid.limits[1] == -np.abs(inside.grid.values).max()
    assert outside.grid.values.item() == frame["attribution"][-1]


def test_experts_of_a_layer_are_summed():
    """Additive numbers are added where a cell of the map holds several, not averaged."""
    frame = cells(1).with_columns(pl.lit("mlp.experts.up_proj").alias("module_type"))
    inside, _ = maps(frame, "run")
    assert inside.grid.values.shape == (1, 1)
    assert inside.grid.values.item() == pytest.approx(frame["attribution"][:-1].sum())


def test_a_difference_is_taken_cell_by_cell():
    """Second minus first, the errors in quadrature, null keys matched; only cells that both have."""
    first, second = cells(stderr=0.003), cells(attribution=np.linspace(0.1, 1.3, 13), stderr=0.004)
    frame = difference(first, second.head(12))
    assert frame.height == 12
    row = frame.filter(pl.col("component_name") == second["component_name"][2])
    assert row["difference"].item() == pytest.approx(second["attribution"][2] - first["attribution"][2])
    assert row["stderr"].item() == pytest.approx(0.005)
    assert difference(first, second)["component_name"].to_list() == second["component_name"].to_list()
    assert "lower on b" in difference_maps(frame, "run", "a", "b")[0].sides


def planted():
    """Eleven ordinary cells; the first did most and hardly moved, the last moved most and did nothing."""
    attribution = np.r_[-1.0, np.linspace(-0.2, -0.3, 11), 0.0001]
    change = np.r_[0.01, np.linspace(0.3, 0.4, 11), 5.0]
    return cells(attribution=attribution, change=change)


def test_planted_outliers_are_found_and_named():
    """Moved a lot for nothing, moved little and mattered: exactly the planted cells."""
    frame = planted()
    marked = outliers(frame)
    first, last = frame["component_name"][0], frame["component_name"][-1]
    assert ranked(marked, "moved_without_effect")["component_name"].to_list() == [last]
    assert ranked(marked, "effect_without_motion")["component_name"].to_list() == [first]
    view = scatter(frame, "run", 0.5)
    assert [view.names[i] for i in view.named] == [last, first]
    assert not view.clear[view.names.index(last)]


def test_few_cells_have_no_outliers():
    """Quarters of seven cells mean nothing."""
    frame = planted().head(7)
    assert outliers(frame)["outlier"].null_count() == 7
    assert scatter(frame, "run", None).edges is None


def test_cells_at_zero_are_counted_not_drawn():
    """A logarithmic axis has no zero; what is left out is said."""
    frame = cells().with_columns(
        pl.when(pl.col("layer") == 0).then(0.0).otherwise(pl.col("attribution")).alias("attribution")
    )
    view = scatter(frame, "run", 0.1)
    assert (len(view.names), view.left_out) == (9, 4)


def test_cells_that_were_put_back_show_which_were_the_largest():
    """Attributed and measured effects, and the rank correlation in the caption."""
    rows = verified([-0.04, -0.03, -0.02, -0.01])
    assert checks(rows, "t").largest.tolist() == [True, True, False, False]
    numbers = {"cells": 4, "spearman": -1.0, "spearman_largest": 1.0, "spearman_random": 1.0}
    assert "measured effect -1" in caption(summary(cells(), verification=numbers), "a on b", [])
