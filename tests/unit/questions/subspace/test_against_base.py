"""Amplification and intruder rows against dense algebra."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tunescope.address import parse
from tunescope.delta import Delta, Dense, Factored
from tunescope.questions.subspace.amplification import SCHEMA, AgainstBase, against_base
from tunescope.questions.subspace.intruders import SCHEMA as INTRUDER_SCHEMA

D_OUT, D_IN, R = 50, 40, 4


def setting(scale: float | None = 2.0) -> tuple[NDArray[np.float32], Factored, Delta]:
    random = np.random.default_rng(0)
    W = random.standard_normal((D_OUT, D_IN)).astype(np.float32)
    update = Factored(random.standard_normal((D_OUT, R)), random.standard_normal((R, D_IN)), scale)
    name = "model.layers.2.self_attn.q_proj"
    delta = Delta(parse(name), "L2_ATTN_Q", "lora", D_OUT, D_IN, R, None, scale, (), open=lambda: update)
    return W, update, delta


def test_the_amplification_table_is_the_papers() -> None:
    W, update, delta = setting()
    ((rows, _),) = against_base([("a", [delta])], lambda _: W, AgainstBase(ranks=(2, 99)))
    assert [(row["rank"], row["directions"]) for row in rows] == [
        (k, kind) for k in (2, 4) for kind in ("delta", "base", "random")
    ]
    assert set(rows[0]) <= set(SCHEMA)
    U, _, Vt = np.linalg.svd(update.dense())
    values = np.linalg.svd(W, compute_uv=False)
    for row in rows[::3]:
        k = row["rank"]
        along = np.linalg.norm(U[:, :k].T @ W @ Vt[:k].T)
        assert row["projected_norm"] == pytest.approx(along, rel=1e-5)
        assert row["amplification"] == pytest.approx(np.linalg.norm(update.dense()) / along, rel=1e-5)
        assert row["base_norm"] == pytest.approx(np.linalg.norm(W), rel=1e-6)
    for row in rows[1::3]:
        assert row["projected_norm"] == pytest.approx(np.linalg.norm(values[: row["rank"]]), rel=1e-5)


def test_random_directions_lie_where_chance_puts_them() -> None:
    W, _, delta = setting()
    norms = []
    for seed in range(20):
        ((rows, _),) = against_base([("a", [delta])], lambda _: W, AgainstBase(seed=seed))
        norms.append(rows[2]["projected_norm"] ** 2)
    expected = np.linalg.norm(W) ** 2 * R * R / (D_OUT * D_IN)
    assert np.mean(norms) == pytest.approx(expected, rel=0.25)


def test_overlap_with_the_bases_own_directions_is_1_where_the_update_lies_there() -> None:
    W, _, delta = setting()
    U, _, Vt = np.linalg.svd(W.astype(np.float64))
    own = Factored(U[:, :R] * np.array([4.0, 3.0, 2.0, 1.0]), Vt[:R], 1.0)
    same = Delta(delta.address, "L2_ATTN_Q", "lora", D_OUT, D_IN, R, None, 1.0, (), open=lambda: own)
    ((rows, intruders),) = against_base([("a", [same])], lambda _: W)
    assert rows[0]["overlap_input"] == pytest.approx(1.0, abs=1e-3)
    assert rows[0]["overlap_output"] == pytest.approx(1.0, abs=1e-3)
    assert not any(row["intruder"] for row in intruders)


def test_intruder_rows_are_those_of_the_full_svds() -> None:
    W, update, delta = setting()
    ((_, rows),) = against_base([("a", [delta])], lambda _: W, AgainstBase(intruders=6))
    before, after = (
        np.linalg.svd(M, full_matrices=False)[0] for M in (W.astype(np.float64), W + update.dense())
    )
    exact = np.abs(before.T @ after[:, :6]).max(axis=0)
    assert [row["index"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["intruder"] for row in rows] == list(exact < 0.5)
    assert sum(row["intruder"] for row in rows) >= R - 1
    assert set(rows[0]) == set(INTRUDER_SCHEMA)


def test_an_unknown_scale_leaves_what_needs_it_null() -> None:
    W, _, delta = setting(scale=None)
    ((rows, intruders),) = against_base([("a", [delta])], lambda _: W)
    assert rows[0]["projected_norm"] > 0
    assert rows[0]["delta_norm"] is None
    assert rows[0]["amplification"] is None
    assert intruders == []


def test_a_weight_that_cannot_be_read_is_a_row_that_says_so() -> None:
    _, _, delta = setting()
    ((rows, intruders),) = against_base([("a", [delta])], lambda _: "not in the base")
    assert [row["status"] for row in rows] == ["not in the base"]
    assert intruders == []


def test_the_norm_of_an_update_given_as_a_matrix_is_that_of_the_whole() -> None:
    W = np.random.default_rng(3).standard_normal((90, 80)).astype(np.float32)
    matrix = np.random.default_rng(4).standard_normal((90, 80))
    _, _, plain = setting()
    dense = replace(plain, d_out=90, d_in=80, rank=None, scale=0.5, open=lambda: Dense(matrix, 0.5))
    ((rows, _),) = against_base([("a", [dense])], lambda _: W)
    assert rows[0]["delta_norm"] == pytest.approx(0.5 * np.linalg.norm(matrix))


def test_a_base_that_is_not_finite_is_said_and_one_of_zeros_is_measured() -> None:
    W, _, delta = setting()
    W[1, 1] = np.inf
    ((rows, intruders),) = against_base([("a", [delta])], lambda _: W)
    assert [row["status"] for row in rows] == ["the base holds NaN or infinite values"]
    assert intruders == []
    ((rows, intruders),) = against_base([("a", [delta])], lambda _: np.zeros_like(W))
    assert rows[0]["projected_norm"] == 0.0
    assert rows[0]["amplification"] is None
    assert all(math.isfinite(row["best_cosine"]) for row in intruders)
