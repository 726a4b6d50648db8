import math
from collections.abc import Sequence

import ml_dtypes
import numpy as np
import pytest

from tunescope.delta import Dense, Factored, Update
from tunescope.questions.trajectory import stacked
from tunescope.questions.trajectory.motion import Motion, follow
from tunescope.questions.trajectory.stacked import batches, follow_together

Path = list[Update]


def path(
    seed: int, shape: tuple[int, int, int] = (40, 4, 700), steps: int = 4, dtype: type = np.float32
) -> Path:
    """An adapter on its way from B = 0, its A drifting."""
    rng = np.random.default_rng(seed)
    d_out, r, d_in = shape
    A = rng.normal(size=(r, d_in))
    found: Path = []
    for step in range(steps):
        B = 0.1 * step * rng.normal(size=(d_out, r))
        drifted = A + 0.01 * step * rng.normal(size=A.shape)
        found.append(Factored(B.astype(dtype), drifted.astype(dtype), 0.5 + seed))
    return found


def alone(of: Path) -> list[Motion]:
    return list(follow([lambda update=update: update for update in of]))


def together(paths: Sequence[Path]) -> list[list[Motion] | None]:
    return follow_together([[lambda update=update: update for update in of] for of in paths])


def same(found: list[Motion] | None, expected: list[Motion]) -> None:
    assert found is not None
    # A NaN equals no other: as text they do, and text gives every bit of a float.
    assert [repr(motion) for motion in found] == [repr(motion) for motion in expected]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_weights_followed_together_move_as_each_alone_to_the_bit(dtype: type) -> None:
    paths = [path(seed, dtype=dtype) for seed in range(5)] + [path(9, (8, 1, 1030), dtype=dtype)]
    for found, of in zip(together(paths), paths, strict=True):
        same(found, alone(of))


def test_a_stack_larger_than_its_limit_is_cut_without_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [path(seed) for seed in range(5)]
    monkeypatch.setattr(stacked, "_STACKED", 2 * 4 * 740)
    for found, of in zip(together(paths), paths, strict=True):
        same(found, alone(of))


def test_one_checkpoint_alone_is_followed_too() -> None:
    paths = [path(seed, steps=1) for seed in (1, 2)]
    for found, of in zip(together(paths), paths, strict=True):
        same(found, alone(of))


def cancelling(update: Update) -> Update:
    """Two columns that nearly take each other out, as after a change of gauge."""
    assert isinstance(update, Factored)
    A = update.A.copy()
    A[1] = A[0]
    B = update.B + np.float32(1e4)
    B[:, 1] = -B[:, 0] * (1 + 1e-7)
    return Factored(B, A, update.scale)


def broken(update: Update, value: float) -> Update:
    assert isinstance(update, Factored)
    B = update.B.copy()
    B[3, 1] = value
    return Factored(B, update.A, update.scale)


@pytest.mark.parametrize("value", [math.nan, math.inf, 3e38])
def test_what_is_not_finite_or_cancels_is_as_it_is_alone_and_harms_no_neighbour(value: float) -> None:
    paths = [path(seed) for seed in range(4)]
    paths[1] = [cancelling(update) for update in paths[1]]
    paths[2][2] = broken(paths[2][2], value)
    for found, of in zip(together(paths), paths, strict=True):
        same(found, alone(of))


@pytest.mark.parametrize("at", [0, 2, 3])
@pytest.mark.parametrize(
    "other",
    [
        path(7, (40, 5, 700))[1],
        Dense(np.ones((40, 700), np.float32), 1.0),
        Factored(np.ones((40, 4)), np.ones((4, 700)), None),
    ],
    ids=["another rank", "dense", "unknown scale"],
)
def test_a_weight_that_changes_its_form_on_the_way_is_left_to_be_followed_alone(
    at: int, other: Update
) -> None:
    paths = [path(seed) for seed in range(3)]
    paths[1][at] = other
    found = together(paths)
    assert found[1] is None
    same(found[0], alone(paths[0]))
    same(found[2], alone(paths[2]))


def test_small_weights_are_batched_in_their_order_and_large_ones_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stacked, "_TOGETHER", 100)
    assert list(batches([60, 0, 60, 1 << 16, 10])) == [[0, 2], [4]]
