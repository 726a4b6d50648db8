"""All pairs of models at once, against the products multiplied out pair by pair."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from tunescope.address import parse
from tunescope.delta import Delta, Dense, Factored, InMemory, Pair, Update
from tunescope.measure import between as module
from tunescope.measure import blocks
from tunescope.measure.between import Between, between

Model = list[Delta]
D_OUT, D_IN = 24, 40


def delta(layer: int, update: Update, scale: float | None = 1.0, pair: Pair | None = None) -> Delta:
    name = f"model.layers.{layer}.self_attn.q_proj"
    update = replace(update, scale=scale)
    shape = (len(update.B), update.A.shape[1]) if isinstance(update, Factored) else update.matrix.shape
    rank = len(update.A) if isinstance(update, Factored) else None
    return Delta(
        parse(name), f"L{layer}_self_attn.q_proj", "lora", *shape, rank, None, scale, (),
        open=lambda: update, pair=pair,
    )  # fmt: skip


def low_rank(seed: int, rank: int = 4, d_out: int = D_OUT) -> Factored:
    random = np.random.default_rng(seed)
    B, A = random.normal(size=(d_out, rank)), random.normal(size=(rank, D_IN))
    return Factored(B.astype(np.float32), A.astype(np.float32))


def dense(seed: int) -> Dense:
    return Dense(np.random.default_rng(seed).normal(size=(D_OUT, D_IN)).astype(np.float32))


def mixed() -> dict[str, Model]:
    """Models of many ranks, scales, shapes and kinds, of which some lack a layer."""
    nan = replace(low_rank(8), A=np.full((4, D_IN), np.nan, np.float32))
    return {
        "one": [delta(0, low_rank(0)), delta(1, low_rank(1, 7)), delta(2, low_rank(2))],
        "minus": [delta(0, low_rank(3), -0.5), delta(1, low_rank(1, 7)), delta(2, dense(4))],
        "no scale": [delta(0, low_rank(0), None), delta(2, dense(5), 2.0)],
        "zero": [delta(0, Factored(np.zeros((D_OUT, 2)), np.ones((2, D_IN)))), delta(1, low_rank(6), 0.0)],
        "spoilt": [delta(0, low_rank(7)), delta(1, nan)],
        "longer": [delta(0, low_rank(9, d_out=30)), delta(1, low_rank(10))],
        "copy": [delta(0, low_rank(0)), delta(1, low_rank(1, 7)), delta(2, low_rank(2))],
        "absent": [delta(5, low_rank(0))],
    }


def expected(a: Model, b: Model) -> tuple[int, int, float]:
    """Weights of one name, of one shape, and the cosine over those that are finite."""
    shared = [(x, y) for x in a for y in b if x.address == y.address]
    fits = [(x.open().dense(), y.open().dense()) for x, y in shared if (x.d_out, x.d_in) == (y.d_out, y.d_in)]
    usable = [(x.ravel(), y.ravel()) for x, y in fits if np.isfinite(x).all() and np.isfinite(y).all()]
    u, v = (np.concatenate([np.zeros(0), *side]) for side in (list(zip(*usable, strict=True)) or [(), ()]))
    size = float(np.linalg.norm(u) * np.linalg.norm(v))
    return len(shared), len(fits), float(u @ v) / size if size else np.nan


def check(found: Between, models: dict[str, Model], tolerance: float) -> None:
    for (i, a), (j, b) in combinations(enumerate(models.values()), 2):
        named, compared, cosine = expected(a, b)
        assert (found.named[i, j], found.compared[i, j]) == (named, compared)
        np.testing.assert_allclose(found.cosine[[i, j], [j, i]], cosine, atol=tolerance, rtol=0)


@pytest.mark.parametrize("budget", [blocks.BUDGET, 30_000, 1])
def test_all_pairs_are_those_multiplied_out_however_little_memory_there_is(
    budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BUDGET", budget)
    models = mixed()
    found = between(list(models.items()))
    check(found, models, 1e-14)
    labels = list(models)
    same = {(labels[i], labels[j]): int(found.identical[i, j]) for i, j in combinations(range(8), 2)}
    assert {pair: count for pair, count in same.items() if count} == {
        ("one", "copy"): 3, ("one", "minus"): 1, ("minus", "copy"): 1,
    }  # fmt: skip
    assert found.cosine[0, 6] == 1.0


@pytest.mark.parametrize("count", [3, 90])
def test_beyond_the_stated_work_products_in_float32_stay_within_a_millionth(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {f"m{i}": [delta(0, low_rank(i, 2 + i % 9)), delta(1, low_rank(999 - i))] for i in range(count)}
    models["again"] = models["m0"]
    monkeypatch.setattr(module, "EXACT", 0)
    found = between(list(models.items()))
    monkeypatch.setattr(module, "EXACT", np.inf)
    exact = between(list(models.items()))
    np.testing.assert_allclose(found.cosine, exact.cosine, atol=1e-6, rtol=0)
    assert (found.cosine != exact.cosine).any()
    assert found.cosine[0, -1] == 1.0


def test_terms_that_cancel_are_multiplied_in_float64_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def cancelling(seed: int) -> Factored:
        large, small = low_rank(seed, 2), low_rank(seed + 50, 2)
        B = np.hstack([1e4 * large.B, 1e4 * large.B, small.B])
        return Factored(B, np.vstack([large.A, -large.A, small.A]))

    models = {f"m{i}": [delta(0, cancelling(i))] for i in range(3)}
    monkeypatch.setattr(module, "EXACT", 0)
    check(between(list(models.items())), models, 1e-7)


def test_zeros_of_either_sign_and_other_dtypes_are_the_same_update() -> None:
    B, A = np.array([[0.0], [1.0]], np.float32), np.array([[0.5, -2.0]], np.float32)
    spellings: list[Callable[[], Factored]] = [
        lambda: Factored(B, A), lambda: Factored(np.where(B == 0, -0.0, B), A),
        lambda: Factored(B.astype(np.float64), A.astype(np.float16)),
    ]  # fmt: skip
    found = between([(str(i), [delta(0, make())]) for i, make in enumerate(spellings)])
    assert (found.identical == 1).all()


def test_whole_weights_meet_as_their_differences() -> None:
    random = np.random.default_rng(3)
    base, *tuned = (random.normal(size=(D_OUT, D_IN)).astype(np.float32) for _ in range(3))
    models = {
        name: [delta(0, Dense(after - base), pair=Pair(InMemory(base), InMemory(after)))]
        for name, after in zip("abc", [*tuned, tuned[0]], strict=True)
    }
    found = between(list(models.items()))
    check(found, models, 1e-6)
    assert (found.identical[0].tolist(), found.identical[1, 2]) == ([1, 0, 1], 0)
