import math

import ml_dtypes
import numpy as np
import pytest

from tunescope.delta import Dense, Factored
from tunescope.questions.trajectory import motion
from tunescope.questions.trajectory.motion import Displacement, cosine, follow, moments

RNG = np.random.default_rng(7)


def lora(scale: float | None = 2.0, d_out: int = 30, d_in: int = 20, r: int = 4) -> Factored:
    return Factored(RNG.normal(size=(d_out, r)), RNG.normal(size=(r, d_in)), scale)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("block", [1 << 20, 7])
def test_moments_are_those_of_numpy(monkeypatch: pytest.MonkeyPatch, dtype: type, block: int) -> None:
    monkeypatch.setattr(motion, "_BLOCK", block)
    now, start = (RNG.normal(loc=3, size=(13, 11)).astype(dtype) for _ in range(2))
    delta = now.astype(np.float64) - start.astype(np.float64)
    found = moments(now, start)
    expected = (delta.mean(), delta.var(), np.abs(delta).mean(), np.abs(delta).var())
    np.testing.assert_allclose(
        (found.mean, found.variance, found.abs_mean, found.abs_variance), expected, rtol=1e-12, atol=1e-14
    )
    assert found.numel == 143


def test_moments_against_zero_keep_their_digits_far_from_zero() -> None:
    values = 1e6 + RNG.normal(size=5000)
    found = moments(values)
    assert found.variance == pytest.approx(values.var(), rel=1e-9)
    assert found.mean == found.abs_mean


def test_moments_of_nothing_and_of_nan() -> None:
    assert moments(np.zeros((0, 4))).numel == 0
    assert math.isnan(moments(np.array([1.0, np.nan])).abs_mean)


def test_lora_norm_and_cosines_equal_the_dense_ones() -> None:
    updates = [lora() for _ in range(3)]
    found = list(follow([lambda u=u: u for u in updates]))
    dense = [u.dense() for u in updates]
    for m, w in zip(found, dense, strict=True):
        assert m.norm == pytest.approx(np.linalg.norm(w), rel=1e-12)
        expected = np.vdot(w, dense[-1]) / np.linalg.norm(w) / np.linalg.norm(dense[-1])
        assert m.cosine_to_last == pytest.approx(expected, abs=1e-12)
    between = np.vdot(dense[0], dense[1]) / np.linalg.norm(dense[0]) / np.linalg.norm(dense[1])
    assert found[1].cosine_to_previous == pytest.approx(between, abs=1e-12)
    assert math.isnan(found[0].cosine_to_previous)


def test_without_a_start_b_counts_from_zero_and_a_from_the_first_checkpoint() -> None:
    first, second = lora(), lora()
    found = list(follow([lambda: first, lambda: second]))
    assert [m.factors["A"][1] for m in found] == ["first_checkpoint"] * 2
    assert [m.factors["B"][1] for m in found] == ["zero"] * 2
    assert found[0].factors["A"][0].abs_mean == 0
    assert found[1].factors["A"][0].abs_mean == pytest.approx(np.abs(second.A - first.A).mean())
    assert found[1].factors["B"][0].mean == pytest.approx(second.B.mean())


def test_with_a_start_delta_w_is_the_difference_of_the_products() -> None:
    start, now = lora(), lora()
    (found,) = follow([lambda: now], lambda: start)
    assert found.norm == pytest.approx(np.linalg.norm(now.dense() - start.dense()), rel=1e-12)
    assert {reference for _, reference in found.factors.values()} == {"start"}
    assert found.factors["A"][0].mean == pytest.approx((now.A - start.A).mean())


def test_a_motion_far_below_the_weights_does_not_cancel() -> None:
    start = lora()
    nudge = 1e-9 * RNG.normal(size=start.A.shape)
    moved = Displacement(Factored(start.B, start.A + nudge, 2.0), start)
    exact = np.linalg.norm(2.0 * start.B @ ((start.A + nudge) - start.A))
    assert moved.norm == pytest.approx(exact, rel=1e-6)


def test_whole_weights_count_from_the_first_checkpoint() -> None:
    weights = [Dense(RNG.normal(size=(6, 5)).astype(np.float32)) for _ in range(3)]
    found = list(follow([lambda w=w: w for w in weights], origin="first_checkpoint"))
    deltas = [w.dense() - weights[0].dense() for w in weights]
    assert [m.norm for m in found] == pytest.approx([np.linalg.norm(d) for d in deltas])
    assert found[0].norm == 0
    assert math.isnan(found[0].cosine_to_last)
    expected = np.vdot(deltas[1], deltas[2]) / np.linalg.norm(deltas[1]) / np.linalg.norm(deltas[2])
    assert found[1].cosine_to_last == pytest.approx(expected)
    assert found[2].factors["W"] == (moments(deltas[2]), "first_checkpoint")


def test_a_weight_that_some_checkpoints_lack_is_followed_where_it_is() -> None:
    first, last = lora(), lora()
    assert [m.index for m in follow([None, lambda: first, None, lambda: last])] == [1, 3]
    assert list(follow([None, None])) == []


def test_mixed_forms_and_unknown_scales() -> None:
    low, same = lora(), Dense(np.zeros((30, 20)))
    same = Dense(low.dense())
    assert cosine(Displacement(low), Displacement(same)) == pytest.approx(1)
    assert math.isnan(Displacement(lora(scale=None)).norm)
    assert math.isnan(cosine(Displacement(low), Displacement(Factored(low.B * 0, low.A, 2.0))))


def test_a_changed_rank_leaves_a_without_its_first_checkpoint() -> None:
    small, large = lora(r=2), lora(r=4)
    found = list(follow([lambda: small, lambda: large]))
    assert [m.factors["A"][1] for m in found] == ["first_checkpoint", "zero"]
    assert Displacement(large, small).norm == pytest.approx(np.linalg.norm(large.dense() - small.dense()))


@pytest.mark.parametrize("size", [1e-3, 1e-6, 1e-9])
def test_norms_and_cosines_do_not_cancel_where_the_gauge_has_changed(size: float) -> None:
    B, A = RNG.normal(size=(50, 6)), RNG.normal(size=(6, 40))
    turn = np.linalg.qr(RNG.normal(size=(6, 6)))[0]
    moved = [size * RNG.normal(size=B.shape) for _ in range(2)]
    updates = [Factored((B + m) @ turn, turn.T @ A, 2.0) for m in moved]
    found = list(follow([lambda u=u: u for u in updates], lambda: Factored(B, A, 2.0)))
    true = [2.0 * m @ A for m in moved]
    for motion_at, dense in zip(found, true, strict=True):
        assert motion_at.norm == pytest.approx(np.linalg.norm(dense), rel=1e-12 / size)
    expected = np.vdot(*true) / np.linalg.norm(true[0]) / np.linalg.norm(true[1])
    assert found[0].cosine_to_last == pytest.approx(expected, abs=1e-12 / size)
