"""Stacks of small products against one product at a time."""

import math

import numpy as np
import pytest

from tunescope.linalg import spectrum
from tunescope.linalg.spectra import product_spectra, shapes

RNG = np.random.default_rng(4)
B, A = RNG.normal(size=(700, 4)).astype(np.float32), RNG.normal(size=(4, 30)).astype(np.float32)
ODD = {
    "plain": (B, A),
    "tiny": (B * np.float32(1e-30), A),
    "huge": (B.astype(np.float64) * 1e200, A),
    "zero": (B * 0, A),
    "a column of zeros": (B * np.array([1, 1, 1, 0], np.float32), A),
    "dependent": (B[:, [0, 0, 2, 3]], A),
    "cancelling": (np.hstack([B[:, :2], -B[:, :2]]), np.vstack([A[:2], A[:2] * np.float32(1 + 1e-6)])),
    "not a number": (B, np.where(A[2, 7] == A, np.nan, A)),
    "infinite": (np.where(B[5, 1] == B, np.inf, B), A),
}


@pytest.mark.parametrize("odd", list(ODD))
def test_each_of_many_has_the_spectrum_and_norms_it_has_alone(odd: str) -> None:
    factors = [ODD["plain"], ODD[odd], (RNG.normal(size=(700, 4)), RNG.normal(size=(4, 30)))]
    for (values, norms), (one, other) in zip(product_spectra(factors), factors, strict=True):
        alone = spectrum.product_spectrum(one, other)
        np.testing.assert_allclose(values, alone[0], rtol=1e-12, atol=1e-13 * alone[0][0])
        np.testing.assert_allclose(norms, alone[1], rtol=1e-13)


def test_shapes_of_many_spectra_are_those_of_each() -> None:
    values = np.sort(RNG.gamma(1.0, size=(20, 6)), axis=1)[:, ::-1].copy()
    values[3] = 0.0
    values[4] = [2.0, 0, 0, 0, 0, 0]
    values[5] = np.nan
    found = shapes(values)
    for i, one in enumerate(values):
        expected = {
            "stable_rank": spectrum.stable_rank(one),
            "effective_rank": spectrum.effective_rank(one),
            "participation_ratio": spectrum.participation_ratio(one),
            "energy_rank_90": spectrum.energy_rank(one, 0.90),
            "energy_rank_99": spectrum.energy_rank(one, 0.99),
        }
        for name, value in expected.items():
            assert found[name][i] == pytest.approx(value, rel=1e-12, nan_ok=True)
    assert math.isnan(found["stable_rank"][3])
