"""What an importance table says: planted effects are found, layers that differ by chance are not."""

import numpy as np
import polars as pl
import pytest

from tunescope.questions.importance.description import densest_band, where_it_lies
from tunescope.questions.importance.findings import importance_findings
from tunescope.questions.importance.orders import upper_spearman
from tunescope.questions.importance.sight import (
    nothing_stands_out,
    visible_effects,
    visible_lead_of,
    why_unseen,
)
from tunescope.questions.importance.views import LAYER_IMPORTANCE

SIZES = {
    "mlp.down_proj": 3000, "mlp.up_proj": 2600, "self_attn.q_proj": 1000, "self_attn.k_proj": 250,
    "self_attn.o_proj": 1000, "input_layernorm": 10,
}  # fmt: skip


def scores(layers=12, spread=0.2, seed=0, level=None):
    """Scores `(layers, tensors)` that differ over layers and tensors by chance."""
    random = np.random.default_rng(seed)
    logs = spread * random.standard_normal((layers, 1)) + 0.1 * random.standard_normal((layers, len(SIZES)))
    return np.exp(logs + (random.standard_normal(len(SIZES)) if level is None else level))


def rows(values, method="taylor"):
    """The table of one method."""
    cells = [
        {"method": method, "stack": "model", "layer": i, "parameter": name, "expert": None,
         "score": float(values[i, j]), "stderr": 0.1, "n": 16, "numel": SIZES[name]}
        for i in range(len(values))
        for j, name in enumerate(SIZES)
    ]  # fmt: skip
    frame = pl.DataFrame(cells, infer_schema_length=None).with_columns(pl.col("expert").cast(pl.Int64))
    return frame.with_columns((pl.col("score") / pl.col("score").sum()).alias("share"))


def bypass(values, stderr=0.1):
    frame = rows(np.ones((len(values), len(SIZES)))).filter(pl.col("parameter") == "mlp.up_proj")
    return frame.with_columns(
        pl.lit("bypass").alias("method"),
        pl.lit(LAYER_IMPORTANCE).alias("parameter"),
        pl.Series("score", np.asarray(values, dtype=float)),
        pl.lit(stderr).alias("stderr"),
    )


def kinds(*frames, summary=None):
    listed = importance_findings(pl.concat(frames), "m", summary or {})
    assert len({f.kind for f in listed}) == len(listed)
    return {f.kind: f for f in listed}


def test_late_layers_that_score_more_are_found_tensor_for_tensor():
    values = scores(spread=0.1)
    values[8:] *= 2
    finding = kinds(rows(values))["late_layers"]
    assert finding.evidence["value"] == pytest.approx(2, rel=0.15)
    assert finding.evidence["p"] <= 0.05
    assert "8 to 11" in finding.text


def test_layers_that_differ_by_chance_have_no_depth_finding():
    depth = {"early_layers", "middle_layers", "late_layers"}
    hits = sum(bool(depth & kinds(rows(scores(seed=seed))).keys()) for seed in range(60))
    assert hits <= 7


def test_the_same_fact_by_two_methods_is_one_finding():
    values = scores(spread=0.1)
    values[8:] *= 2
    found = kinds(rows(values), rows(values**1.1, "curvature"))
    assert "So does taylor" in found["late_layers"].text


def test_norms_that_score_alike_are_stated_with_their_spread():
    values = scores()
    values[:, -1] = 0.3
    assert kinds(rows(values))["uniform_norms"].evidence["variation"] == {"input_layernorm": pytest.approx(0)}
    values[:, -1] = np.arange(1, 13)
    assert "uniform_norms" not in kinds(rows(values))


def test_layers_missed_in_the_opposite_order_disagree_and_a_weak_correlation_does_not():
    values = scores(16)
    values *= np.linspace(3, 1, 16)[:, None] / values.sum(1, keepdims=True)
    opposite = kinds(rows(values), bypass(np.arange(1.0, 17.0)))["layer_importance_disagrees"]
    assert opposite.evidence["spearman"] == pytest.approx(-1)
    assert opposite.evidence["layer_underrated"] == 15
    weak = np.random.default_rng(1).permutation(16) + 1.0
    assert "layer_importance_disagrees" not in kinds(rows(values), bypass(weak + np.arange(16, 0, -1) * 0.4))
    assert "layer_importance_disagrees" not in kinds(rows(values), bypass(np.arange(16.0, 0.0, -1.0)))


def test_layer_importance_that_is_noise_has_no_order_that_could_disagree():
    values = scores(24)
    for seed in range(20):
        noise = np.random.default_rng(seed).standard_normal(24)
        assert "layer_importance_disagrees" not in kinds(rows(values), bypass(noise, stderr=1.0))


def test_the_order_of_a_few_sequences_is_not_held_against_another():
    values = scores(16)
    values *= np.linspace(3, 1, 16)[:, None] / values.sum(1, keepdims=True)
    few = bypass(np.arange(1.0, 17.0)).with_columns(pl.lit(4, pl.Int64).alias("n"))
    assert "layer_importance_disagrees" not in kinds(rows(values), few.select(rows(values).columns))


def test_a_map_of_sizes_is_called_one_with_what_remains_among_the_largest():
    values = scores(spread=0.01, level=np.log([*SIZES.values()]))
    finding = kinds(rows(values))["size_explains_map"]
    assert finding.evidence["spearman_numel"] > 0.9
    assert f"{finding.evidence['among_largest_quarter']:.2f} among the quarter" in finding.text
    assert "size_explains_map" not in kinds(rows(scores(level=np.zeros(6))))


def test_a_high_correlation_does_not_hide_a_low_one_among_the_cells_that_matter():
    random = np.random.default_rng(2)
    one = np.sort(np.exp(2 * random.standard_normal(240)))
    other = one.copy()
    other[180:] = random.permutation(other[180:])
    order = random.permutation(240)
    finding = kinds(rows(one[order].reshape(40, 6)), rows(other[order].reshape(40, 6), "curvature"))[
        "methods_disagree"
    ]
    assert finding.evidence["value"]["all"] > 0.85
    assert finding.evidence["value"]["top"] < 0.35
    alike = rows(one[order].reshape(40, 6)), rows(one[order].reshape(40, 6) ** 2, "curvature")
    assert "methods_disagree" not in kinds(*alike)


def test_blocks_without_which_the_loss_is_lower_are_named_where_told_from_zero():
    values = rows(scores(8))
    finding = kinds(values, bypass([1, -0.5, 2, -0.01, 3, 4, 5, 6]))["negative_layer_importance"]
    assert (finding.evidence["below"], finding.evidence["layers"]) == (2, 8)
    assert "(1)" in finding.text
    assert "negative_layer_importance" not in kinds(values, bypass([1, -0.1, 2, -0.01, 3, 4, 5, 6]))


def test_a_bound_of_a_correlation_narrows_with_the_cells():
    assert upper_spearman(0.2, 3) == 1.0
    assert 0.2 < upper_spearman(0.2, 200) < upper_spearman(0.2, 20) < 1.0


def test_where_the_sum_lies_is_told_as_it_was_measured():
    values = np.ones((8, 6))
    values[6:] = 9
    said = " ".join(where_it_lies(rows(values), "taylor"))
    assert (
        "75% of the sum over layers lies in layers 6 to 7, 2 of 8 layers: spread evenly it would be 25%."
        in said
    )
    assert "Of the sum over all tensors: attention weights 50%, MLP weights 33% and norms 17%." in said
    assert "Per parameter, norms score most" in said


def test_the_densest_band_is_the_shortest():
    """One layer with half of everything beats two with more."""
    assert densest_band(np.array([1.0, 5.0, 1.0, 3.0])) == (1, 2)
    assert densest_band(np.array([1.0, 1.0, 1.0, 1.0])) == (0, 2)


def test_what_could_not_be_scored_is_a_warning():
    """4-bit weights have no gradient; a map without them says so."""
    summary = {"parameters_not_scored": {"a.weight": "stored as uint8"}, "parameters_without_gradient": ["b"]}
    found = kinds(rows(scores()), summary=summary)
    assert found["not_understood"].severity == "warning"
    assert "a.weight" in found["not_understood"].text
    assert found["without_gradient"].evidence["parameters"] == ["b"]


def test_the_lead_said_to_be_visible_is_found_about_nine_times_in_ten():
    found = 0
    for seed in range(40):
        lead = visible_lead_of(rows(scores(spread=0.1, seed=seed)))
        values = scores(spread=0.1, seed=seed + 500)
        values[8:] *= lead
        found += "late_layers" in kinds(rows(values))
    assert found >= 32
    assert visible_lead_of(rows(scores(layers=5))) is None


def test_a_layer_that_does_harm_by_the_size_named_is_found_nine_times_in_ten():
    random, hits = np.random.default_rng(0), []
    size = visible_effects(bypass(np.ones(12)))["below_zero"]
    for _ in range(200):
        parts = random.standard_normal((16, 12)) * 0.1 * 4
        parts[:, 5] -= size
        parts[:, np.arange(12) != 5] += 2.0
        frame = bypass(parts.mean(axis=0)).with_columns(
            pl.Series("stderr", parts.std(axis=0, ddof=1) / 4), pl.lit(16).alias("n")
        )
        hits.append("negative_layer_importance" in kinds(frame))
    assert np.mean(hits) >= 0.87


def test_two_methods_whose_orders_agree_as_little_as_named_are_found_nine_times_in_ten():
    random, hits, size = np.random.default_rng(1), [], (20, len(SIZES))
    two = pl.concat([rows(np.ones(size), "taylor"), rows(np.ones(size), "curvature")])
    rho = visible_effects(two)["orders"]
    assert -0.5 < rho < 0.35
    # The correlation of normal draws whose ranks correlate by rho.
    pearson = 2 * np.sin(np.pi * rho / 6)
    for _ in range(60):
        a, b = random.standard_normal((2, *size))
        b = pearson * a + np.sqrt(1 - pearson**2) * b
        hits.append("methods_disagree" in kinds(rows(np.exp(a), "taylor"), rows(np.exp(b), "curvature")))
    assert np.mean(hits) >= 0.87


def test_where_nothing_stands_out_every_size_is_named_and_what_was_not_measured_is_not():
    frame = rows(scores(spread=0.1))
    document = {"summary": {"parameters": 72, "sequences": 16}, "visible": visible_effects(frame)}
    text = nothing_stands_out(document)
    assert text.startswith(
        "Nothing stands out in 72 tensors and 16 sequences. Smallest that would have been found, nine"
    )
    assert "Spearman" not in text
    assert "layer without which" not in text
    document["visible"] = visible_effects(
        pl.concat([frame, rows(scores(spread=0.1, seed=1), "curvature"), bypass(np.ones(12))])
    )
    text = nothing_stands_out(document)
    assert "Spearman" in text
    assert "a layer without which the loss is" in text


def test_too_few_layers_are_said_to_tell_nothing_of_thirds():
    frame = rows(scores(layers=5))
    visible = visible_effects(frame)
    seen = {"visible": visible, "unseen": why_unseen(frame, visible)}
    document = {"summary": {"parameters": 9, "sequences": 4}, **seen}
    assert "to tell of thirds of the layers (5 layers of 7 needed)" in nothing_stands_out(document)
