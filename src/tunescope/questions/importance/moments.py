"""Streaming weighted means with standard errors, which can be merged, saved and split in halves."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(eq=False)
class Moments:
    """Weighted mean of vectors, and the sums its standard error is made of.

    `deviation` = Σ w(x − m)·w and `square` = Σ w²(x − m)², both about the running mean m, so that nothing
    cancels; `squared` = Σ w².
    """

    n: int = 0
    weight: float = 0.0
    squared: float = 0.0
    mean: Array = field(default_factory=lambda: np.zeros(0))
    deviation: Array = field(default_factory=lambda: np.zeros(0))
    square: Array = field(default_factory=lambda: np.zeros(0))

    def add(self, value: Array, weight: float = 1.0) -> None:
        """Take in one sample, (rows,)."""
        zero = np.zeros_like(value, dtype=np.float64)
        self.merge(Moments(1, weight, weight**2, value.astype(np.float64), zero, zero))

    def merge(self, other: "Moments") -> None:
        """Take in all samples of another."""
        if other.n == 0:
            return
        if self.n == 0:
            self.mean = np.zeros_like(other.mean)
            self.deviation, self.square = np.zeros_like(other.mean), np.zeros_like(other.mean)
        weight = self.weight + other.weight
        mean = self.mean + (other.mean - self.mean) * (other.weight / weight)
        d1, s1 = self._about(mean)
        d2, s2 = other._about(mean)
        self.deviation, self.square, self.mean = d1 + d2, s1 + s2, mean
        self.n, self.weight, self.squared = self.n + other.n, weight, self.squared + other.squared

    def _about(self, centre: Array) -> tuple[Array, Array]:
        shift = centre - self.mean
        deviation = self.deviation - shift * self.squared
        return deviation, self.square - 2 * shift * self.deviation + shift**2 * self.squared

    def stderr(self) -> Array:
        """Standard error of the mean, (rows,); NaN for fewer than two samples.

        √(n/(n−1) · Σ w²(x − m)²) / Σ w, which for equal weights is the usual s/√n.
        """
        if self.n < 2:
            return np.full_like(self.mean, np.nan)
        error: Array = np.sqrt(np.maximum(self.square, 0) * (self.n / (self.n - 1))) / self.weight
        return error

    def arrays(self) -> dict[str, Array]:
        """The state as float64 arrays, exactly."""
        return {
            "scalars": np.array([self.n, self.weight, self.squared]),
            "mean": self.mean,
            "deviation": self.deviation,
            "square": self.square,
        }

    @classmethod
    def of_arrays(cls, arrays: dict[str, Array]) -> "Moments":
        """The inverse of `arrays`."""
        n, weight, squared = (float(x) for x in arrays["scalars"])
        return cls(int(n), weight, squared, arrays["mean"], arrays["deviation"], arrays["square"])


@dataclass(eq=False)
class Halves:
    """Two independent halves of the samples: even and odd ones. Their agreement is the map's reliability."""

    even: Moments = field(default_factory=Moments)
    odd: Moments = field(default_factory=Moments)

    def add(self, number: int, value: Array, weight: float = 1.0) -> None:
        """Take in sample `number` of the data."""
        (self.odd if number % 2 else self.even).add(value, weight)

    def merge(self, other: "Halves") -> None:
        """Take in all samples of another."""
        self.even.merge(other.even)
        self.odd.merge(other.odd)

    def whole(self) -> Moments:
        """Both halves together."""
        total = Moments()
        total.merge(self.even)
        total.merge(self.odd)
        return total
