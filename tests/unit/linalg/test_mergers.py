"""Updates that a merger added with roundings of its own are read back with errors that hold the truth."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from tunescope.linalg.mergers import Mergers
from tunescope.linalg.rounding import rounded

Array = np.ndarray
SIDE = 112
PLANTED = {1: (1.0,), 2: (0.7, 0.3), 3: (1.0, 1.0, 1.0)}


def module(seed: int, ratio: float, k: int, grid: str = "float32") -> tuple[Array, Array]:
    """A weight on a grid and k updates of rank 4 with ‖ΔW‖ = ratio·‖W‖."""
    draw = np.random.default_rng([seed, 3])
    W = rounded((0.03 * draw.standard_normal(SIDE * SIDE)).astype(np.float32), grid)
    updates = [draw.standard_normal((SIDE, 4)) @ draw.standard_normal((4, SIDE)) for _ in range(k)]
    sizes = [ratio * np.linalg.norm(W) / np.linalg.norm(D) for D in updates]
    return W, np.array([(D * s).ravel() for D, s in zip(updates, sizes, strict=True)], np.float32)


def parts(updates: Array, planted: Sequence[float]) -> list[Array]:
    return [np.float32(c) * D for c, D in zip(planted, updates, strict=True)]


def at_once(W: Array, parts: Sequence[Array], grid: str) -> Array:
    return rounded(W + rounded(np.sum(parts, axis=0), grid), grid)


def one_by_one(W: Array, parts: Sequence[Array], grid: str) -> Array:
    for part in parts:
        W = rounded(W + part, grid)
    return W


def rounded_before(W: Array, parts: Sequence[Array], grid: str) -> Array:
    return one_by_one(W, [rounded(part, grid) for part in parts], grid)


def backwards(W: Array, parts: Sequence[Array], grid: str) -> Array:
    return one_by_one(W, parts[::-1], grid)


def twice_in_turn(W: Array, parts: Sequence[Array], grid: str) -> Array:
    return one_by_one(one_by_one(W, [p / 2 for p in parts], grid), [p / 2 for p in parts], grid)


MERGERS = [at_once, one_by_one, rounded_before, backwards, twice_in_turn]


@pytest.mark.parametrize("ratio", [3e-2, 1e-3, 3e-5])
@pytest.mark.parametrize(("grid", "k"), [("bfloat16", 1), ("bfloat16", 2), ("bfloat16", 3), ("float16", 2)])
@pytest.mark.parametrize("merger", MERGERS)
def test_three_errors_hold_the_truth_however_the_merger_rounded(
    merger: Callable[..., Array], k: int, grid: str, ratio: float
) -> None:
    W, updates = module(1, ratio, k, grid)
    after = merger(W, parts(updates, PLANTED[k]), grid)
    found, _ = Mergers().read(W, after, updates, "abc"[:k], grid)
    assert (np.abs(found.values - PLANTED[k]) <= 3 * found.errors).all()
    assert (found.errors < 0.06).all()
    assert found.exact > 0.95


@pytest.mark.parametrize("ratio", [1e-3, 3e-5])
@pytest.mark.parametrize("order", ["aba", "aab", "baa", "abca"])
def test_one_update_merged_once_more_than_the_others_is_read_back(order: str, ratio: float) -> None:
    labels = sorted(set(order))
    W, updates = module(1, ratio, len(labels), "bfloat16")
    after = one_by_one(W, [updates[labels.index(label)] for label in order], "bfloat16")
    found, _ = Mergers().read(W, after, updates, labels, "bfloat16")
    assert (np.abs(found.values - [order.count(label) for label in labels]) <= 3 * found.errors).all()
    assert (found.errors < 0.06).all()
    assert found.exact > 0.98


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("ratio", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
@pytest.mark.parametrize("base_rounded", [True, False])
def test_a_base_off_the_grid_that_the_merger_computed_on_is_read_back(
    base_rounded: bool, stored: str, ratio: float, k: int
) -> None:
    W, updates = module(2, ratio, k)
    start = rounded(W, "bfloat16") if base_rounded else W
    after = one_by_one(start, [np.sum(parts(updates, PLANTED[k]), axis=0)], "bfloat16")
    found, way = Mergers().read(W, after, updates, "ab"[:k], stored)
    assert (np.abs(found.values - PLANTED[k]) <= 3 * found.errors).all()
    assert found.equal_fraction is not None
    assert found.equal_fraction > 0.99
    assert (way.grid, way.rounds_base) == ("bfloat16", base_rounded)


def test_where_no_way_explains_the_weights_the_errors_say_so() -> None:
    W, updates = module(3, 1e-4, 2, "bfloat16")
    spoilt = [rounded(part, "float8_e5m2") for part in parts(updates, (0.7, 0.3))]
    after = twice_in_turn(one_by_one(W, spoilt, "bfloat16"), spoilt[::-1], "bfloat16")
    found, _ = Mergers().read(W, after, updates, "ab", "bfloat16")
    assert found.exact < 0.9
    assert (np.abs(found.values - [1.4, 0.6]) <= 3 * found.errors).all()


def test_what_explained_one_module_is_tried_first_in_the_next_also_where_one_update_is_not_there() -> None:
    mergers = Mergers()
    for seed, labels in enumerate(("abc", "abc", "ca")):
        W, updates = module(seed, 1e-3, 3, "bfloat16")
        held = updates[["abc".index(label) for label in labels]]
        after = one_by_one(W, [updates["abc".index(x)] for x in "abc" if x in labels], "bfloat16")
        found, way = mergers.read(W, after, held, labels, "bfloat16")
        assert [labels[a] for a in way.order] == sorted(labels)
        assert found.exact > 0.98
    assert len(mergers.known) == 1


def test_nothing_merged_is_zero_with_a_small_error() -> None:
    W, updates = module(4, 1e-3, 2, "bfloat16")
    found, _ = Mergers().read(W, W, updates, "ab", "bfloat16")
    assert (np.abs(found.values) <= 3 * found.errors).all()
    assert (found.errors < 0.1).all()
