"""What is said of maps of norms with known effects, and of those without any."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from tunescope.measure.between import Between
from tunescope.measure.towers import Tower
from tunescope.questions.norms.findings import norm_findings
from tunescope.questions.norms.layers import layer_findings
from tunescope.questions.norms.measure import frame
from tunescope.questions.norms.pairs import equal_updates
from tunescope.study.finding import Finding

METRIC = "frobenius_norm_normalized"
ATTENTION = tuple(f"self_attn.{x}_proj" for x in "qkvo")
MLP = tuple(f"mlp.{x}_proj" for x in ("gate", "up", "down"))

Value = Callable[[int, str], float]


def rows(
    value: Value, layers: int = 12, kinds: Sequence[str] = ATTENTION + MLP, model: str = "m", **more: object
) -> list[dict[str, object]]:
    return [
        {
            "model_id": model, "stack": "model", "layer": layer, "module_type": kind, "status": "ok",
            "family": "mlp" if "mlp" in kind else "attention", "component_name": f"L{layer}_{kind}",
            METRIC: v, "unscaled_frobenius_norm": v,
        } | more
        for layer in range(layers) for kind in kinds if (v := value(layer, kind))
    ]  # fmt: skip


def found(*models: list[dict[str, object]], metric: str = METRIC) -> dict[str, Finding]:
    listed = norm_findings(frame([row for model in models for row in model]), metric)
    return {finding.kind: finding for finding in listed}


def scattered(seed: int, layer: float = 0.2, cell: float = 0.1) -> Value:
    """Layers and cells that differ by chance alone."""
    random = np.random.default_rng(seed)
    layers = {i: layer * float(random.standard_normal()) for i in range(100)}
    return lambda i, _: float(np.exp(layers[i] + cell * random.standard_normal()))


def test_an_even_map_has_no_findings() -> None:
    assert found(rows(lambda *_: 1.0)) == {}


def test_layers_that_differ_by_chance_are_no_depth_trend() -> None:
    told = [found(rows(scattered(seed), layers=24)) for seed in range(100, 120)]
    assert sum(any(kind.endswith("_layers") for kind in kinds) for kinds in told) <= 2


def test_a_slope_is_found_with_its_evidence() -> None:
    chance = scattered(1, 0.05)
    slope = found(rows(lambda i, kind: (1 + i / 23) * chance(i, kind), layers=24))["late_layers"]
    # Geometric means of the first and the last third of 1 … 2.
    values = 1 + np.arange(24) / 23
    ratio = np.exp(np.log(values[16:]).mean() - np.log(values[:8]).mean())
    assert slope.evidence["ratio"] == pytest.approx(ratio, rel=0.05)
    assert slope.evidence["value"] > slope.evidence["threshold"]
    assert slope.evidence["p"] < 0.01
    assert {"statistic", "null", "n"} <= set(slope.evidence)


def test_kinds_that_only_late_layers_have_make_no_depth_trend() -> None:
    told = found(rows(lambda i, kind: 0.0 if "mlp" in kind and i < 6 else 3.0 if "mlp" in kind else 1.0))
    assert not any(kind.endswith("_layers") for kind in told)


def test_six_layers_are_too_few_for_a_depth_trend() -> None:
    chance = scattered(2, 0.02, 0.02)
    assert found(rows(lambda i, kind: (1.0 + (i >= 4)) * chance(i, kind), layers=6)) == {}


def test_the_same_trend_in_three_models_is_one_finding_that_names_them() -> None:
    def sloped(seed: int) -> list[dict[str, object]]:
        chance = scattered(seed, 0.05)
        return rows(lambda i, kind: (1 + i / 11) * chance(i, kind), model=f"m{seed}")

    late = found(*map(sloped, range(3)))["late_layers"]
    assert late.models == ("m0", "m1", "m2")
    assert set(late.evidence["each"]) == {"m0", "m1", "m2"}


@pytest.mark.parametrize("family", ["attention", "mlp"])
def test_a_family_that_changed_twice_as_much_is_a_tilt(family: str) -> None:
    chance = scattered(3, 0.1, 0.05)
    planted = rows(lambda i, k: chance(i, k) * (2 if ("mlp" in k) == (family == "mlp") else 1))
    tilt = found(planted)["family_tilt"]
    assert tilt.evidence["ratio"] == pytest.approx(2, rel=0.06)
    assert tilt.evidence["most"] == family


def test_one_kind_against_one_is_no_difference_of_families() -> None:
    """That Q and up differ may be a matter of these two kinds."""
    kinds = (ATTENTION[0], MLP[1])
    assert "family_tilt" not in found(rows(lambda _, kind: 2.0 if "mlp" in kind else 1.0, kinds=kinds))


@pytest.mark.parametrize("attention", [ATTENTION[:1], ATTENTION[:2], ATTENTION])
def test_one_kind_of_a_family_may_be_wide_and_makes_no_tilt(attention: tuple[str, ...]) -> None:
    """Down projections have four times as many inputs: twice the norm at one size of each entry."""
    chance = scattered(7, 0.1, 0.005)
    twice = rows(lambda i, k: chance(i, k) * (2 if "down" in k else 1), kinds=(*attention, MLP[2]), layers=24)
    wide = [r | {"d_in": 256 if "down" in str(r["module_type"]) else 64} for r in twice]
    assert "family_tilt" not in found(wide)


@pytest.mark.parametrize(("width", "told"), [(64, True), (256, False)])
def test_one_kind_of_a_family_makes_a_tilt_where_all_weights_have_one_shape(width: int, told: bool) -> None:
    """A LoRA of a UNet that adapts q, v and one projection of the MLP, twice as large."""
    chance = scattered(9, 0.1, 0.005)
    plain = rows(lambda i, k: chance(i, k) * (2 if "down" in k else 1), kinds=(*ATTENTION[:4], MLP[2]))
    shaped = [r | {"d_out": 64, "d_in": width if "down" in str(r["module_type"]) else 64} for r in plain]
    assert ("family_tilt" in found(shaped)) == told


def test_a_norm_that_grows_with_width_is_no_tilt_where_it_is_none_per_output() -> None:
    chance = scattered(8, 0.1, 0.05)
    per_output = rows(chance, kinds=ATTENTION + MLP[:2])
    wide = [row | {"frobenius_norm": float(str(row[METRIC])) * (2 if row["family"] == "mlp" else 1)}
            for row in per_output]  # fmt: skip
    assert "family_tilt" not in found(wide, metric="frobenius_norm")
    tilted = [row | {METRIC: row["frobenius_norm"]} for row in wide]
    assert "family_tilt" in found(tilted, metric="frobenius_norm")


def test_a_whole_layer_that_changed_three_times_as_much_is_named_with_its_weights() -> None:
    chance = scattered(9, 0.08, 0.05)
    told = found(rows(lambda i, k: chance(i, k) * (3 if i == 17 else 1), layers=24))
    layer = told["hot_layer"]
    assert layer.evidence["layers"] == [17]
    assert layer.evidence["value"] == pytest.approx(3, rel=0.25)
    assert layer.components == tuple(f"L17_{kind}" for kind in ATTENTION + MLP)
    assert layer.text.startswith(
        "Layer 17 of m changed more than the others, in all kinds of weight together"
    )


def test_layers_of_one_tower_that_stand_out_are_one_finding() -> None:
    chance = scattered(9, 0.05, 0.05)
    told = found(rows(lambda i, k: chance(i, k) * (4 if i in (3, 9, 17) else 1), layers=32))
    layer = told["hot_layer"]
    assert layer.evidence["layers"] == [3, 9, 17]
    assert layer.evidence["least"] <= layer.evidence["value"] == pytest.approx(4, rel=0.25)
    assert layer.components == tuple(f"L{i}_{kind}" for i in (3, 9, 17) for kind in ATTENTION + MLP)
    assert layer.text.startswith("Layers 3, 9 and 17 of m changed more than the others")


def test_a_third_whose_layers_all_stand_out_is_one_finding() -> None:
    chance = scattered(9, 0.05, 0.05)
    told = found(rows(lambda i, k: chance(i, k) * (3 if 4 <= i <= 6 else 1), layers=10))
    assert told["middle_layers"].evidence["leading_layers"] == "4 to 6"
    assert "hot_layer" not in told
    two = found(rows(lambda i, k: chance(i, k) * (3 if 4 <= i <= 5 else 1), layers=10))
    assert two["hot_layer"].evidence["layers"] == [4, 5]


@pytest.mark.parametrize("law", ["exponential", "t3"])
def test_layers_that_scatter_with_a_long_tail_are_seldom_named(law: str) -> None:
    random, named = np.random.default_rng(11), 0
    for _ in range(200):
        drawn = random.exponential(1, 12) - 1 if law == "exponential" else random.standard_t(3, 12) / 3**0.5
        logs = 0.3 * drawn[:, None] + 0.12 * random.standard_normal((12, 7))
        names = tuple(tuple(f"L{i}_{j}" for j in range(7)) for i in range(12))
        kinds = (*ATTENTION, *MLP)
        families = tuple("mlp" if "mlp" in kind else "attention" for kind in kinds)
        tower = Tower("model", tuple(range(12)), kinds, families, logs, names)
        named += bool(layer_findings({"a": [tower]}, METRIC))
    # Twice the 5 % that is meant would be 20.
    assert named <= 16


def test_a_single_hot_weight_makes_no_hot_layer() -> None:
    chance = scattered(10, 0.05, 0.05)
    told = found(rows(lambda i, k: chance(i, k) * (20 if (i, k) == (5, MLP[1]) else 1), layers=24))
    assert "hot_cell" in told
    assert "hot_layer" not in told


@pytest.mark.parametrize(
    ("kinds", "how"),
    [
        (ATTENTION[:1], ""),
        (ATTENTION[::2], ", in both kinds of weight"),
        (ATTENTION + MLP, ", in all kinds of weight together"),
    ],
)
def test_a_band_of_layers_is_named_however_few_the_kinds_of_weight(kinds: tuple[str, ...], how: str) -> None:
    """Four layers at three times the others among 80, where q and v alone were adapted as well."""
    chance = scattered(4, 0.08, 0.05)
    told = found(rows(lambda i, k: chance(i, k) * (3 if 40 <= i < 44 else 1), layers=80, kinds=kinds))
    band = told["hot_layer"]
    assert band.evidence["layers"] == [40, 41, 42, 43]
    assert band.text.startswith("Layers 40 to 43 of m changed more than the others")
    assert f" than the others{how}: " in band.text
    assert band.components == tuple(f"L{i}_{kind}" for i in range(40, 44) for kind in kinds)
    # The same weights are not told once more one by one.
    assert "hot_cell" not in told


def test_one_hot_weight_of_two_kinds_makes_no_hot_layer() -> None:
    chance = scattered(10, 0.05, 0.05)
    told = found(rows(lambda i, k: chance(i, k) * (9 if (i, k) == (5, ATTENTION[2]) else 1), layers=24,
                      kinds=ATTENTION[::2]))  # fmt: skip
    assert told["hot_cell"].components == (f"L5_{ATTENTION[2]}",)
    assert "hot_layer" not in told


def test_kinds_of_unlike_level_are_no_tilt() -> None:
    levels = dict(zip(ATTENTION + MLP, (1.0, 3.0, 0.5, 2.0, 4.0, 1.0, 2.0), strict=True))
    assert "family_tilt" not in found(rows(lambda _, kind: levels[kind]))


def test_a_second_tower_does_not_tilt_the_first() -> None:
    kinds = ("attn1.to_q", "attn2.to_v", "ff.net.0.proj", "ff.net.2")
    unet = rows(lambda *_: 10.0, kinds=kinds, layers=6, stack="unet")
    text = rows(lambda *_: 1.0, kinds=ATTENTION, stack="text_encoder")
    assert "family_tilt" not in found(unet + text)
    tilted = rows(
        lambda _, kind: 20.0 if "ff" in kind else 10.0,
        kinds=kinds, layers=6, stack="unet",
    )  # fmt: skip
    assert found(tilted + text)["family_tilt"].evidence["ratio"] == pytest.approx(2)


def test_a_hot_and_a_collapsed_weight_are_named_with_what_was_expected() -> None:
    chance = scattered(4)
    places = {(3, "mlp.up_proj"): 5.0, (7, "self_attn.k_proj"): 0.001}
    told = found(rows(lambda i, kind: chance(i, kind) * places.get((i, kind), 1.0)))
    assert told["hot_cell"].components == ("L3_mlp.up_proj",)
    assert told["hot_cell"].evidence["value"] == pytest.approx(5, rel=0.3)
    assert told["collapsed"].components == ("L7_self_attn.k_proj",)
    assert told["collapsed"].severity == "warning"


def test_heavy_tails_make_no_hot_weight() -> None:
    random = np.random.default_rng(5)
    told = [found(rows(lambda *_: float(np.exp(0.2 * random.standard_t(5))), layers=24)) for _ in range(20)]
    assert sum("hot_cell" in kinds for kinds in told) <= 2


def test_a_layer_that_changed_more_as_a_whole_has_no_hot_weight() -> None:
    chance = scattered(6)
    assert "hot_cell" not in found(rows(lambda i, kind: chance(i, kind) * (5 if i == 4 else 1)))


def test_ranks_are_large_and_do_not_change_most() -> None:
    value = rows(lambda i, _: 1.0 + (i >= 8) + 0.01 * (i % 3))
    spectra = [row | {"stable_rank": row[METRIC]} for row in value]
    assert "changed" not in found(spectra, metric="stable_rank")["late_layers"].text


def test_all_updates_of_zero_in_two_models_are_one_finding() -> None:
    none = [rows(lambda *_: 1.0, model=m, unscaled_frobenius_norm=0.0) for m in ("a", "b")]
    untrained = found(*none)["untrained"]
    assert (untrained.models, untrained.components) == (("a", "b"), ())


def equal(*contents: tuple[int, ...]) -> Between:
    """Models `a, b, …` whose weights are the same where the numbers of their contents are."""
    numbers = np.array(contents).T
    none = np.zeros((len(contents),) * 2)
    return Between(
        tuple("abcdef"[: len(contents)]), tuple(f"L{i}" for i in range(len(numbers))), ((4, 4),),
        np.zeros_like(numbers), numbers, np.zeros_like(numbers), none, none,
    )  # fmt: skip


def test_three_equal_models_are_one_duplicate() -> None:
    (duplicate,) = equal_updates(equal((0, 1, 2), (0, 1, 2), (0, 1, 2), (3, 4, 5)))
    assert (duplicate.kind, duplicate.models) == ("duplicate", ("a", "b", "c"))


def test_components_equal_in_several_models_are_one_finding() -> None:
    (frozen,) = equal_updates(equal((0, 1, 2), (0, 1, 3), (0, 1, -1), (7, 8, -1)))
    assert (frozen.kind, frozen.models, frozen.components) == ("frozen", ("a", "b", "c"), ("L0", "L1"))


def test_many_groups_with_equal_components_are_one_finding() -> None:
    pairs = equal(
        (0, 1, 2, 3), (0, 11, 12, 13), (20, 21, 22, 3), (30, 21, 32, 33), (40, 41, 42, 43), (5, 6, 42, 7)
    )
    (told,) = equal_updates(pairs)
    assert told.text == (
        "Components are identical in 4 groups of models, frozen between them: 1 of 4 in a and b; 1 of 4 in a "
        "and c; 1 of 4 in c and d; and 1 more."
    )
    assert len(told.evidence["each"]) == 4


def test_other_components_equal_in_other_models_are_findings_of_their_own() -> None:
    told = equal_updates(equal((0, 1, 2), (0, 9, 3), (5, 1, 4), (5, 8, 6)))
    assert [(f.models, f.components) for f in told] == [
        (("a", "b"), ("L0",)), (("c", "d"), ("L0",)), (("a", "c"), ("L1",)),
    ]  # fmt: skip
