"""One attribution that findings are looked for in: its cells, its sums, whether there is a gain at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from scipy import stats

# The share of null studies in which a kind may be raised; see docs/calibration.md.
ALPHA = 0.05
# With fewer sequences no statement about the sign of a single cell is made.
FEWEST_SEQUENCES = 5

Summary = Mapping[str, Any]


def gain_p(summary: Summary) -> float:
    """Two-sided p of a gain of zero: Student's t over sequences; 1 where there is no error."""
    gain, error, n = summary["gain"], summary["gain_stderr"], int(summary["sequences"])
    if error is None or n < 2:
        return 1.0
    if error == 0:
        return 1.0 if gain == 0 else 0.0
    return float(2 * stats.t.sf(abs(gain) / error, n - 1))


@dataclass(frozen=True, eq=False)
class Case:
    """The attribution of `model` on the data set `data`, one of `data_sets` that are looked at."""

    frame: pl.DataFrame
    summary: Summary
    model: str
    data: str
    data_sets: int = 1

    @property
    def n(self) -> int:
        """The number of sequences."""
        return int(self.summary["sequences"])

    @property
    def p(self) -> float:
        """Two-sided p of a gain of zero."""
        return gain_p(self.summary)

    @property
    def clear(self) -> bool:
        """Whether the change of the loss is told from zero: else its parts are parts of nothing."""
        return self.p <= ALPHA and bool(self.summary["sum"])

    @property
    def alpha(self) -> float:
        """The level for this data set, so that all of them together keep to `ALPHA`."""
        return ALPHA / self.data_sets

    @property
    def whole(self) -> str:
        """What the parts are parts of."""
        return "gain" if self.summary["sum"] < 0 else "rise of the loss"

    def evidence(
        self, statistic: str, value: Any, *, null: str, p: float | None, threshold: Any, **more: Any
    ) -> dict[str, Any]:
        """What a finding rests on, with the data set and the number of sequences."""
        known = {"statistic": statistic, "value": value, "threshold": threshold, "null": null, "p": p}
        return {**known, "n": self.n, "data": self.data, **more}


def percent(share: float) -> str:
    """A share in words.

    >>> percent(0.456)
    '46%'
    """
    return f"{100 * share:.0f}%"
