"""The compiled replay and NumPy's make the same weights, to the bit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripts import build_kernel

from tunescope.linalg import compiled, merging
from tunescope.linalg.compiled import Replay, load_replay
from tunescope.linalg.merging import Way

SHARES = [1.0, 0.5, -0.2, 1 / 3]
ORDERS: list[tuple[int, ...]] = [(), (0, 1, 2, 3), (3, 1, 0, 2), (0, 1, 2, 3, 0, 1, 2, 3)]
WAYS = [
    Way(grid, order, rounds_updates, rounds_base, stored)
    for grid in ("bfloat16", "float16")
    for order in ORDERS
    for rounds_updates, rounds_base, stored in (
        (False, False, ""), (True, False, "float32"), (False, True, "bfloat16"), (True, True, "float16"),
    )
]  # fmt: skip
Both = Callable[[Way, np.ndarray, np.ndarray, list[float]], tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def kernel(built: Callable[[Path], Path]) -> Replay:
    """The replay compiled anew."""
    made = load_replay(built(compiled.MERGING))
    assert made is not None
    return made


@pytest.fixture(scope="module")
def both(kernel: Replay) -> Both:
    def run(way: Way, W: np.ndarray, updates: np.ndarray, c: list[float]) -> tuple[np.ndarray, np.ndarray]:
        found = []
        for engine in (kernel, None):
            with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
                patch.setattr(merging, "compiled_replay", lambda engine=engine: engine)
                found.append(way.replayed(W, updates, c))
        return found[0], found[1]

    return run


def assert_same(one: np.ndarray, two: np.ndarray) -> None:
    """Equal to the bit, −0 being none of +0; a NaN is a NaN, whatever it carries."""
    assert one.dtype == two.dtype == np.float32
    lost = np.isnan(one)
    np.testing.assert_array_equal(lost, np.isnan(two))
    np.testing.assert_array_equal(one[~lost].view(np.uint32), two[~lost].view(np.uint32))


def module(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    W = (0.02 * draw.standard_normal(n)).astype(np.float32)
    return W, (2e-4 * draw.standard_normal((4, n))).astype(np.float32)


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 4099])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_both_make_the_same_weights_however_a_merger_rounds(both: Both, way: Way, n: int) -> None:
    assert_same(*both(way, *module(n, seed=n), SHARES))


@pytest.mark.parametrize("way", WAYS[::5], ids=str)
@given(seed=st.integers(0, 2**32 - 1), places=st.lists(st.integers(0, 99), max_size=9))
def test_both_make_the_same_of_any_numbers(both: Both, way: Way, seed: int, places: list[int]) -> None:
    """Infinities, NaN, −0, subnormal numbers, what leaves the range of the grid."""
    draw = np.random.default_rng(seed)
    rows = draw.integers(0, 2**32, (5, 100), np.uint32).view(np.float32)
    rows[np.isnan(rows)] = np.nan
    for place in places:
        rows[draw.integers(5), place] = draw.choice([0.0, -0.0, 65519.9, 65520.0, 6e-8, 3e-8, np.inf])
    assert_same(*both(way, rows[0].copy(), rows[1:].copy(), SHARES))


@pytest.mark.parametrize("grid", ["bfloat16", "float16"])
def test_both_round_every_half_way_number_and_its_neighbours_alike(both: Both, grid: str) -> None:
    half = np.arange(0, 2**32, 2**12, dtype=np.uint64).astype(np.uint32)
    W = np.concatenate([half - np.uint32(1), half, half + np.uint32(1)]).view(np.float32)
    W = W[np.isfinite(W)]
    assert_same(*both(Way(grid), W, np.zeros((1, W.size), np.float32), [1.0]))


def test_rows_at_any_place_are_read_and_left_as_they_are(both: Both) -> None:
    W, updates = module(4096)
    before = W.tobytes(), updates.tobytes()
    for part in (slice(3, 2001), slice(None, None, 2), slice(None, None, -1)):
        assert_same(*both(WAYS[1], W[part], updates[:, part], SHARES))
        assert_same(*both(WAYS[5], W[part], updates.repeat(2, axis=0)[::2, part], SHARES))
    assert (W.tobytes(), updates.tobytes()) == before


def test_what_is_not_in_float32_or_not_on_a_narrow_grid_goes_by_numpy(both: Both) -> None:
    W, updates = module(77)
    wide = both(Way("float32"), W.astype(np.float64), updates.astype(np.float64), SHARES)
    np.testing.assert_array_equal(*wide)
    assert_same(*both(Way("float8_e4m3fn"), W, updates, SHARES))
    assert_same(*both(Way("bfloat16", stored="float8_e5m2"), W, updates, SHARES))


def test_a_library_of_another_source_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_replay(tmp_path / "absent.so") is None
    if build_kernel.compiler() is not None:
        library = tmp_path / "libmerging.so"
        assert build_kernel.build(library) == ""
        changed = tmp_path / "merging.c"
        changed.write_text(compiled.MERGING.read_text() + "\n")
        monkeypatch.setattr(compiled, "MERGING", changed)
        assert load_replay(library) is None


def test_the_variable_leaves_the_compiled_replay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled.compiled_replay.cache_clear()
    monkeypatch.setenv("TUNESCOPE_NUMPY_ONLY", "1")
    try:
        assert compiled.compiled_replay() is None
    finally:
        compiled.compiled_replay.cache_clear()
