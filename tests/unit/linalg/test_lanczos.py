"""Leading singular values by rows: against LAPACK, and nothing stated that is not known."""

from collections.abc import Iterator

import numpy as np
import pytest

from tunescope.linalg.lanczos import leading_values


class Held:
    """A matrix in blocks of rows of any number."""

    def __init__(self, matrix: np.ndarray, step: int = 37) -> None:
        self.matrix, self.step, self.shape = matrix.astype(np.float32), step, matrix.shape

    def blocks(self) -> Iterator[np.ndarray]:
        for first in range(0, len(self.matrix), self.step):
            yield self.matrix[first : first + self.step]


def of_spectrum(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    draw = np.random.default_rng(rows)
    left, right = (np.linalg.qr(draw.standard_normal((n, len(values))))[0] for n in (rows, columns))
    return (left * values) @ right.T


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (900, 250)])
@pytest.mark.parametrize("decay", [0.5, 1.0, 2.0])
def test_values_of_a_decaying_spectrum_are_lapacks(decay: float, shape: tuple[int, int]) -> None:
    values = np.arange(1.0, min(shape) + 1) ** -decay
    found, residuals = leading_values(Held(of_spectrum(values, *shape)), 32)
    assert (residuals <= 1e-3).all()
    assert np.abs(found - values[:32]).max() <= 1e-3
    assert found[:8] == pytest.approx(values[:8], rel=1e-5)


def test_equal_values_are_all_found_though_more_than_a_block_holds() -> None:
    matrix = of_spectrum(np.ones(24), 400, 300) + 1e-4 * np.random.default_rng(1).standard_normal((400, 300))
    found, residuals = leading_values(Held(matrix), 32)
    exact = np.linalg.svd(matrix, compute_uv=False)[:32]
    assert found[:24] == pytest.approx(exact[:24], rel=1e-5)
    assert (residuals[:24] <= 1e-3).all()


def test_a_matrix_of_low_rank_has_zeros_behind_it() -> None:
    found, residuals = leading_values(Held(of_spectrum(np.array([4.0, 2.0, 1.0]), 500, 256)), 32)
    assert found[:3] == pytest.approx([4.0, 2.0, 1.0], rel=1e-6)
    assert found[3:].max() < 1e-5
    assert residuals.max() < 1e-3


def test_the_bulk_of_noise_is_not_stated() -> None:
    found, residuals = leading_values(Held(np.random.default_rng(2).standard_normal((900, 800))), 32)
    assert (residuals[8:] > 1e-3).all()
    assert found[0] <= 1.001 * (np.sqrt(900) + np.sqrt(800) + 3)


def test_how_many_rows_come_at_once_changes_no_value() -> None:
    matrix = of_spectrum(np.arange(1.0, 101) ** -1.0, 400, 300)
    one, other = (leading_values(Held(matrix, step), 32)[0] for step in (400, 3))
    assert one == pytest.approx(other, rel=1e-5)
