"""Rounding to a storage grid, against the casts of ml_dtypes and the spacing of NumPy."""

import ml_dtypes
import numpy as np
import pytest

from tunescope.linalg.rounding import rounded, step

GRIDS = ["bfloat16", "float16", "float32", "float8_e4m3fn", "float8_e5m2"]


def dtype(grid: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, grid, grid))


def numbers() -> np.ndarray:
    draw = np.random.default_rng(0)
    spread = draw.standard_normal(4000) * 10.0 ** draw.integers(-9, 2, 4000)
    return np.concatenate([spread, [0.0, -0.0, 1.0, 1.00390625, 1.01171875, -3.0]]).astype(np.float32)


@pytest.mark.parametrize("grid", GRIDS)
def test_rounding_is_the_cast_and_back(grid: str) -> None:
    np.testing.assert_array_equal(rounded(numbers(), grid), numbers().astype(dtype(grid)).astype(np.float32))


def test_rounding_leaves_its_input_as_it_was() -> None:
    values = numbers()
    for grid in GRIDS:
        rounded(values, grid)
    np.testing.assert_array_equal(values, numbers())


@pytest.mark.parametrize("grid", ["float16", "float32"])
def test_the_step_is_numpys_spacing(grid: str) -> None:
    values = np.abs(rounded(numbers(), grid))
    np.testing.assert_array_equal(step(values, grid), np.spacing(values.astype(grid)).astype(float))


def test_the_step_of_bfloat16_leads_to_the_next_number() -> None:
    values = np.abs(rounded(numbers(), "bfloat16"))
    bits = values.astype(ml_dtypes.bfloat16).view(np.uint16) + np.uint16(1)
    after = bits.view(ml_dtypes.bfloat16).astype(float)
    np.testing.assert_array_equal(step(values, "bfloat16"), after - values)
