"""Σ d² of rows and columns: the compiled way and NumPy's are equal to the bit, and right."""

import math
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tunescope.linalg import squares as module
from tunescope.linalg.compiled import UNIT_SUMS, Squares, compiled_squares, load_squares
from tunescope.linalg.squares import LANES, by_numpy, squares

KINDS = [np.dtype(ml_dtypes.bfloat16), *map(np.dtype, ("f2", "f4", "f8"))]


@pytest.fixture(scope="module")
def kernel(built: Callable[[Path], Path]) -> Squares:
    """The function compiled anew."""
    made = load_squares(built(UNIT_SUMS))
    assert made is not None
    return made


def matrices(kind: np.dtype, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(rows * columns)
    before = (0.02 * draw.standard_normal(rows * columns)).astype(kind)
    return before, (before.astype(float) + 2e-4 * draw.standard_normal(before.size)).astype(kind)


@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("columns", [1, 2, 3, 5, LANES - 1, LANES, LANES + 1, 1000])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_both_ways_give_the_same_bits_and_those_of_exact_sums(
    kernel: Squares, kind: np.dtype, columns: int, by_column: bool
) -> None:
    for rows in (1, 2, 65):
        before, after = matrices(kind, rows, columns)
        made = [way(before, after, columns, by_column) for way in (kernel, by_numpy)]
        assert made[0].tobytes() == made[1].tobytes()
        d = (after.astype(float) - before.astype(float)).reshape(rows, columns)
        wanted = [math.fsum(x * x for x in line) for line in (d.T if by_column else d)]
        assert made[0].tolist() == pytest.approx(wanted, rel=1e-13)


def test_values_at_odd_addresses_and_subnormal_ones(kernel: Squares) -> None:
    for kind in KINDS:
        raw = [np.zeros(kind.itemsize * 70 + 1, np.uint8) for _ in range(2)]
        before, after = (row[1:].view(kind) for row in raw)
        after[:] = np.array([2.0**-24, -(2.0**-20)] * 35).astype(kind)
        for by_column in (False, True):
            made = [way(before, after, 35, by_column) for way in (kernel, by_numpy)]
            assert made[0].tobytes() == made[1].tobytes()
            assert made[0].all()


def test_the_same_nan_is_no_difference_and_another_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = np.array([math.nan, 1.0, math.inf, 0.0]), np.array([math.nan, 3.0, math.inf, math.nan])
    for way in (compiled_squares(), None):
        monkeypatch.setattr(module, "compiled_squares", lambda way=way: way)
        assert squares(before, after, 2, by_column=False) == pytest.approx([4.0, math.nan], nan_ok=True)
        assert squares(before, after, 2, by_column=True) == pytest.approx([0.0, math.nan], nan_ok=True)


def test_two_dtypes_are_compared_in_float64() -> None:
    before, after = np.array([1.0, 2.0], ml_dtypes.bfloat16), np.array([1.5, 2.0 + 2.0**-20], np.float32)
    assert squares(before, after, 1, by_column=False).tolist() == [0.25, 2.0**-40]


def test_without_a_library_there_is_no_compiled_way(tmp_path: Path) -> None:
    assert load_squares(tmp_path / "absent.so") is None
