"""Sequences whose neighbours are alike: profiles over depth, losses over steps."""

import math
from dataclasses import dataclass

import numpy as np

from tunescope.statistics.laws import NINE_IN_TEN, normal_tail, t_above, t_tail
from tunescope.statistics.location import upper_scale
from tunescope.statistics.ranks import ranks
from tunescope.statistics.types import Float64


@dataclass(frozen=True, slots=True)
class Agreement:
    """Spearman's ρ of two sequences, its 95 % interval, and p of no agreement, all for smooth sequences.

    `freedom` is the number of independent pairs that n neighbours are worth; `p` tests whether the two also
    change alike from each place to the next, which two unrelated smooth sequences do not. Where too few
    pairs are left the interval is [−1, 1] and p is 1.
    """

    correlation: float
    low: float
    high: float
    freedom: float
    p: float
    n: int


def agreement(x: Float64, y: Float64) -> Agreement:
    """Spearman's correlation of `(n,)` and `(n,)` sequences in order of depth, neighbours not independent.

    Bartlett's (1935) number of independent pairs n(1 − ab)/(1 + ab), with a and b the lag-1 correlations of
    the ranks, corrected for their bias; Fisher's z with the variance of ranks, 1.06/(n − 3). Two random
    walks correlate for no reason, but not in their steps.
    """
    n = len(x)
    a, b = ranks(x), ranks(y)
    correlation = _correlation(a, b)
    if not math.isfinite(correlation):
        return Agreement(correlation, math.nan, math.nan, math.nan, 1.0, n)
    freedom = _independent(a, b)
    low, high = -1.0, 1.0
    if freedom > 4:
        half = 1.959964 * math.sqrt(1.06 / (freedom - 3))
        z = math.atanh(max(min(correlation, 1 - 1e-12), -1 + 1e-12))
        low, high = math.tanh(z - half), math.tanh(z + half)
    return Agreement(correlation, low, high, freedom, _one_sided(_steps(x), _steps(y)), n)


def _steps(values: Float64) -> Float64:
    """Ranks of the changes from place to place; what differs by rounding alone is equal."""
    changes = np.diff(values)
    unit = 1e-9 * max(float(np.abs(values).max()), 1e-300)
    return ranks(np.round(changes / unit))


def _correlation(a: Float64, b: Float64) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0 else math.nan


def _one_sided(a: Float64, b: Float64) -> float:
    """P of a rank correlation as large among independent sequences of the same smoothness."""
    correlation, freedom = _correlation(a, b), _independent(a, b)
    if not math.isfinite(correlation) or freedom <= 4:
        return 1.0
    z = math.atanh(max(min(correlation, 1 - 1e-12), -1 + 1e-12))
    return normal_tail(z * math.sqrt((freedom - 3) / 1.06))


def _independent(a: Float64, b: Float64) -> float:
    product = _lag(a) * _lag(b)
    return len(a) * (1 - product) / (1 + product)


def _lag(values: Float64) -> float:
    """Lag-1 correlation with Kendall's correction (1 + 4r)/n of its bias, for smoothness; 0 where negative.

    Alternating sequences count by the size of their correlation too: steps of white noise alternate.
    """
    centred = values - values.mean()
    square = float(centred @ centred)
    if square <= 0:
        return 0.0
    raw = float(centred[1:] @ centred[:-1]) / square
    return min(max(raw + (1 + 4 * raw) / len(values), 0.0), 0.99) if raw > 0 else max(raw, -0.99)


@dataclass(frozen=True, slots=True)
class Rise:
    """Medians of the first and the last part of a series, and p of such a rise in a flat one.

    `error` is the standard error of the difference of the two parts' means, with `freedom` degrees.
    """

    start: float
    end: float
    p: float
    n: int
    error: float
    freedom: float


# A loss that is logged fewer times says too little of its noise.
LEAST_VALUES = 10


def rise(values: Float64) -> Rise | None:
    """Does a noisy series end above its beginning? `None` below ten values.

    The first and the last fifth, or a third of fewer than fifty values. Null: one level and
    noise with a lag-1 correlation r; Student's t of the two means with the scatter inside both parts, of
    which m values are worth m(1 − r)/(1 + r).
    """
    n = len(values)
    if n < LEAST_VALUES:
        return None
    part = max(n // 5, min(n // 3, 10))
    first, last = values[:part], values[-part:]
    noise = np.concatenate([first - first.mean(), last - last.mean()])
    r = _noise_correlation(values)
    worth = max(part * (1 - r) / (1 + r), 1.5)
    variance = float(noise @ noise) / (2 * part - 2) * part / max(part - (1 + r) / (1 - r), 1.0)
    variance *= (part - 1) / part
    error = max(math.sqrt(2 * variance / worth), 1e-12 * abs(float(first.mean())) + 1e-300)
    freedom = max(2 * worth - 2, 1.0)
    p = t_tail(float(last.mean() - first.mean()) / error, freedom)
    return Rise(float(np.median(first)), float(np.median(last)), p, n, error, freedom)


@dataclass(frozen=True, slots=True)
class Ending:
    """Means of the last two quarters of a series, the standard error of their difference, and its p.

    `p` is two-sided; `n` counts the values of both quarters.
    """

    before: float
    last: float
    error: float
    p: float
    n: int


# With fewer values a quarter has less than three.
LEAST_ENDING = 12


def ending(values: Float64) -> Ending | None:
    """Does a noisy series still fall or rise at its end? `None` below twelve values.

    Its last quarter against the quarter before. Null: one level over both and noise, which is what a line
    through both leaves, with a lag-1 correlation corrected for the bias that the line brings.
    """
    part = len(values) // 4
    if len(values) < LEAST_ENDING:
        return None
    half = values[-2 * part :]
    before, last = float(half[:part].mean()), float(half[part:].mean())
    at = np.arange(len(half)) - (len(half) - 1) / 2
    rest = half - half.mean() - at * float(at @ half) / float(at @ at)
    r = _line_correlation(rest)
    worth = max(part * (1 - r) / (1 + r), 1.5)
    variance = float(rest @ rest) / max(2 * part - 2 * (1 + r) / (1 - r), 1.0)
    error = max(math.sqrt(2 * variance / worth), 1e-12 * abs(before) + 1e-300)
    p = min(2 * t_tail(abs(last - before) / error, max(2 * worth - 2, 1.0)), 1.0)
    return Ending(before, last, error, p, 2 * part)


def _line_correlation(rest: Float64) -> float:
    """Lag-1 correlation of what a fitted line leaves, corrected for its bias −(2 + 4r)/n, in [0, 0.95]."""
    square = float(rest @ rest)
    if square <= 0:
        return 0.0
    raw = float(rest[1:] @ rest[:-1]) / square
    return min(max(raw + (2 + 4 * raw) / len(rest), 0.0), 0.95)


# A rise over the middle of a series, whose factor is looked for up to this one.
_RAMP, _LARGEST = (0.35, 0.65), 16.0
# With fewer degrees of freedom no rise, however large, is told nine times in ten: the noise may seem to last.
_LEAST_FREEDOM = 14


def visible_rise(values: Float64, alpha: float, ratio: float, least: float) -> float:
    """The factor over its level at which a series must end to be told from a flat one nine times in ten.

    Told is what passes the test at `alpha` and is measured above the factor `ratio` and the rise `least`. The
    rise is put into the series itself, whose noise grows with its level. Infinite where none up to
    sixteenfold is told.

    >>> flat = 2 + 0.1 * np.cos(np.arange(100.0) ** 2)
    >>> round(visible_rise(flat, 0.02, 1.2, 0.2), 2)
    1.23
    """
    ramp = np.clip((np.linspace(0, 1, len(values)) - _RAMP[0]) / (_RAMP[1] - _RAMP[0]), 0, 1)

    def told(factor: float) -> bool:
        found = rise(values * (1 + (factor - 1) * ramp))
        if found is None or found.start <= 0 or found.freedom < _LEAST_FREEDOM:
            return False
        # The noise and its correlation are estimates: they may be larger.
        error = found.error * upper_scale(found.freedom, NINE_IN_TEN)
        needed = (t_above(alpha, found.freedom) + t_above(0.1, found.freedom)) * error
        # Medians scatter √(π/2) times as much as means.
        size = max((ratio - 1) * found.start, least) + NINE_IN_TEN * math.sqrt(math.pi / 2) * error
        return (factor - 1) * found.start >= max(needed, size)

    low, high = 1.0, _LARGEST
    if not told(high):
        return math.inf
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if told(middle) else (middle, high)
    return high


def _noise_correlation(values: Float64) -> float:
    """Lag-1 correlation of what a wide running median leaves, corrected for its bias, in [0, 0.95]."""
    n = len(values)
    window = 2 * max(n // 6, 2) + 1
    padded = np.pad(values, window // 2, mode="reflect")
    rest = values - np.median(np.lib.stride_tricks.sliding_window_view(padded, window), axis=-1)
    square = float(rest @ rest)
    if square <= 0:
        return 0.0
    raw = float(rest[1:] @ rest[:-1]) / square
    return min(max(raw + (1 + 4 * raw) / window, 0.0), 0.95)
