"""The importance map and its findings, from a table with known answers."""

import numpy as np
import polars as pl
import pytest

from tunescope.questions.importance.views import LAYER_IMPORTANCE, MEANING, importance_maps, size_spearman

_SIZES = {"mlp.down_proj": 1000, "self_attn.q_proj": 400, "input_layernorm": 10}


def table(scores, layer_importance=None, layers=8, method="taylor", outside=3.0):
    """Rows of one method: `scores[parameter](layer)`, an embedding outside, and bypass rows."""
    rows = [
        {"method": method, "stack": "model", "layer": layer, "parameter": p, "expert": None,
         "score": float(f(layer)), "numel": _SIZES[p]}
        for layer in range(layers)
        for p, f in scores.items()
    ]  # fmt: skip
    rows.append(
        {"method": method, "stack": "model", "layer": None, "parameter": "embed_tokens", "expert": None,
         "score": outside, "numel": 5000}
    )  # fmt: skip
    rows += [
        {"method": "bypass", "stack": "model", "layer": layer, "parameter": LAYER_IMPORTANCE, "expert": None,
         "score": float(value), "numel": 1410}
        for layer, value in enumerate(layer_importance or [])
    ]  # fmt: skip
    frame = pl.DataFrame(rows, infer_schema_length=None)
    frame = frame.with_columns(pl.col("expert").cast(pl.Int64))
    return frame.with_columns((pl.col("score") / pl.col("score").sum().over("method")).alias("share"))


FALLING = {
    "input_layernorm": lambda _: 0.1,
    "mlp.down_proj": lambda layer: 8 - layer,
    "self_attn.q_proj": lambda layer: 0.5 * (8 - layer),
}


def test_columns_are_sorted_by_total_with_layer_importance_first():
    """The published order: Layer Importance, then parameters by their total."""
    (view,) = importance_maps(table(FALLING, range(1, 9)), "taylor")
    assert view.columns == (LAYER_IMPORTANCE, "mlp.down_proj", "self_attn.q_proj", "input_layernorm")
    assert view.layers == tuple(range(8))
    (network,) = importance_maps(table(FALLING), "taylor", order="network")
    assert network.columns == ("input_layernorm", "mlp.down_proj", "self_attn.q_proj")


def test_one_linear_scale_for_parameters_and_its_own_for_the_layers():
    """Every cell is its score over the largest; Layer Importance over its own largest."""
    (view,) = importance_maps(table(FALLING, range(1, 9)), "taylor")
    np.testing.assert_allclose(view.values[:, 0], np.arange(1, 9) / 8)
    np.testing.assert_allclose(view.values[:, 1], np.arange(8, 0, -1) / 8)
    np.testing.assert_allclose(view.values[:, 2], np.arange(8, 0, -1) / 16)
    assert view.own_scale == "Layer Importance ÷ its largest size"


def test_blocks_whose_removal_lowers_the_loss_lie_below_zero_and_are_counted():
    """Layer Importance keeps its sign and its scale counts the negative ones; other columns are clipped."""
    (view,) = importance_maps(table(FALLING, [-0.1, 1, -0.2, 2, 3, 4, -1e-9, 0]), "taylor")
    np.testing.assert_allclose(view.values[[0, 2, 6, 5], 0], [-0.025, -0.05, -2.5e-10, 1.0])
    assert view.label == "score ÷ largest score"
    assert view.own_scale == "Layer Importance ÷ its largest size (3 below 0, hatched)"
    (view,) = importance_maps(table({"mlp.down_proj": lambda layer: layer - 2.0}, range(1, 9)), "taylor")
    assert view.label == "score ÷ largest score (2 below 0 drawn as 0)"


def test_all_methods_have_the_columns_of_the_first_in_its_order():
    """Maps beside each other compare column by column; Layer Importance stands in the first alone."""
    rising = {p: (lambda layer, n=n: n * (layer + 1.0)) for n, p in enumerate(_SIZES, 1)}
    frame = pl.concat([table(FALLING, range(1, 9)), table(rising, method="curvature")])
    (first,) = importance_maps(frame, "taylor", first="taylor")
    (second,) = importance_maps(frame, "curvature", first="taylor")
    (alone,) = importance_maps(frame, "curvature")
    assert second.columns == first.columns != alone.columns
    assert second.without_own().columns == first.columns[1:]
    assert LAYER_IMPORTANCE not in second.without_own().columns


@pytest.mark.parametrize(
    ("scale", "largest", "smallest"), [("log", 1.0, 1 + np.log10(0.1 / 8) / 4), ("rank", 1.0, 4.5 / 24)]
)
def test_other_scales(scale, largest, smallest):
    """Logarithmic over four decades, and ranks among all cells, ties shared."""
    (view,) = importance_maps(table(FALLING), "taylor", scale=scale)
    assert view.values.max() == pytest.approx(largest)
    assert view.values.min() == pytest.approx(smallest)


def test_column_scale_makes_every_column_reach_one():
    """Each parameter by itself."""
    (view,) = importance_maps(table(FALLING), "taylor", scale="column")
    np.testing.assert_allclose(view.values.max(axis=0), 1)


def test_negative_scores_are_drawn_as_zero_and_said():
    """An ablation that lowers the loss cannot be below the scale's end in silence."""
    frame = table({"mlp.down_proj": lambda layer: layer - 2}, method="ablation")
    (view,) = importance_maps(frame, "ablation")
    assert view.values.min() == 0
    assert "2 below 0" in view.label


def test_experts_are_added_up_in_their_cell():
    """The cell of a mixture-of-experts tensor is the sum over its experts."""
    frame = table({"mlp.down_proj": lambda _: 1.0}, layers=2)
    other = frame.filter(pl.col("layer") == 1).with_columns(pl.lit(1, pl.Int64).alias("expert"))
    (view,) = importance_maps(pl.concat([frame, other]), "taylor")
    np.testing.assert_allclose(view.values[:, 0], [0.5, 1.0])


def test_the_caption_says_what_size_explains():
    """A map whose scores follow the number of weights says so, with the embedding's share."""
    frame = table({p: (lambda _, n=n: n) for p, n in _SIZES.items()})
    assert size_spearman(frame, "taylor") == pytest.approx(1)
    (view,) = importance_maps(frame, "taylor")
    assert view.caption.startswith(MEANING["taylor"])
    assert "explains 100% of the picture's order" in view.caption
    assert "embed_tokens" in view.caption


def test_missing_parameters_leave_a_hole():
    """A layer without the parameter is not a layer with score zero."""
    frame = table(FALLING).filter((pl.col("layer") != 3) | (pl.col("parameter") != "self_attn.q_proj"))
    (view,) = importance_maps(frame, "taylor")
    assert np.isnan(view.values[3, 1])
    assert np.isfinite(view.values).sum() == 23
