import math

import ml_dtypes
import numpy as np
import pytest

from tunescope.delta import Dense, InMemory
from tunescope.questions.trajectory.course import follow_whole
from tunescope.questions.trajectory.motion import follow

RNG = np.random.default_rng(3)


def walk(dtype: type, size: int, steps: int = 4) -> list[np.ndarray]:
    """A weight of which a tenth moves at each step."""
    found = [RNG.normal(scale=0.1, size=size)]
    for _ in range(steps - 1):
        found.append(found[-1] + (RNG.random(size) < 0.1) * RNG.normal(scale=0.05, size=size))
    return [weights.astype(dtype) for weights in found]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("size", [1, 999, (1 << 18) + 7])
@pytest.mark.parametrize("given", [True, False])
def test_all_numbers_are_numpys_in_float64(dtype: type, size: int, given: bool) -> None:
    start, *weights = walk(dtype, size)
    origin = (start if given else weights[0]).astype(np.float64)
    found = follow_whole(
        [InMemory(w) for w in weights], InMemory(start) if given else None, "start" if given else "first"
    )
    deltas = [w.astype(np.float64) - origin for w in weights]
    for i, (motion, delta) in enumerate(zip(found, deltas, strict=True)):
        moments, reference = motion.factors["W"]
        assert reference == ("start" if given else "first")
        expected = (delta.mean(), delta.var(), np.abs(delta).mean(), np.abs(delta).var())
        got = (moments.mean, moments.variance, moments.abs_mean, moments.abs_variance)
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-12)
        assert motion.norm == pytest.approx(np.linalg.norm(delta), rel=1e-7)
        assert motion.changed_fraction == pytest.approx((delta != 0).mean(), abs=1e-15)
        pairs = [(deltas[-1], motion.cosine_to_last)]
        pairs += [(deltas[i - 1], motion.cosine_to_previous)] if i else []
        for other, cosine in pairs:
            if scale := np.linalg.norm(delta) * np.linalg.norm(other):
                assert cosine == pytest.approx(np.vdot(delta, other) / scale, abs=1e-6)


def test_it_says_what_the_plain_way_says() -> None:
    weights = walk(np.float32, 5000)
    streamed = follow_whole([InMemory(w) for w in weights], None, "first_checkpoint")
    plain = list(follow([lambda w=w: Dense(w.reshape(50, 100)) for w in weights], origin="first_checkpoint"))
    for a, b in zip(streamed, plain, strict=True):
        assert a.norm == pytest.approx(b.norm, rel=1e-12)
        assert a.cosine_to_last == pytest.approx(b.cosine_to_last, abs=1e-12, nan_ok=True)


def test_a_checkpoint_that_lacks_the_weight_is_passed_over() -> None:
    a, b = walk(np.float32, 30, 2)
    found = follow_whole([None, InMemory(a), None, InMemory(b)], None, "first_checkpoint")
    assert [motion.index for motion in found] == [1, 3]
    assert math.isnan(found[0].cosine_to_previous)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_what_is_not_finite_shows_from_there_on(dtype: type) -> None:
    a, b, c = walk(dtype, 300, 3)
    for broken in (b, c):
        broken[7] = np.nan
    found = follow_whole([InMemory(w) for w in (a, b, c)], None, "first_checkpoint")
    assert [math.isfinite(motion.factors["W"][0].abs_mean) for motion in found] == [True, False, False]
    assert math.isnan(found[1].norm)
    always = follow_whole([InMemory(w) for w in (b, b)], None, "first_checkpoint")
    assert all(math.isnan(motion.factors["W"][0].mean) for motion in always)
