"""Means and ratios of models that hold the same change among other weights."""

from collections.abc import Mapping
from typing import Any

import polars as pl
import pytest

from tunescope.questions.norms.compared import moved_kinds, ratio_of_common, ratios_of_means
from tunescope.questions.norms.measure import SCHEMA
from tunescope.questions.norms.sentences import model_sentences
from tunescope.questions.norms.summary import readout
from tunescope.table import dtypes

METRIC = "frobenius_norm"


def table(**models: Mapping[Any, float]) -> pl.DataFrame:
    """A norms table: for each model the norms of kinds of weight in layers."""
    rows = [
        {
            "model_id": model, "stack": "model", "layer": layer, "module_type": kind, "family": family(kind),
            "component_name": f"L{layer}_{kind}", "scale": 1.0, "status": "ok",
            METRIC: value, f"unscaled_{METRIC}": value,
        }
        for model, weights in models.items()
        for (kind, layer), value in weights.items()
    ]  # fmt: skip
    types = dtypes(SCHEMA)
    full = pl.DataFrame(rows, schema_overrides={k: types[k] for k in rows[0]})
    return full.select(
        pl.col(name) if name in full.columns else pl.lit(None, kind).alias(name)
        for name, kind in types.items()
    )


def family(kind: str) -> str:
    return {"q_proj": "attention", "up_proj": "mlp", "down_proj": "mlp"}.get(kind, "norm")


LORA: Mapping[Any, float] = {
    (kind, layer): 1.0 + layer for kind in ("q_proj", "up_proj") for layer in range(9)
}
WHOLE: Mapping[Any, float] = {
    **LORA,
    **{("input_layernorm", layer): 0.0 for layer in range(9)},
    ("embed", None): 0.0,
}


def test_weights_that_only_a_checkpoint_holds_do_not_dilute_its_mean_or_its_thirds() -> None:
    document = readout(table(whole=WHOLE, lora=LORA), ["whole", "lora"], METRIC, [])
    whole, lora = document["models"]["whole"], document["models"]["lora"]
    assert whole["overall_mean"] == lora["overall_mean"] == 5
    assert whole["thirds"] == lora["thirds"] == {"early": 2, "middle": 5, "late": 8}
    assert document["ratios"] == {"whole/lora": 1, "lora/whole": 1}
    assert (whole["n_unmoved_kinds"], lora["n_unmoved_kinds"]) == (10, 0)


def test_the_sentence_says_over_how_many_weights_the_mean_is_taken() -> None:
    document = readout(table(whole=WHOLE, lora=LORA), ["whole", "lora"], METRIC, [])
    whole, lora = model_sentences(document["models"], METRIC, document["ratios"])
    assert "5 over 18 of 28 weights (kinds that changed nowhere left out)" in whole
    assert "mean ‖ΔW‖ 5, 1.00× that of whole" in lora


def test_norms_and_biases_take_no_part_in_means_and_ratios_of_matrices() -> None:
    """‖Δ‖/√d of a vector is one value's size: pooled, the mean lies below both of its families."""
    vectors = {(kind, layer): 1e-3 for kind in ("input_layernorm", "q_proj.bias") for layer in range(9)}
    document = readout(table(whole=LORA | vectors, lora=LORA), ["whole", "lora"], METRIC, [])
    whole, lora = document["models"]["whole"], document["models"]["lora"]
    assert whole["overall_mean"] == lora["overall_mean"] == 5
    assert whole["thirds"] == lora["thirds"]
    assert (whole["n_vectors"], lora["n_vectors"]) == (18, 0)
    assert document["ratios"] == {"whole/lora": 1, "lora/whole": 1}
    text, _ = model_sentences(document["models"], METRIC, document["ratios"])
    assert "5 over 18 of 36 weights (norms and biases left out)" in text


def test_of_a_model_of_which_only_norms_moved_they_are_the_mean() -> None:
    only = dict.fromkeys(LORA, 0.0) | {("input_layernorm", layer): 2.0 for layer in range(9)}
    model = readout(table(only=only), ["only"], METRIC, [])["models"]["only"]
    assert (model["overall_mean"], model["n_vectors"]) == (2, 0)


def test_a_frozen_layer_counts_as_the_zero_that_it_is() -> None:
    part = {place: 0.0 if place[1] == 0 else value for place, value in LORA.items()}
    assert moved_kinds(table(part=part)).height == 18
    assert readout(table(part=part), ["part"], METRIC, [])["models"]["part"]["thirds"]["early"] == 5 / 3


def test_a_model_that_did_not_change_has_a_mean_of_zero() -> None:
    model = readout(table(still=dict.fromkeys(WHOLE, 0.0)), ["still"], METRIC, [])["models"]["still"]
    assert (model["overall_mean"], model["n_unmoved_kinds"]) == (0, 0)


def test_a_family_of_which_nothing_changed_keeps_its_zero() -> None:
    mlp = {place: value * (place[0] == "up_proj") for place, value in LORA.items()}
    model = readout(table(mlp=mlp), ["mlp"], METRIC, [])["models"]["mlp"]
    assert model["family_means"] == {"mlp": 5, "attention": 0}
    assert model["overall_mean"] == 5


def test_models_are_compared_over_the_weights_that_both_have() -> None:
    small = {("q_proj", 0): 2.0}
    large = {("q_proj", 0): 1.0, ("up_proj", 0): 100.0}
    ratios = ratios_of_means(table(small=small, large=large), {"small": 0, "large": 0}, METRIC)
    assert ratios == {"small/large": 2, "large/small": 0.5}


def test_a_whole_model_has_the_ratio_of_the_adapter_that_was_merged_into_it() -> None:
    """What an adapter leaves alone is zero in the merged model, and no part of any comparison of the two."""
    lora = {("q_proj", 0): 2.0, ("q_proj", 1): 0.0, ("up_proj", 0): 4.0}
    merged = {**lora, ("embed", None): 0.0, ("down_proj", 0): 0.0}
    full = dict.fromkeys(merged, 8.0)
    found = {}
    for name, weights in (("lora", lora), ("merged", merged)):
        document = readout(table(full=full, other=weights), ["full", "other"], METRIC, [], focus=0)
        growth = document["models"]["other"]["focus_layer"]["growth"]
        found[name] = (document["ratios"], growth)
        _, text = model_sentences(document["models"], METRIC, document["ratios"])
        assert text.startswith("other: mean ‖ΔW‖ 2")
        assert "0.25× that of full;" in text
    assert found["merged"] == found["lora"]
    assert found["lora"] == ({"full/other": 4, "other/full": 0.25}, 6 / 16)


def test_a_ratio_that_is_not_of_the_means_said_tells_what_it_is_over() -> None:
    merged = {("q_proj", 0): 2.0, ("up_proj", 0): 0.0}
    document = readout(
        table(full={("q_proj", 0): 4.0, ("up_proj", 0): 16.0}, merged=merged), ["full", "merged"], METRIC, []
    )
    _, text = model_sentences(document["models"], METRIC, document["ratios"])
    assert "0.50× that of full over the weights that both have, in kinds that changed in both" in text


@pytest.mark.parametrize("below", [{("up_proj", 0): 1.0}, {("q_proj", 0): 0.0}])
def test_nothing_in_common_or_a_mean_of_zero_has_no_ratio(below: Mapping[Any, float]) -> None:
    a, b = table(a={("q_proj", 0): 2.0}), table(b=below)
    assert ratio_of_common(a, b, METRIC) is None


def test_weights_are_met_at_their_place_whatever_their_components_are_called() -> None:
    """A component's name says its tower only where the model has several."""
    whole = table(pipeline=LORA).with_columns(
        pl.lit("text_encoder").alias("stack"),
        ("TEXT_ENCODER_" + pl.col("component_name")).alias("component_name"),
    )
    unet = table(pipeline=dict.fromkeys(LORA, 100.0)).with_columns(pl.lit("unet").alias("stack"))
    alone = table(encoder={place: 2 * value for place, value in LORA.items()})
    alone = alone.with_columns(pl.lit("text_encoder").alias("stack"))
    frame = pl.concat([whole, unet, alone])
    document = readout(frame, ["pipeline", "encoder"], METRIC, [])
    assert document["ratios"] == {"pipeline/encoder": 0.5, "encoder/pipeline": 2}
    _, text = model_sentences(document["models"], METRIC, document["ratios"])
    assert "2.00× that of pipeline over the weights that both have" in text


def test_weights_of_one_place_are_told_apart_by_their_names() -> None:
    places = {("dense", None): 1.0}
    two = pl.concat(
        [
            table(a=places).with_columns(pl.lit(name).alias("component_name"))
            for name in ("DENSE_1", "DENSE_2")
        ]
    ).with_columns(pl.Series(METRIC, [1.0, 3.0]))
    other = two.with_columns(pl.lit("b").alias("model_id"), pl.Series(METRIC, [2.0, 6.0]))
    assert ratio_of_common(other, two.reverse(), METRIC) == 2
