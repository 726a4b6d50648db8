"""Do rows of a table differ beyond what their columns, as replicates, scatter?"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from tunescope.statistics.randomness import generator_of
from tunescope.statistics.types import Float64

_DRAWS = 1000


@dataclass(frozen=True, eq=False)
class Rows:
    """How far each row's mean lies from the mean of all rows, and the chance of such rows.

    `deviations` is `(rows,)`, `error` the standard error of one of them, `real` the share of their variance
    that is not scatter (1 − 1/F, at least 0). `p` counts both ways of looking, all rows (F) and the farthest
    one (t, for every row); `p_exchanged` is that of exchanging the rows within every column.
    """

    deviations: Float64
    error: float
    real: float
    p: float
    p_exchanged: float


def rows_differ(table: Float64, gate: float = 0.05) -> Rows:
    """A full table `(rows, columns)` of at least three rows and two columns; columns have their own level."""
    n, k = table.shape
    free = (n - 1) * (k - 1)
    centred = table - table.mean(axis=0)
    deviations = centred.mean(axis=1)
    floor = 1e-18 * max(float((table**2).mean()), 1e-300)
    variance = max(float(((centred - deviations[:, None]) ** 2).sum()) / free, floor)
    between = k * float((deviations**2).sum())
    statistic = between / (n - 1) / variance
    error = math.sqrt(variance / k * (1 - 1 / n))
    farthest = float(np.abs(deviations).max()) / error
    both = min(special.fdtrc(n - 1, free, statistic), 2 * n * special.stdtr(free, -farthest))
    p = 1.0 if between <= floor * n * k else float(min(2 * both, 1.0))
    exchanged = p if p > gate else _exchanged(table, farthest, statistic)
    return Rows(deviations, error, max(0.0, 1 - 1 / max(statistic, 1e-300)), p, exchanged)


def _exchanged(table: Float64, farthest: float, statistic: float) -> float:
    """The share of tables with shuffled columns that reach the rarer of the two statistics."""
    random = generator_of(table)
    n, k = table.shape
    drawn = random.permuted(np.tile(table, (_DRAWS, 1, 1)), axis=1)
    centred = drawn - table.mean(axis=0)
    deviations = centred.mean(axis=2)
    variance = ((centred - deviations[:, :, None]) ** 2).sum(axis=(1, 2)) / ((n - 1) * (k - 1))
    variance = np.maximum(variance, 1e-300)
    fs = k * (deviations**2).sum(axis=1) / (n - 1) / variance
    ts = np.abs(deviations).max(axis=1) / np.sqrt(variance / k * (1 - 1 / n))
    smaller = min(np.count_nonzero(fs >= statistic), np.count_nonzero(ts >= farthest))
    return float((1 + smaller) / (1 + _DRAWS))
