"""Factored = dense for the motion of a LoRA pair, whatever its shapes, scales and start."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunescope.delta import Dense, Factored
from tunescope.questions.trajectory.motion import Displacement, cosine

SIZES = st.integers(1, 9)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Factored, Factored, Factored]:
    """Two updates and a start of one shape, of ranks and scales of their own."""
    d_out, d_in = draw(SIZES), draw(SIZES)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def one() -> Factored:
        r, scale = draw(st.integers(1, 4)), draw(st.floats(0.125, 8))
        return Factored(rng.normal(size=(d_out, r)), rng.normal(size=(r, d_in)), scale)

    return one(), one(), one()


@settings(max_examples=60, deadline=None)
@given(pairs(), st.booleans())
def test_inner_products_are_those_of_the_dense_updates(given: tuple[Factored, ...], started: bool) -> None:
    a, b, start = given
    origin = start if started else None
    base = start.dense() if started else 0.0
    A, B = a.dense() - base, b.dense() - base
    left, right = Displacement(a, origin), Displacement(b, origin)
    size = (np.linalg.norm(a.dense()) + np.linalg.norm(start.dense())) ** 2 + np.linalg.norm(B) ** 2
    assert left.inner(right) == pytest.approx(np.vdot(A, B), abs=1e-12 * size)
    assert left.inner(right) == pytest.approx(right.inner(left), abs=1e-12 * size)
    assert left.norm == pytest.approx(np.linalg.norm(A), abs=1e-6 * np.sqrt(size))


@settings(max_examples=30, deadline=None)
@given(pairs())
def test_a_cosine_lies_between_minus_one_and_one_and_ignores_scale(given: tuple[Factored, ...]) -> None:
    a, b, _ = given
    found = cosine(Displacement(a), Displacement(b))
    assert -1 <= found <= 1
    scaled = Factored(a.B, a.A, 3.0)
    assert cosine(Displacement(scaled), Displacement(b)) == pytest.approx(found, abs=1e-9)
    assert cosine(Displacement(a), Displacement(Dense(a.dense()))) == pytest.approx(1, abs=1e-9)
