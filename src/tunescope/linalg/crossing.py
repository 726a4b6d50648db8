"""One coefficient: the c for which the moment ⟨round(W + c ΔW) − W', ΔW⟩ is zero.

No value of a replay ever turns round as c rises, and so the moment only rises. Its sign at one c therefore
holds for all beyond, and between two c's only the values that differ there need be replayed again.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg.merging import Way

Array = NDArray[Any]

# Coefficients beyond this are not looked for; |c| = 2^13 is an alpha of thousands left out.
_LARGEST = 2.0**14
_BISECTIONS = 40
# Guesses, how near to one its bracket is first sought, in units of the tolerance, and how that widens.
_GUESSES, _NEAR, _WIDER = 12, 4.0, 8.0
# Values of one inner product in float32.
_ROW = 512


def crossing(W: Array, after: Array, update: Array, way: Way, near: float) -> tuple[float, float]:
    """The middle of the coefficients for which the moment is zero, and how wide they lie open.

    `W` (n,), `after` and `update` are in the precision that the merger computed in; `near` is the relative
    tolerance.

    >>> from tunescope.linalg.rounding import rounded
    >>> W, D = np.linspace(0.5, 1, 999, dtype=np.float32), np.full(999, 0.01, np.float32)
    >>> after = rounded(W + D / 2, "bfloat16")
    >>> round(crossing(W, after, D, Way("bfloat16"), 1e-6)[0], 3)
    0.5
    """
    moment = _Moment(W, after, update, way)
    moment.bracket(near)
    low, high = -1.0, 1.0
    while moment.sign(high) < 0 and high < _LARGEST:
        low, high = high, 2 * high
    while moment.sign(low) > 0 and low > -_LARGEST:
        low, high = 2 * low, low
    below = _edge(lambda c: moment.sign(c) < 0, low, high, near)
    above = _upper(lambda c: moment.sign(c) > 0, below, near)
    return (below + above) / 2, abs(above - below)


def inner(a: Array, b: Array) -> float:
    """⟨a, b⟩ by short rows joined in float64."""
    whole = a.size // _ROW * _ROW
    rows = np.matmul(a[:whole].reshape(-1, 1, _ROW), b[:whole].reshape(-1, _ROW, 1))
    return float(rows.sum(dtype=np.float64)) + float(np.dot(a[whole:].astype(np.float64), b[whole:]))


@dataclass(frozen=True, eq=False)
class _End:
    """A coefficient, the moment there, and the values that its replay makes."""

    c: float
    moment: float
    made: Array


class _Moment:
    """The sign of the moment at any coefficient, by few replays of few values."""

    def __init__(self, W: Array, after: Array, update: Array, way: Way) -> None:
        self._open, self._way = (W, after, update), way
        # Σ over the values that are no longer open; the nearest known below and above zero; where it is zero.
        self._rest = 0.0
        self._low: _End | None = None
        self._high: _End | None = None
        self._zero = (math.inf, -math.inf)
        self._seen = (0.0, 0.0), (0.0, 0.0)

    def sign(self, c: float) -> int:
        """−1, 0 or 1."""
        if self._low is not None and c <= self._low.c:
            return -1
        if self._high is not None and c >= self._high.c:
            return 1
        if self._zero[0] <= c <= self._zero[1]:
            return 0
        end = self._at(c)
        if end.moment == 0:
            self._zero = min(c, self._zero[0]), max(c, self._zero[1])
            return 0
        if end.moment < 0:
            self._low = end
        else:
            self._high = end
        self._narrow()
        return -1 if end.moment < 0 else 1

    def bracket(self, near: float) -> None:
        """Find coefficients close together with the zero between them; a search then costs little."""
        width = _NEAR * near
        self.sign(0.0), self.sign(1.0)
        for _ in range(_GUESSES):
            guess = self._guess()
            if guess is None or abs(guess) > _LARGEST:
                return
            reach = width * max(1.0, abs(guess))
            if self.sign(guess - reach) < 0 and self.sign(guess + reach) > 0:
                return
            width *= _WIDER

    def _guess(self) -> float | None:
        """Where the straight line through two known moments crosses zero, if it rises."""
        if self._zero[0] <= self._zero[1]:
            return (self._zero[0] + self._zero[1]) / 2
        (a, at_a), (b, at_b) = self._seen
        if self._low is not None and self._high is not None:
            a, at_a, b, at_b = self._low.c, self._low.moment, self._high.c, self._high.moment
        slope = (at_b - at_a) / (b - a) if a != b else 0.0
        return a - at_a / slope if math.isfinite(slope) and slope > 0 else None

    def _at(self, c: float) -> _End:
        W, after, update = self._open
        made, moment = np.empty_like(W), self._rest
        for part, values in self._way.stretches(W, update[None], [c]):
            made[part] = values
            moment += inner(made[part] - after[part], update[part])
        self._seen = self._seen[1], (c, moment)
        return _End(c, moment, made)

    def _narrow(self) -> None:
        """Lay aside the values that are the same at both ends, once they are half."""
        if self._low is None or self._high is None:
            return
        apart = self._low.made != self._high.made
        if 2 * np.count_nonzero(apart) > apart.size:
            return
        _, after, update = self._open
        self._rest += inner((self._low.made - after)[~apart], update[~apart])
        self._open = tuple(values[apart] for values in self._open)
        self._low, self._high = (replace(end, made=end.made[apart]) for end in (self._low, self._high))


def _edge(under: Callable[[float], bool], low: float, high: float, tolerance: float) -> float:
    """Where a monotone condition stops holding; it may hold at neither or both ends."""
    if not under(low):
        # A plateau may begin before the bracket.
        while not under(low) and low > -_LARGEST:
            low, high = low - max(1.0, abs(low)), low
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if under(middle) else (low, middle)
        if high - low <= tolerance * max(1.0, abs(high)):
            break
    return high


def _upper(over: Callable[[float], bool], below: float, tolerance: float) -> float:
    """Where a plateau that begins at `below` ends: mostly at once, so that is looked at first."""
    near, width = below, tolerance * max(1.0, abs(below))
    while not over(below + width) and width < _LARGEST:
        near, width = below + width, 4 * width
    far = below + width
    for _ in range(4 if near > below else 0):
        middle = (near + far) / 2
        near, far = (near, middle) if over(middle) else (middle, far)
    return far
