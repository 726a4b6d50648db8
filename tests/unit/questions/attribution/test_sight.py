"""What would have been found is found: effects of the size that the readout names, in nine draws of ten."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from tunescope.questions.attribution.case import Case
from tunescope.questions.attribution.description import where_it_lies
from tunescope.questions.attribution.findings import attribution_findings
from tunescope.questions.attribution.sight import (
    looked_at,
    nothing_stands_out,
    visible_effects,
    visible_gain,
)
from tunescope.questions.attribution.unseen import why_unseen

KINDS = ("self_attn.q_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj")
LAYERS, N = 12, 32
Array = np.ndarray


def levels(rng: np.random.Generator, layers: int = LAYERS) -> Array:
    """What each weight does to the loss: all of them lower it, layers alike to 15 %, weights to 10 %."""
    logs = 0.15 * rng.standard_normal((layers, 1)) + 0.1 * rng.standard_normal((layers, len(KINDS)))
    return -np.exp(logs)


def measured(rng: np.random.Generator, effects: Array, noise: float = 0.2, n: int = N):
    """A frame and its sums, from n sequences."""
    parts = effects + noise * np.sqrt(n) * rng.standard_normal((n, *effects.shape))
    layers = len(effects)
    frame = pl.DataFrame(
        {
            "stack": ["model"] * effects.size,
            "layer": np.repeat(np.arange(layers), len(KINDS)),
            "module_type": list(KINDS) * layers,
            "expert": pl.Series([None] * effects.size, dtype=pl.Int64),
            "component_name": [f"L{i} {kind}" for i in range(layers) for kind in KINDS],
            "attribution": parts.mean(axis=0).ravel(),
            "stderr": (parts.std(axis=0, ddof=1) / np.sqrt(n)).ravel(),
            "frobenius_norm_normalized": np.ones(effects.size),
        }
    )
    whole = parts.sum(axis=(1, 2))
    summary = {
        "base_loss": 99.0, "tuned_loss": 99.0 + whole.mean(), "gain": -whole.mean(), "sum": whole.mean(),
        "gain_stderr": whole.std(ddof=1) / np.sqrt(n), "sequences": n, "converged": True,
        "not_attributed": {}, "spearman_numel": None, "spearman_change_effect": None,
    }  # fmt: skip
    return frame, summary


def third(effects: Array, size: float) -> tuple[Array, str, str]:
    planted = effects.copy()
    planted[-(len(effects) // 3) :] *= size
    return planted, "late_layers", ""


def tilt(effects: Array, size: float) -> tuple[Array, str, str]:
    planted = effects.copy()
    planted[:, 3:] *= size
    return planted, "family_tilt", ""


def against(effects: Array, size: float) -> tuple[Array, str, str]:
    planted = effects.copy()
    planted[5, 2] = size
    return planted, "works_against", "L5 self_attn.o_proj"


@pytest.mark.parametrize("plant", [third, tilt, against])
def test_an_effect_of_the_size_named_is_found_nine_times_in_ten(
    plant: Callable[[Array, float], tuple[Array, str, str]],
) -> None:
    hits = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        effects = levels(rng)
        frame, summary = measured(rng, effects)
        size = visible_effects(Case(frame, summary, "m", "d"))[plant.__name__]
        assert size is not None
        planted, kind, name = plant(effects if plant is against else levels(rng), size)
        found = attribution_findings(*measured(rng, planted), "m", "d")
        hits.append(any(f.kind == kind and name in ("", *f.components) for f in found))
    assert sum(hits) >= 34


def test_half_of_the_effect_named_is_mostly_missed() -> None:
    hits = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        effects = levels(rng)
        frame, summary = measured(rng, effects)
        size = visible_effects(Case(frame, summary, "m", "d"))["against"]
        planted, kind, _ = against(effects, size / 2)
        hits.append(kind in {f.kind for f in attribution_findings(*measured(rng, planted), "m", "d")})
    assert sum(hits) <= 4


def test_a_gain_that_is_not_told_is_told_from_the_size_named_on() -> None:
    rng, hits = np.random.default_rng(0), []
    for _ in range(200):
        lost = rng.standard_normal(12)
        error = lost.std(ddof=1) / np.sqrt(12)
        size = visible_gain({"gain_stderr": error, "sequences": 12})
        again = rng.standard_normal(12) + size
        hits.append(again.mean() > 2.201 * again.std(ddof=1) / np.sqrt(12))
    assert np.mean(hits) > 0.87


def test_thirds_and_what_lies_outside_the_layers_hold_the_whole() -> None:
    """A head that bought three quarters: the shares that are said add up to 100 %."""
    frame, summary = measured(np.random.default_rng(1), np.full((12, 5), -0.1), noise=0.0)
    head = frame.head(1).with_columns(
        layer=pl.lit(None, pl.Int64), module_type=pl.lit("lm_head"), attribution=pl.lit(-18.0)
    )
    whole = pl.concat([frame, head])
    (text, *_) = where_it_lies(Case(whole, summary | {"sum": -24.0, "gain_stderr": 0.01}, "m", "d"), None)
    assert text == (
        "Thirds of the layers (early 0–3, middle 4–7, late 8–11) and the weights outside them hold 8%, 8%, "
        "8% and 75% of the gain; of what the layers hold, spread evenly, it would be 33%, 33% and 33%."
    )


def test_where_nothing_stands_out_one_sentence_names_the_sizes() -> None:
    frame, summary = measured(np.random.default_rng(1), levels(np.random.default_rng(1)))
    case = Case(frame, summary, "m", "d")
    seen = {**summary, "visible": visible_effects(case), "looked_at": looked_at(case)}
    found = [f.record() for f in attribution_findings(frame, summary, "m", "d")]
    assert {f["kind"] for f in found} == {"gain"}
    (text,) = nothing_stands_out({"d": seen}, found)
    assert text.startswith(
        "Of the parts of the gain, nothing stands out in 60 weights of 12 layers and 5 kinds"
    )
    for key in ("third", "tilt"):
        assert f"{seen['visible'][key]:.2f} times" in text
    assert "nats per token" in text.partition("would have been found")[2]


def test_a_part_that_stands_out_takes_the_sentence_away() -> None:
    effects = levels(np.random.default_rng(2))
    effects[-4:] *= 3
    frame, summary = measured(np.random.default_rng(2), effects)
    case = Case(frame, summary, "m", "d")
    seen = {**summary, "visible": visible_effects(case), "looked_at": looked_at(case)}
    found = [f.record() for f in attribution_findings(frame, summary, "m", "d")]
    assert "late_layers" in {f["kind"] for f in found}
    assert nothing_stands_out({"d": seen}, found) == []


def test_of_a_gain_that_is_not_told_no_part_is_spoken_of_but_the_gain_that_would_have_been() -> None:
    rng = np.random.default_rng(3)
    frame, summary = measured(rng, 0 * levels(rng))
    case = Case(frame, summary, "m", "d")
    assert not case.clear
    (told,) = attribution_findings(frame, summary, "m", "d")
    assert told.text.endswith(f"nine times in ten: a gain of {visible_gain(summary):.2g} nats per token.")
    assert looked_at(case) is None
    assert nothing_stands_out({"d": {**summary, "looked_at": None, "visible": {}}}, [told.record()]) == []


def test_too_few_layers_and_sequences_are_said_to_tell_nothing() -> None:
    rng = np.random.default_rng(4)
    frame, summary = measured(rng, levels(rng, layers=2), n=4, noise=0.01)
    case = Case(frame, summary, "m", "d")
    visible = visible_effects(case)
    seen = {**summary, "visible": visible, "unseen": why_unseen(case, visible), "looked_at": looked_at(case)}
    assert seen["visible"]["third"] is seen["visible"]["against"] is None
    (text,) = nothing_stands_out({"d": seen}, [])
    assert "tell of thirds of the layers (fewer than 6 layers have the same kinds of weight)" in text
    assert "single weights against the rest (4 sequences of 5 needed)" in text


def test_attention_alone_is_the_reason_why_mlp_is_not_held_against_it() -> None:
    rng = np.random.default_rng(4)
    frame, summary = measured(rng, levels(rng, layers=24), n=32)
    kept = frame.filter(pl.col("module_type").str.contains("attn"))
    case = Case(kept, summary, "m", "d")
    assert why_unseen(case, visible_effects(case)) == {"tilt": "no MLP weight changed"}
