"""Did the training loss end above its beginning, or stop being a number?"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.questions.trajectory.seams import SavedState
from tunescope.statistics.series import rise
from tunescope.study.finding import Finding, significant

# Both the factor and the rise in nats must be reached.
LOSS_RATIO, LOSS_RISE = 1.2, 0.2
ALPHA = 0.02


def logged_losses(by_step: pl.DataFrame, states: Sequence[SavedState]) -> dict[int, float]:
    """Every loss that was logged, once and by step: those of the trainer's log, or else those at captures.

    Beside a step that logged none, tables show the loss logged before it. A log tells which steps these are;
    in a capture they are neighbours of one loss, of which the first counts.
    """
    known = by_step.filter(pl.col("loss").is_not_null()).select("step", "loss").sort("step")
    if not states:
        new = (pl.col("loss") != pl.col("loss").shift()).fill_null(True) | pl.col("loss").is_nan()
        known = known.filter(new)
    found: dict[int, float] = dict(known.iter_rows())
    for state in states:
        if state.losses and state.step not in state.losses:
            found.pop(state.step, None)
    for state in states:
        found |= state.losses
    return dict(sorted(found.items()))


def known_losses(by_step: pl.DataFrame, states: Sequence[SavedState] = ()) -> int:
    """How many finite losses were logged."""
    return sum(loss is not None and math.isfinite(loss) for loss in logged_losses(by_step, states).values())


def rising_loss(
    run: str, by_step: pl.DataFrame, states: Sequence[SavedState] = (), runs: int = 1
) -> Iterator[Finding]:
    """A loss that ends clearly above its start, against the noise of all logged losses."""
    losses = logged_losses(by_step, states)
    steps, values = list(losses), np.array(list(losses.values()), dtype=np.float64)
    if not len(values):
        return
    best = int(steps[int(np.where(np.isfinite(values), values, np.inf).argmin())])
    if not math.isfinite(values[-1]):
        yield _no_number(run, best, values)
        return
    found = rise(values[np.isfinite(values)])
    if found is None or found.start <= 0:
        return
    ratio, p = found.end / found.start, min(found.p * runs, 1.0)
    if ratio < LOSS_RATIO or found.end - found.start < LOSS_RISE or p > ALPHA:
        return
    text = (
        f"{run} has diverged: its training loss ends at {significant(found.end)} nats after "
        f"{significant(found.start)} at the beginning (medians; {found.n} losses were logged; lowest at step "
        f"{best:,})."
    )
    evidence = {
        "statistic": "median loss at the end over that at the beginning",
        "value": ratio,
        "threshold": LOSS_RATIO,
        "null": "a flat loss with the same noise",
        "p": p,
        "n": found.n,
        "loss_start": found.start,
        "loss_end": found.end,
        "rise_threshold": LOSS_RISE,
        "places_looked_at": runs,
    }
    yield Finding(
        "diverged", text, (run,), step=best, evidence=evidence, severity="warning",
        strength=math.log(ratio) / math.log(LOSS_RATIO),
    )  # fmt: skip


def _no_number(run: str, best: int, values: NDArray[np.float64]) -> Finding:
    """A loss that ends as NaN or infinite: a fact."""
    lowest = f" (lowest at step {best:,})" if np.isfinite(values).any() else ""
    text = f"{run} has diverged: its training loss ends at a number that is not finite{lowest}."
    evidence = {
        "statistic": "losses that are not finite",
        "value": int((~np.isfinite(values)).sum()),
        "n": len(values),
    }
    return Finding("diverged", text, (run,), step=best, evidence=evidence, severity="warning", strength=10.0)
