"""What an attribution says: planted effects are found, chance is not, and few sequences say little."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from tunescope.questions.attribution.cell_findings import level_of_one
from tunescope.questions.attribution.findings import attribution_findings, difference_findings

KINDS = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip


def cells(layers=8, level=-0.1, spread=0.2, stderr=0.005, seed=0):
    """A frame of every kind of weight in every layer, all of which lower the loss."""
    rng = np.random.default_rng(seed)
    rows = [("model", i, m, None, f"L{i} {m.rsplit('.')[-1]}") for i in range(layers) for m in KINDS]
    frame = pl.DataFrame(
        rows, schema=["stack", "layer", "module_type", "expert", "component_name"], orient="row"
    )
    return frame.with_columns(
        pl.col("expert").cast(pl.Int64),
        pl.Series("attribution", level * np.exp(spread * rng.standard_normal(len(rows)))),
        pl.lit(stderr).alias("stderr"),
        pl.Series("frobenius_norm_normalized", np.exp(spread * rng.standard_normal(len(rows)))),
    )


def changed(frame, **values):
    """The frame with single cells of a column set: `attribution={3: 0.5}`."""
    for column, cells_of in values.items():
        numbers = frame[column].to_list()
        for index, value in cells_of.items():
            numbers[index] = value
        frame = frame.with_columns(pl.Series(column, numbers))
    return frame


def summary(frame, gain=None, error=0.05, sequences=32, **more):
    """The sums that go with a frame."""
    total = float(frame["attribution"].sum())
    gain = -total if gain is None else gain
    return {
        "base_loss": 3.0, "tuned_loss": 3.0 - gain, "gain": gain, "gain_stderr": error, "sum": total,
        "residual": total + gain, "tolerance": 0.01 * abs(gain), "converged": True, "nodes": 8,
        "sequences": sequences, "spearman_numel": 0.1, "spearman_change_effect": 0.2, "not_attributed": {},
        **more,
    }  # fmt: skip


def found(frame, verification=None, data_sets=1, **more):
    """Findings by kind."""
    listed = attribution_findings(
        frame, summary(frame, **more), "tuned", "maths", verification, data_sets=data_sets
    )
    assert len({finding.kind for finding in listed}) == len(listed)
    return {finding.kind: finding for finding in listed}


@pytest.mark.parametrize(
    ("gain", "error", "sequences", "kind"),
    [
        (0.5, 0.1, 32, "gain"),
        (0.205, 0.1, 32, "gain"),
        (0.205, 0.1, 8, "no_gain"),
        (0.15, 0.1, 32, "no_gain"),
        (-0.5, 0.1, 32, "no_gain"),
        (0.5, None, 1, "no_gain"),
    ],
)
def test_a_gain_is_told_from_zero_by_t_over_its_own_sequences(gain, error, sequences, kind):
    """Two standard errors are enough of 32 sequences and not of 8; one sequence tells nothing."""
    findings = found(cells(), gain=gain, error=error, sequences=sequences)
    assert kind in findings
    assert ({"gain", "no_gain"} - {kind}).isdisjoint(findings)
    assert findings[kind].severity == ("note" if kind == "gain" else "warning")


def test_nothing_is_said_of_cells_where_the_gain_is_not_told_from_zero():
    """The same cells, once with a gain that is clear and once without."""
    frame = changed(cells(), attribution={5: 0.8, 6: 0.0}, frobenius_norm_normalized={6: 50.0})
    assert {"works_against", "moved_without_effect"} <= found(frame).keys()
    assert found(frame, error=100.0).keys() == {"no_gain"}


def test_a_weight_that_holds_most_of_the_gain_is_named_with_it():
    frame = changed(cells(level=-0.01), attribution={5: -1.2})
    gain = -float(frame["attribution"].sum())
    finding = found(frame, gain=gain)["gain"]
    name = frame["component_name"][5]
    assert finding.components == (name,)
    assert finding.text.endswith(f" {name} alone holds {100 * 1.2 / gain:.0f}% of it, 1.2 ± 0.005.")
    assert finding.evidence["leading"]["share_of_gain"] == pytest.approx(1.2 / gain)
    for plain in (cells(), cells(level=-0.01, stderr=0.5), changed(cells(level=-0.01), attribution={5: 1.2})):
        assert "alone holds" not in found(plain, gain=5.0)["gain"].text


def test_no_weight_is_said_to_hold_more_than_a_quarter_where_each_holds_less():
    """One weight that holds exactly a quarter, read with noise many times: said in at most 5 of 100."""
    rng, told = np.random.default_rng(4), {0.25: 0, 0.75: 0}
    for share in told:
        true = np.full(56, (1 - share) / 55)
        true[7] = share
        for _ in range(200):
            texts = true + 0.1 * rng.standard_normal((16, 56))
            frame = cells(layers=8).with_columns(
                pl.Series("attribution", -texts.mean(axis=0)),
                pl.Series("stderr", texts.std(axis=0, ddof=1) / 4),
            )
            whole = texts.sum(axis=1)
            listed = found(frame, gain=float(whole.mean()), error=float(whole.std(ddof=1) / 4), sequences=16)
            told[share] += "gain" in listed and "alone holds" in listed["gain"].text
    assert told[0.25] <= 0.05 * 200
    assert told[0.75] >= 0.5 * 200


def test_identical_models_have_no_gain_and_no_cells():
    frame = cells().with_columns(pl.lit(0.0).alias("attribution"), pl.lit(0.0).alias("stderr"))
    frame = frame.with_columns(pl.lit(0.0).alias("frobenius_norm_normalized"))
    findings = found(frame, gain=0.0, error=0.0)
    assert findings.keys() == {"no_gain"}
    assert "identical" in findings["no_gain"].text


def test_cells_against_the_whole_are_named_with_their_part_of_all_that_was_moved():
    frame = changed(cells(), attribution={3: 0.6, 9: 0.004})
    finding = found(frame)["works_against"]
    assert finding.components == (frame["component_name"][3],)
    gross = frame["attribution"].abs().sum()
    assert finding.evidence["share_of_gross"] == pytest.approx(0.6 / gross)
    assert finding.evidence["p"] == pytest.approx(56 * stats.t.sf(0.6 / 0.005, 31))
    assert "raised the loss" in finding.text


def test_a_fine_tune_that_raised_the_loss_has_cells_that_lowered_it():
    frame = changed(cells(level=0.1), attribution={3: -0.6})
    assert "lowered the loss" in found(frame)["works_against"].text


def test_a_sign_is_no_finding_by_chance_nor_where_it_is_worth_little():
    """All help, errors as large as the effects; and a cell that is clear but far below 5 % of the whole."""
    rng = np.random.default_rng(1)
    for _ in range(40):
        values = -0.1 + 0.1 * rng.standard_normal(56)
        frame = cells(stderr=0.1).with_columns(pl.Series("attribution", values))
        assert "works_against" not in found(frame, sequences=8, gain=5.6)
    assert "works_against" not in found(changed(cells(), attribution={3: 0.1}))


def test_fewer_than_five_sequences_say_nothing_of_a_cell():
    frame = changed(cells(), attribution={3: 0.6, 6: 0.0}, frobenius_norm_normalized={6: 50.0})
    assert found(frame, sequences=4).keys() == {"gain"}
    assert level_of_one(224, 8) > 6 > level_of_one(224, 32)


def test_several_data_sets_share_the_error_rate():
    frame = changed(cells(stderr=0.16), attribution={3: 0.6})
    assert "works_against" in found(frame, data_sets=1)
    assert "works_against" not in found(frame, data_sets=20)


def test_a_cell_that_moved_far_is_without_effect_only_where_its_error_says_so():
    """An effect of zero with a small error is an equivalence; with a large error it is not known."""
    name = cells()["component_name"][6]
    frame = changed(cells(), attribution={6: 0.0}, frobenius_norm_normalized={6: 10.0})
    assert found(frame)["moved_without_effect"].components == (name,)
    assert "moved_without_effect" not in found(changed(frame, stderr={6: 1.0}))
    assert "moved_without_effect" not in found(changed(frame, attribution={6: -0.4}))


def test_a_cell_that_hardly_moved_and_mattered_is_an_outlier_of_effect_per_motion():
    name = cells()["component_name"][6]
    frame = changed(cells(), attribution={6: -0.5}, frobenius_norm_normalized={6: 0.05})
    finding = found(frame)["effect_without_motion"]
    assert finding.components == (name,)
    assert finding.evidence["value"] > finding.evidence["threshold"] == 4
    assert "effect_without_motion" not in found(changed(frame, stderr={6: 0.4}))


def test_cells_that_stand_out_alike_are_one_finding():
    frame = changed(cells(), attribution={6: 0.0, 20: 0.0}, frobenius_norm_normalized={6: 10.0, 20: 10.0})
    finding = found(frame)["moved_without_effect"]
    assert len(finding.components) == finding.evidence["cells"] == 2


def test_a_third_that_leads_is_told_gross_beside_net():
    """Late layers do twice as much, half of them in the wrong direction."""
    frame = cells(12, spread=0.1)
    late = pl.col("layer") >= 8
    frame = frame.with_columns(pl.when(late).then(pl.col("attribution") * 2).otherwise(pl.col("attribution")))
    evidence = found(frame)["late_layers"].evidence
    assert evidence["value"] == pytest.approx(2, rel=0.1)
    assert evidence["gross"] == pytest.approx(evidence["net"]) == pytest.approx(0.5, abs=0.03)
    flipped = frame.with_columns(
        pl.when(late & pl.col("module_type").str.contains("up_proj"))
        .then(-pl.col("attribution"))
        .otherwise(pl.col("attribution"))
    )
    evidence = found(flipped)["late_layers"].evidence
    assert evidence["gross"] == pytest.approx(0.5, abs=0.03)
    assert evidence["net"] < evidence["gross"] - 0.05


def test_kinds_that_only_late_layers_have_are_no_trend_over_depth():
    frame = cells(12, spread=0.1).filter((pl.col("layer") >= 6) | pl.col("module_type").str.contains("attn"))
    assert found(frame).keys() == {"gain"}


def test_a_tilt_is_between_weights_of_one_layer_and_more_than_kinds_differ_anyway():
    mlp = pl.col("module_type").str.contains("mlp")
    frame = cells(spread=0.1)
    tilted = frame.with_columns(pl.when(mlp).then(pl.col("attribution") * 3).otherwise(pl.col("attribution")))
    evidence = found(tilted)["family_tilt"].evidence
    assert evidence["value"] == pytest.approx(3, rel=0.1)
    assert evidence["gross"] == pytest.approx(9 / 13, abs=0.03)
    one = frame.with_columns(
        pl.when(pl.col("module_type") == "mlp.up_proj")
        .then(pl.col("attribution") * 9)
        .otherwise(pl.col("attribution"))
    )
    assert "family_tilt" not in found(one)


def test_one_kind_of_a_family_says_nothing_of_how_such_kinds_differ_and_makes_no_tilt():
    mlp = pl.col("module_type").str.contains("mlp")
    tilted = cells(12, spread=0.05).with_columns(
        pl.when(mlp).then(pl.col("attribution") * 3).otherwise(pl.col("attribution"))
    )
    assert "family_tilt" in found(tilted)
    for kept in (
        ~mlp | (pl.col("module_type") == "mlp.up_proj"),
        mlp | pl.col("module_type").str.ends_with("q_proj"),
    ):
        assert "family_tilt" not in found(tilted.filter(kept))


def test_a_correlation_over_all_cells_does_not_hide_the_one_among_the_largest():
    """Effect follows motion over all cells, but not among the quarter that matters."""
    frame = cells(spread=0.0)
    order = np.random.default_rng(3).permutation(56)
    moved = np.exp(np.linspace(0, 3, 56))[order]
    effect = moved.copy()
    top = moved >= np.quantile(moved, 0.75)
    effect[top] = effect[top][::-1]
    frame = frame.with_columns(
        pl.Series("attribution", -effect), pl.Series("frobenius_norm_normalized", moved)
    )
    finding = found(frame, spearman_change_effect=0.93)["size_explains_map"]
    assert finding.evidence["among_largest_quarter"] < 0.5
    assert f"{finding.evidence['among_largest_quarter']:.2f}" in finding.text


def test_what_could_not_be_attributed_is_a_warning():
    findings = found(cells(), not_attributed={"bn.running_mean": "a buffer"}, converged=False)
    assert findings["not_attributed"].severity == findings["not_converged"].severity == "warning"
    assert "bn.running_mean" in findings["not_attributed"].text


def returned(largest, random, error=0.001):
    """Cells that were put back: (attributed, measured) of the largest and of random ones."""
    rows = [(f"{which}{i}", which, a, m) for which, part in (("largest", largest), ("random", random))
            for i, (a, m) in enumerate(part)]  # fmt: skip
    frame = pl.DataFrame(rows, schema=["component_name", "chosen", "attribution", "measured"], orient="row")
    return frame.with_columns(
        pl.lit(error).alias("measured_stderr"), pl.lit(error).alias("attribution_stderr")
    )


ORDERED = [(-0.1 * i, -0.01 * i) for i in range(8, 0, -1)]
SHUFFLED = [(-0.1 * i, -0.01 * j) for i, j in zip(range(8, 0, -1), (3, 6, 1, 8, 2, 5, 7, 4), strict=True)]


@pytest.mark.parametrize(
    ("largest", "random", "kind"),
    [
        (ORDERED, ORDERED, "attribution_agrees"),
        (SHUFFLED, [(a / 100, m / 100) for a, m in ORDERED], "put_back"),
        (ORDERED, SHUFFLED, "put_back"),
        (ORDERED[:2], ORDERED[:2], "put_back"),
        ([(a, -m) for a, m in ORDERED], ORDERED, "attribution_disagrees"),
    ],
)
def test_agreement_takes_the_largest_and_the_random_cells(largest, random, kind):
    """A correlation over both together would be high in the second case: large cells are larger."""
    finding = found(cells(), returned(largest, random))[kind]
    assert finding.severity == ("warning" if kind == "attribution_disagrees" else "note")
    assert finding.evidence["halves"]["largest"]["cells"] == len(largest)
    if len(largest) > 2:
        assert f"{finding.evidence['halves']['random']['spearman']:.2f}" in finding.text


def test_where_the_gain_is_not_told_from_zero_agreement_is_of_these_texts_alone():
    findings = found(cells(), returned(ORDERED, ORDERED), error=100.0)
    assert findings.keys() == {"no_gain", "put_back"}
    assert "these texts alone" in findings["put_back"].text


def test_measured_effects_of_the_other_sign_within_their_error_contradict_nothing():
    opposite = [(a, -m) for a, m in ORDERED]
    assert "attribution_disagrees" not in found(cells(), returned(opposite, ORDERED, error=1.0))


def test_gains_here_and_costs_there_are_told_apart():
    """One data set gained, the other lost, and the cells that did both are named."""
    here, there = cells(), changed(cells(level=0.001), attribution={0: 3.0})
    frames = {"maths": here, "prose": there}
    summaries = {name: summary(frame) for name, frame in frames.items()}
    listed = {f.kind: f for f in difference_findings(frames, summaries, "tuned")}
    assert listed["gain_here_cost_there"].evidence["prose"] < 0
    assert listed["trade_off"].components == (here["component_name"][0],)
    unclear = {**summaries, "prose": summary(there, error=2.0)}
    assert difference_findings(frames, unclear, "tuned") == []
    assert difference_findings({"maths": here}, {"maths": summaries["maths"]}, "tuned") == []


def test_a_loss_that_rose_is_no_negative_gain():
    text = found(cells(), gain=-0.02, error=0.1)["no_gain"].text
    assert "from 3.00 to 3.02 nats per token, a rise of 0.02 ± 0.10 over 32 sequences" in text
    assert "a gain of 0.02 ± 0.1" in found(cells(), gain=0.02, error=0.1)["no_gain"].text
