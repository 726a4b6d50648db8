"""What is said of two and more models: planted directions, starts and runs are found, chance is not."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import polars as pl
import pytest

from tunescope.address import parse
from tunescope.delta import Delta, Factored
from tunescope.questions.subspace import sentences as say
from tunescope.questions.subspace.findings import subspace_findings, untold
from tunescope.questions.subspace.measure import SUMMARY_SCHEMA, compare
from tunescope.questions.subspace.pairs import SQUARE
from tunescope.questions.subspace.readout import subspace_markdown
from tunescope.questions.subspace.sight import fewest, nothing_stands_out, rank_with_room
from tunescope.questions.subspace.start import start_cosine
from tunescope.study.finding import Finding

Weights = Sequence[tuple[np.ndarray, np.ndarray]]
R, D_IN, D_OUT = 8, 64, 96


def summary(**models: Weights) -> pl.DataFrame:
    """The summary table of models given as `(B, A)` for each layer."""
    deltas = []
    for label, weights in models.items():
        found = []
        for layer, (B, A) in enumerate(weights):
            name, update = f"model.layers.{layer}.self_attn.q_proj", Factored(B, A, 1.0)
            shape = len(B), A.shape[1]
            found.append(Delta(parse(name), f"L{layer}_ATTN_Q", "lora", *shape, len(A), None, 1.0, (),
                               open=lambda update=update: update))  # fmt: skip
        deltas.append((label, found))
    return pl.DataFrame([c.row for c in compare(deltas)], schema=SUMMARY_SCHEMA)


def found(**models: Weights) -> list[Finding]:
    return subspace_findings(summary(**models))


def by_kind(**models: Weights) -> dict[str, Finding]:
    listed = found(**models)
    assert len({f.kind for f in listed}) == len(listed)
    return {f.kind: f for f in listed}


def gaussian(seed: int, n: int = 6, r: int = R, d_out: int = D_OUT, d_in: int = D_IN) -> list:
    random = np.random.default_rng(seed)
    return [(random.standard_normal((d_out, r)), random.standard_normal((r, d_in))) for _ in range(n)]


def planted(seed: int, count: int, square: float, *, n: int = 4, r: int = 16, d: int = 128, size: float = 5):
    """Two models whose first `count` output directions have this cos²; `size` makes them the leading ones."""
    random = np.random.default_rng(seed)
    pair: tuple[list, list] = ([], [])
    weights = np.r_[np.full(count, size), np.ones(r - count)]
    for _ in range(n):
        Q = np.linalg.qr(random.standard_normal((d, d)))[0]
        near = np.sqrt(square) * Q[:, :count] + np.sqrt(1 - square) * Q[:, r : r + count]
        other = np.linalg.qr(np.hstack([near, random.standard_normal((d, r - count))]))[0]
        for side, U in zip(pair, (Q[:, :r], other), strict=True):
            V = np.linalg.qr(random.standard_normal((4 * d, r)))[0]
            side.append((U * weights, V.T))
    return pair


def test_unrelated_models_surely_share_nothing() -> None:
    finding = by_kind(a=gaussian(0), b=gaussian(1))["nothing_shared"]
    for side in ("input", "output"):
        assert finding.evidence[f"bound_{side}"] < finding.evidence[f"limit_{side}"] <= 0.15
    assert finding.severity == "note"


def test_three_unrelated_models_are_one_sentence_with_three_names() -> None:
    (finding,) = found(a=gaussian(0), b=gaussian(1), c=gaussian(2))
    assert finding.models == ("a", "b", "c")
    assert "a, b and c, any two of them," in finding.text
    assert list(finding.evidence["each"]) == ["a · b", "a · c", "b · c"]


def test_what_most_weights_of_one_pair_share_is_not_said_of_a_pair_that_shares_in_one() -> None:
    a, b = planted(0, 8, 0.95, n=6)
    c = gaussian(7, r=16, d_out=128, d_in=512)
    c[0] = (b[0][0], c[0][1])
    texts = [f.text for f in found(a=a, b=b, c=c) if f.kind.endswith(("directions", "directions_shared"))]
    assert any(text.startswith("a and b ") and "all 6 weights" in text for text in texts), texts
    assert not any("any two" in text or "1 to 6" in text for text in texts), texts


@pytest.mark.parametrize("size", [5.0, 1.0])
@pytest.mark.parametrize(("r", "d"), [(16, 128), (16, 64), (16, 48)])
def test_four_of_sixteen_directions_are_found_leading_or_not(size: float, r: int, d: int) -> None:
    a, b = planted(0, 4, 0.9, r=r, d=d, size=size)
    kinds = by_kind(a=a, b=b)
    (finding,) = kinds.values()
    assert finding.kind in ("shared_directions", "first_directions_shared", "few_directions_shared")
    assert finding.evidence["dimensions_shared_output"] == pytest.approx(4, abs=1)
    assert finding.evidence["p"] < 0.01
    assert len(finding.components) == 4


def test_eight_leading_directions_are_found_although_the_spans_fill_the_space() -> None:
    a, b = planted(1, 8, 0.99, r=64, d=128)
    finding = by_kind(a=a, b=b)["shared_directions"]
    assert 6 <= finding.evidence["dimensions_shared_output"] <= 10
    assert " ± " in finding.text
    a, b = planted(1, 8, 0.99, r=64, d=256)
    assert by_kind(a=a, b=b)["first_directions_shared"].evidence["dimensions_shared_output"] == 8


def test_where_the_spans_fill_the_space_absence_is_not_claimed() -> None:
    a, b = gaussian(0, r=60, d_out=64, d_in=256), gaussian(1, r=60, d_out=64, d_in=256)
    table = summary(a=a, b=b)
    assert subspace_findings(table) == []
    assert table["dimensions_shared_output"].null_count() == 6
    (line,) = untold(table)
    assert line.startswith("a and b: ")
    assert "cannot be told" in line


def test_one_weight_of_many_is_no_run() -> None:
    start, one, other = gaussian(0, 20), gaussian(1, 20), gaussian(2, 20)
    a = [(B, A) for (_, A), (B, _) in zip(start, one, strict=True)]
    b = [(B, A) for (_, A), (B, _) in zip(start, other, strict=True)]
    b[0] = (0.7 * a[0][0] + b[0][0], a[0][1])
    kinds = by_kind(a=a, b=b)
    assert "same_run" not in kinds
    assert kinds["shared_directions"].components == ("L0_ATTN_Q",)
    assert kinds["shared_initialisation"].severity == "warning"
    later = [(1.5 * B + 0.3 * C, A) for (B, A), (C, _) in zip(a, other, strict=True)]
    finding = by_kind(a=a, b=later)["same_run"]
    assert "same direction (cosine 0.98), b 1.5" in finding.text
    assert finding.evidence["length_ratio"] == pytest.approx(1.53, abs=0.02)


def learned(seed: int, r: int = R) -> tuple[np.ndarray, np.ndarray]:
    """An A whose rows came to lie in eight directions that both runs learn, in a basis of its own."""
    random = np.random.default_rng(seed)
    common = np.linalg.qr(np.random.default_rng(99).standard_normal((D_IN, 8)))[0]
    A = random.standard_normal((r, 8)) @ common.T + 0.02 * random.standard_normal((r, D_IN))
    return random.standard_normal((D_OUT, r)), A


def test_inputs_learned_alike_are_not_called_a_common_start() -> None:
    finding = by_kind(a=[learned(1)], b=[learned(2)])["shared_inputs"]
    assert finding.severity == "note"
    assert "learned alike" in finding.text
    one, other = gaussian(1, 1), gaussian(2, 1)
    assert by_kind(a=one, b=[(other[0][0], one[0][1])])["shared_initialisation"].severity == "warning"


def test_a_single_direction_cannot_tell_a_start_in_one_weight_and_can_in_many() -> None:
    a, b = gaussian(1, 16, r=1), gaussian(2, 16, r=1)
    same = [(B, A) for (B, _), (_, A) in zip(b, a, strict=True)]
    assert by_kind(a=a[:1], b=same[:1]).keys() == {"shared_inputs"}
    assert by_kind(a=a, b=same).keys() == {"shared_initialisation"}


def test_a_factor_that_went_through_an_svd_no_longer_tells_its_start() -> None:
    one, other = gaussian(1, 3), gaussian(2, 3)
    same = [(B, A) for (B, _), (_, A) in zip(other, one, strict=True)]
    turned = []
    for B, A in same:
        U, values, Vt = np.linalg.svd(B @ A, full_matrices=False)
        turned.append((U[:, :R] * values[:R], Vt[:R]))
    assert by_kind(a=one, b=same).keys() == {"shared_initialisation"}
    assert by_kind(a=one, b=turned).keys() == {"shared_inputs"}


def test_cosines_of_starts_are_those_of_the_entries() -> None:
    (one,), (other,) = gaussian(1, 1), gaussian(2, 1)
    row = summary(a=[one], b=[(other[0], one[1] + 0.5 * other[1])]).row(0, named=True)
    x, y = one[1].ravel(), (one[1] + 0.5 * other[1]).ravel()
    assert row["start_cosine"] == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    assert start_cosine.__doc__


def test_slight_outputs_under_a_common_start_are_counted_with_it_not_called_shared() -> None:
    """One of eight output directions in each weight: 0.12 above chance, where unrelated adapters lie too."""
    start, one, other = gaussian(0, 12), gaussian(1, 12), gaussian(2, 12)
    a = [(B, A) for (_, A), (B, _) in zip(start, one, strict=True)]
    b = [(np.hstack([B[:, :1], C[:, 1:]]), A) for (B, A), (C, _) in zip(a, other, strict=True)]
    for finding in found(a=a, b=b):
        if finding.kind == "shared_directions":
            assert finding.evidence["excess_output"] >= 0.15
        assert finding.kind != "first_directions_shared"
    assert {f.kind for f in found(a=a, b=b)} >= {"shared_initialisation"}


def test_the_same_update_is_a_duplicate_and_in_some_weights_frozen() -> None:
    a, b = gaussian(0), gaussian(1)
    assert by_kind(a=a, b=a)["duplicate"].severity == "warning"
    kinds = by_kind(a=a, b=[*a[:2], *b[2:]])
    assert kinds["frozen"].components == ("L0_ATTN_Q", "L1_ATTN_Q")


@pytest.mark.parametrize("equal", [1, 3, 4, 6, 7])
def test_weights_that_are_equal_make_no_run_and_no_start_of_unrelated_others(equal: int) -> None:
    a = gaussian(0, 8)
    findings = by_kind(a=a, b=a[:equal] + gaussian(1, 8)[equal:])
    assert list(findings) == ["frozen"]
    assert len(findings["frozen"].components) == equal


def test_a_start_in_common_is_told_of_the_weights_that_are_not_equal() -> None:
    a = gaussian(0, 8)
    b = a[:5] + [(B, A) for (B, _), (_, A) in zip(gaussian(1, 8)[5:], a[5:], strict=True)]
    findings = by_kind(a=a, b=b)
    assert list(findings) == ["frozen", "shared_initialisation"]
    start = findings["shared_initialisation"]
    assert (len(start.components), start.evidence["compared"]) == (3, 8)


def test_a_model_that_cannot_be_compared_is_named_once_whatever_it_was_paired_with() -> None:
    zero = [(0 * B, A) for B, A in gaussian(3)]
    broken = [(B * np.nan, A) for B, A in gaussian(4)]
    listed = found(a=gaussian(0), b=gaussian(1), zero=zero, broken=broken)
    assert [(f.kind, f.models) for f in listed if f.severity == "warning"] == [
        ("untrained", ("zero",)), ("non_finite", ("broken",)),
    ]  # fmt: skip


def test_no_null_study_of_unrelated_models_raises_anything_but_absence() -> None:
    """Three models, 24 weights, spectra of few effective dimensions, ranks that differ."""
    for seed in range(6):
        models = {}
        for k, r in enumerate((4, 8, 16)):
            steep = 0.6 ** np.arange(r)
            models["abc"[k]] = [(B * steep, A) for B, A in gaussian(100 * seed + k, 24, r=r)]
        assert {f.kind for f in found(**models)} == {"nothing_shared"}


def test_inputs_and_outputs_in_common_are_two_facts_in_two_sentences() -> None:
    shared = {"excess_input": 0.4, "excess_output": 0.3, "outputs_told": True, "inputs_told": True}
    numbers = {**shared, "components": 6, "compared": 6, "outputs_shared": 6, "rank_a": 8, "rank_b": 8,
               "dimensions_shared_output": 2.5, "dimensions_shared_output_sd": 0.0,
               "dimensions_shared_input": 3.0, "dimensions_shared_input_sd": 0.0}  # fmt: skip
    inputs, outputs = (
        say.single(k, "a", "b", numbers, ["L0_ATTN_Q"]) for k in ("shared_inputs", "shared_directions")
    )
    assert "0.40" in inputs
    assert "0.30" not in inputs
    assert "overlap above chance 0.30 on the output side" in outputs
    assert "input" not in outputs


def test_no_count_is_given_where_less_than_one_direction_is_shared() -> None:
    numbers = {"excess_input": 0.0, "excess_output": 0.18, "inputs_told": False, "components": 2,
               "compared": 192, "rank_a": 1, "rank_b": 1, "dimensions_shared_output": 0.0,
               "dimensions_shared_input": 0.0}  # fmt: skip
    text = say.single("shared_directions", "a", "b", numbers, ["L0_ATTN_Q", "L1_ATTN_Q"])
    assert "one by one" not in text
    assert "2 of 192 weights" in text


def test_the_fewest_directions_that_would_be_found_are_found_in_a_single_weight() -> None:
    count = fewest(32, 32, 128, 2 * 4)["directions"]
    assert count == 2

    def of(number: int) -> set[str]:
        one, other = planted(3, number, SQUARE, n=1, r=32, d=128, size=1.0)
        return set(
            by_kind(a=[*gaussian(1, 3, 32, 128, 512), *one], b=[*gaussian(2, 3, 32, 128, 512), *other])
        )

    assert "few_directions_shared" in of(count)
    assert "few_directions_shared" not in of(count - 1)


def test_where_nothing_stands_out_the_fewest_directions_that_would_have_are_named() -> None:
    pairs = [{"n_compared": 4}, {"n_compared": 2}]
    seen = {"side": "output", "rank": 16, "d": 64, "weights": 6, "directions": 2, "above": 0.0801}
    blind = {**seen, "side": "input", "d": 16, "directions": None, "above": None}
    assert nothing_stands_out(pairs, [seen, blind]) == (
        "Nothing stands out in 6 comparisons of single weights. Smallest that would have been found, "
        "nine times in ten: 2 of 16 output directions (0.08 above chance) in common in any one of them, at "
        "cos² 0.9. In 6 of 12 sides the spans leave no room to tell."
    )


def test_where_a_whole_model_fills_the_space_the_cut_that_leaves_room_is_named_and_does() -> None:
    shape = {"model_a": ["full"] * 4, "model_b": ["lora"] * 4, "d_in": [64] * 4, "d_out": [64] * 4}
    frame = pl.DataFrame({**shape, "rank_a": [64] * 4, "rank_b": [4] * 4})
    room = rank_with_room(frame, {"full"})
    assert room is not None
    # The largest power of two: of twice as many leading directions nothing could be told.
    assert fewest(room, 4, 64, 8)["directions"] is not None
    assert fewest(2 * room, 4, 64, 8)["directions"] is None
    assert rank_with_room(frame, {"lora"}) is None  # an adapter keeps its directions: its cut would not help
    assert rank_with_room(frame.with_columns(rank_a=pl.lit(room)), {"full"}) is None
    blind = {"side": "output", "rank": 4, "d": 64, "weights": 4, "directions": None, "above": None}
    pairs = [{"model_a": "full", "model_b": "lora", "n_compared": 4, "not_compared": {}}]
    assert nothing_stands_out(pairs, [blind], room).endswith(
        f"With --max-rank {room} only the {room} leading directions of a whole model are compared."
    )


def test_a_model_against_itself_is_no_comparison_that_tells_anything() -> None:
    own = [{"model_a": name, "model_b": name, "n_compared": 4, "not_compared": {}} for name in "ab"]
    text = nothing_stands_out(own[:1], [])
    assert text.startswith("a is compared with itself, where whole spans are equal (overlap 1)")
    assert nothing_stands_out(own, []).startswith("a and b are each compared with themselves,")
    other = {"model_a": "a", "model_b": "b", "n_compared": 3, "not_compared": {}}
    blind = {"side": "output", "rank": 16, "d": 16, "weights": 3, "directions": None, "above": None}
    assert nothing_stands_out([*own, other], [blind]) == (
        "Nothing can be told from 3 comparisons of single weights: the spans leave no room for it."
    )
    untrained = {**own[0], "n_compared": 0, "not_compared": {"ΔW of a is zero": 4}}
    assert nothing_stands_out([untrained], []) == "No weight could be compared: ΔW of a is zero (4 weights)."


def test_means_over_all_weights_are_told_apart_from_those_of_a_finding_about_some() -> None:
    line = "Means over all weights of a pair; a finding that names fewer gives the means of those."

    def readout(components: int) -> list[str]:
        evidence = {"components": components, "compared": 16}
        found = Finding(
            "shared_directions", "a and b changed common directions.", ("a", "b"), evidence=evidence
        )
        document = {"pairs": [], "findings": [found.record()], "visible": [], "untold": []}
        return subspace_markdown({**document, "thresholds": say.THRESHOLDS}).splitlines()

    assert line in readout(13)
    assert line not in readout(16)


def test_of_no_comparison_it_is_said_why_there_is_none() -> None:
    pair = {"n_compared": 0, "not_compared": {"ΔW of b is zero": 3}}
    assert nothing_stands_out([pair], []) == "No weight could be compared: ΔW of b is zero (3 weights)."
    assert nothing_stands_out([{**pair, "not_compared": {}}], []) == (
        "No weight could be compared: the sources have none in common."
    )


def test_one_fact_in_many_pairs_names_few_of_them() -> None:
    every = list(combinations("abcde", 2))
    assert say._pairs(every) == "a, b, c, d and e, any two of them,"
    but = [pair for pair in every if pair not in (("a", "b"), ("d", "e"))]
    assert say._pairs(but) == "a, c, d, e and b, any two of them but a with b and d with e,"
    assert say._pairs(every[:2]) == "a with b and a with c"
    half = [("a", x) for x in "bcdefgh"]
    assert say._pairs(half) == "7 pairs (a with b, a with c, a with d and 4 more)"


def test_a_count_of_directions_is_told_apart_from_how_far_those_of_random_subspaces_scatter() -> None:
    numbers = {"dimensions_shared_output": 4.0, "rank_a": 16, "rank_b": 16}
    assert say._count(numbers, "output") == "4 of 16"
    scatters = [say._scatter([{"dimensions_shared_output_sd": sd}], "output") for sd in (0.21, 0.012, None)]
    assert scatters == [
        f"random subspaces: 0 ± {sd}, one standard deviation" for sd in ("0.2", "0.02", "0.01")
    ]


def test_a_few_weights_just_above_the_line_are_no_finding_beside_the_others() -> None:
    # One direction of eight in common: an excess of 0.12, which scatters to both sides of 0.15.
    draw = np.random.default_rng(0)
    models: list[Weights] = [[], []]
    for _ in range(40):
        shared = draw.standard_normal((64, 1))
        for model in models:
            B = np.linalg.qr(np.hstack([shared, draw.standard_normal((64, 7))]))[0]
            model.append((B, draw.standard_normal((8, 64))))
    kinds = {finding.kind for finding in found(a=models[0], b=models[1])}
    assert kinds == {"few_directions_shared"}
