"""Pairs of models at one weight: what the rows and grids say, degenerate inputs included."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from tunescope.address import parse
from tunescope.delta import Delta, Dense, Factored, Update
from tunescope.errors import UsageError
from tunescope.questions.subspace.directions import Selection
from tunescope.questions.subspace.measure import GRID_SCHEMA, SUMMARY_SCHEMA, compare

NAME = "model.layers.0.self_attn.q_proj"
D_OUT, D_IN, R = 60, 50, 8


def delta(update: Update, name: str = NAME) -> Delta:
    shape = update.dense().shape
    rank = len(update.A) if isinstance(update, Factored) else None
    return Delta(parse(name), "L0_ATTN_Q", "lora", *shape, rank, None, update.scale, (), open=lambda: update)


def gaussian(seed: int, r: int = R, scale: float | None = 1.0) -> Factored:
    random = np.random.default_rng(seed)
    return Factored(random.standard_normal((D_OUT, r)), random.standard_normal((r, D_IN)), scale)


def one(a: Update, b: Update, **options: Any) -> tuple[dict[str, Any], pl.DataFrame]:
    (found,) = compare([("a", [delta(a)]), ("b", [delta(b)])], Selection(**options))
    return found.row, found.grids


def test_every_cell_carries_phi_chance_and_z() -> None:
    row, grids = one(gaussian(0), gaussian(1, r=3))
    assert dict(grids.schema) == GRID_SCHEMA
    assert grids.group_by("of", "side").len().sort("of", "side").rows() == [
        ("A", "input", 24), ("B", "output", 24), ("delta", "input", 24), ("delta", "output", 24),
    ]  # fmt: skip
    cell = grids.filter((pl.col("of") == "delta") & (pl.col("side") == "output")).row(-1, named=True)
    assert (cell["i"], cell["j"]) == (8, 3)
    assert cell["phi_chance"] == 8 / D_OUT
    assert cell["phi"] == pytest.approx(row["overlap_output"])
    assert cell["z"] == pytest.approx(row["overlap_output_z"])
    assert set(row) <= set(SUMMARY_SCHEMA)


def test_the_first_columns_of_grid_and_summary_are_the_documented_ones() -> None:
    assert list(GRID_SCHEMA)[:13] == [
        "model_a", "model_b", "stack", "layer", "module_type", "expert", "of", "side", "i", "j", "phi",
        "phi_chance", "z",
    ]  # fmt: skip
    assert list(SUMMARY_SCHEMA)[:6] == list(GRID_SCHEMA)[:6]


def test_summary_numbers_equal_their_dense_definitions() -> None:
    a, b = gaussian(0, scale=2.0), gaussian(1, scale=-0.5)
    row, _ = one(a, b)
    one_, other = a.dense(), b.dense()
    assert row["inner"] == pytest.approx(np.vdot(one_, other))
    assert row["norm_a"] == pytest.approx(np.linalg.norm(one_))
    assert row["delta_cosine"] == pytest.approx(
        np.vdot(one_, other) / np.linalg.norm(one_) / np.linalg.norm(other)
    )
    spans = [np.linalg.svd(M)[0][:, :R] for M in (one_, other)]
    cosines = np.linalg.svd(spans[0].T @ spans[1], compute_uv=False)
    assert row["overlap_output"] == pytest.approx((cosines**2).sum() / R)
    assert row["angle_smallest_output"] == pytest.approx(math.degrees(math.acos(cosines[0])))
    assert row["angle_largest_output"] == pytest.approx(math.degrees(math.acos(cosines[-1])))
    assert row["excess_output"] == pytest.approx((row["overlap_output"] - R / D_OUT) / (1 - R / D_OUT))


def test_identical_updates_are_said_to_be_and_every_nested_cell_is_1() -> None:
    row, grids = one(gaussian(0), gaussian(0))
    assert row["finding"] == "identical"
    assert row["delta_cosine"] == pytest.approx(1.0)
    np.testing.assert_allclose(grids["phi"], 1.0, atol=1e-10)


def test_common_inputs_under_independent_outputs_are_a_shared_initialisation() -> None:
    a, b = gaussian(0), gaussian(1)
    row, _ = one(a, Factored(b.B, a.A + 0.05 * b.A))
    assert row["finding"] == "shared_initialisation"
    assert row["dimensions_shared_input"] == R
    assert row["dimensions_shared_output"] == 0


def test_a_later_step_of_a_run_is_the_same_run() -> None:
    a, b = gaussian(0), gaussian(1)
    row, _ = one(a, Factored(a.B + 0.8 * b.B, a.A + 0.05 * b.A))
    assert row["finding"] == "same_run"


def test_unrelated_updates_share_nothing() -> None:
    row, _ = one(gaussian(0, r=4), gaussian(1, r=4))
    assert row["finding"] == "nothing_shared"
    assert row["dimensions_shared"] == 0
    assert row["excess_leading"] is None


@pytest.mark.parametrize("shared", [1, 3])
def test_first_directions_shared_are_counted(shared: int) -> None:
    random = np.random.default_rng(9)
    common_out, common_in = (np.linalg.qr(random.standard_normal((d, shared)))[0] for d in (D_OUT, D_IN))
    updates = []
    for _ in range(2):
        U = np.linalg.qr(np.hstack([common_out, random.standard_normal((D_OUT, R - shared))]))[0]
        V = np.linalg.qr(np.hstack([common_in, random.standard_normal((D_IN, R - shared))]))[0]
        updates.append(Factored(U * np.linspace(5, 0.5, R), V.T))
    row, _ = one(*updates)
    assert row["dimensions_shared_output"] == row["dimensions_shared_input"] == shared
    assert row["excess_leading"] == pytest.approx(1.0)
    assert row["finding"] == "first_directions_shared"


def test_directions_learned_in_common_from_different_starts() -> None:
    a, b = gaussian(0), gaussian(1)
    row, _ = one(a, Factored(a.B + 0.2 * b.B, b.A))
    assert row["finding"] == "shared_directions"


def test_an_all_zero_factor_is_untrained_with_no_numbers_and_no_nan() -> None:
    zero = Factored(np.zeros((D_OUT, R)), gaussian(0).A)
    row, grids = one(gaussian(1), zero)
    assert (row["finding"], row["status"]) == ("untrained", "ΔW of b is zero")
    assert "overlap_input" not in row
    assert grids.height == 0


def test_values_that_are_not_finite_are_named() -> None:
    broken = gaussian(0)
    broken.B[3, 2] = np.nan
    row, grids = one(broken, gaussian(1))
    assert row["finding"] == "non_finite"
    assert row["status"] == "a: non-finite: 1 value"
    assert grids.height == 0


def test_rank_one_updates_give_one_cell() -> None:
    row, grids = one(gaussian(0, r=1), gaussian(1, r=1))
    assert grids.height == 4
    assert row["rank_a"] == row["rank_b"] == 1
    assert grids["unique"].all()


def test_a_rank_deficient_update_counts_only_its_numerical_rank() -> None:
    a = gaussian(0)
    a.B[:, 4:] = a.B[:, :4]
    row, grids = one(a, gaussian(1), of=("delta",))
    assert (row["rank_a"], row["rank_b"]) == (4, 8)
    assert grids["i"].max() == 4


def test_phi_at_repeated_singular_values_is_marked_as_not_unique() -> None:
    orthogonal = np.linalg.qr(np.random.default_rng(0).standard_normal((D_OUT, 3)))[0]
    tied = Factored(orthogonal * np.array([2.0, 2.0, 1.0]), np.eye(3, D_IN))
    _, grids = one(tied, gaussian(1), of=("delta",), sides=("output",))
    by_row = grids.group_by("i").agg(pl.col("unique").all()).sort("i")
    assert by_row.rows() == [(1, False), (2, True), (3, True)]


def test_z_is_null_where_chance_leaves_no_room() -> None:
    square = [Factored(np.random.default_rng(s).standard_normal((4, 4)), np.eye(4, 9)) for s in (0, 1)]
    _, grids = one(*square, of=("B",))
    corner = grids.filter((pl.col("i") == 4) & (pl.col("j") == 2)).row(0, named=True)
    assert corner["phi"] == pytest.approx(1.0)
    assert corner["z"] is None
    assert not grids["z"].is_nan().any()


def test_max_rank_cuts_the_grids_and_leaves_the_summary() -> None:
    whole, _ = one(gaussian(0), gaussian(1))
    cut, grids = one(gaussian(0), gaussian(1), max_rank=3)
    assert (grids["i"].max(), grids["j"].max()) == (3, 3)
    assert cut["overlap_output"] == whole["overlap_output"]


def test_a_full_matrix_is_compared_with_factors() -> None:
    a = gaussian(0)
    row, grids = one(Dense(a.dense()), a)
    assert row["finding"] == "identical"
    assert set(grids["of"]) == {"delta"}


def test_a_large_matrix_of_low_rank_has_that_rank_and_those_directions() -> None:
    random = np.random.default_rng(0)
    large = Factored(random.standard_normal((600, 5)), random.standard_normal((5, 550)))
    dense = Dense(large.dense().astype(np.float32))
    row, _ = one(dense, large)
    assert row["rank_a"] == row["rank_b"] == 5
    assert row["overlap_input"] == pytest.approx(1.0, abs=1e-6)
    assert row["overlap_output"] == pytest.approx(1.0, abs=1e-6)


def test_an_unknown_scale_leaves_directions_as_they_are() -> None:
    known, _ = one(gaussian(0), gaussian(1))
    unknown, _ = one(gaussian(0, scale=None), gaussian(1, scale=None))
    assert unknown["overlap_output"] == known["overlap_output"]


def test_weights_that_one_model_lacks_or_shapes_that_differ_have_a_row_that_says_so() -> None:
    other = "model.layers.1.self_attn.q_proj"
    small = Factored(np.ones((5, 1)), np.ones((1, 4)))
    a = [delta(gaussian(0)), delta(gaussian(1), other)]
    rows = [found.row for found in compare([("a", a), ("b", [delta(small)])])]
    assert [row["status"] for row in rows] == ["shapes differ: 60×50 and 5×4", "only in a"]
    assert rows[1]["rank_b"] is None


def test_a_source_that_holds_only_a_part_of_the_update_is_named() -> None:
    part = replace(delta(gaussian(0)), status="directional part only")
    (found,) = compare([("a", [part]), ("b", [delta(gaussian(1))])])
    assert found.row["status"] == "a: directional part only"
    assert found.row["overlap_output"] > 0


def test_all_pairs_and_each_with_itself_where_asked() -> None:
    models = [(label, [delta(gaussian(k))]) for k, label in enumerate("abc")]
    pairs = [(f.row["model_a"], f.row["model_b"]) for f in compare(models, against_self=True)]
    assert pairs == [("a", "a"), ("b", "b"), ("c", "c"), ("a", "b"), ("a", "c"), ("b", "c")]


def test_a_matrix_without_the_asked_side_is_refused() -> None:
    with pytest.raises(UsageError, match="no-such-side"):
        list(compare([], Selection(of=("A",), sides=("output",))))


@pytest.mark.parametrize("max_rank", [None, 3])
def test_norms_and_cosine_of_a_full_matrix_are_those_of_the_whole(max_rank: int | None) -> None:
    random = np.random.default_rng(4)
    full = Dense(random.standard_normal((90, 80)), 0.5)
    other = Factored(random.standard_normal((90, 4)), random.standard_normal((4, 80)), -2.0)
    for b in (other, Dense(full.matrix + random.standard_normal((90, 80)))):
        row, _ = one(full, b, max_rank=max_rank)
        products = np.vdot(full.dense(), b.dense()), np.linalg.norm(full.dense()), np.linalg.norm(b.dense())
        assert row["rank_a"] == (max_rank or 64)
        assert (row["inner"], row["norm_a"], row["norm_b"]) == pytest.approx(products)
        assert row["delta_cosine"] == pytest.approx(products[0] / products[1] / products[2])


def test_a_tie_with_the_first_direction_left_out_is_seen() -> None:
    tied = Dense(np.diag([3.0, 2.0, 2.0, 1.0]))
    _, grids = one(tied, tied, max_rank=2)
    assert grids.filter((pl.col("i") == 1) & (pl.col("j") == 1))["unique"].all()
    assert not grids.filter(pl.col("i") == 2)["unique"].any()


def test_a_scale_of_zero_is_an_update_of_zero() -> None:
    row, grids = one(gaussian(0), gaussian(1, scale=0.0))
    assert (row["finding"], row["status"]) == ("untrained", "ΔW of b is zero")
    assert grids.height == 0


def test_a_start_that_training_has_half_left_is_not_called_learned() -> None:
    random = np.random.default_rng(1)
    start = random.standard_normal((R, 400))
    a, b = (
        Factored(random.standard_normal((400, R)), start + 0.8 * random.standard_normal((R, 400)))
        for _ in range(2)
    )
    row, _ = one(a, b)
    assert 0.15 < row["excess_input"] < 0.5
    assert row["finding"] == "shared_initialisation"


def test_one_unknown_scale_leaves_sizes_null_and_claims_nothing_about_them() -> None:
    row, _ = one(gaussian(0), gaussian(0, scale=None))
    assert row["norm_a"] is None
    assert row["delta_cosine"] == pytest.approx(1.0)
    assert row["finding"] == "same_run"
