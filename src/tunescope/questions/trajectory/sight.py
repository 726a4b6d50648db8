"""The smallest effects that would have been found in the motion of a run, had they been there.

Effects are put into the run's own numbers, in ten places one after the other. Where all ten are found, the
next one is in ten of eleven cases.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.measure.depth import ALPHA, depth_of, visible_third
from tunescope.measure.towers import towers
from tunescope.questions.trajectory import layers, loss, plateau, seams
from tunescope.questions.trajectory.order import (
    LEAST_CAPTURES,
    LEAST_KINDS,
    LEAST_LAYERS,
    halfway_table,
    spread_of,
    tells,
)
from tunescope.statistics.location import upper_scale
from tunescope.statistics.replicates import rows_differ
from tunescope.statistics.series import visible_rise

_PLACES, _HALVINGS = 10, 12


def visible_effects(
    motion: pl.DataFrame,
    updates: pl.DataFrame,
    by_step: pl.DataFrame,
    states: Sequence[seams.SavedState] = (),
    runs: int = 1,
) -> dict[str, float | None]:
    """For each kind of finding the least effect that is found nine times in ten, `None` where none would be.

    `third` and `loss` are factors, `halfway` and `still` shares of the run, `jump` one of the way. Of a run
    with several towers it is that of the tower in which least is seen.
    """
    series = [rows for _, rows in updates.group_by("run", maintain_order=True)]
    places = runs * max(len(series), 1)
    return {
        "third": _third(motion, runs),
        "halfway": _worst([_halfway(rows, places) for rows in series]),
        "still": _worst([_still(rows) for rows in series]),
        "jump": _jump(by_step, runs),
        "loss": _loss(by_step, states, runs),
    }


def _worst(seen: Sequence[float | None]) -> float | None:
    known = [value for value in seen if value is not None]
    return max(known) if known and len(known) == len(seen) else None


def _third(motion: pl.DataFrame, runs: int) -> float | None:
    last = layers.updates(layers.matrices(motion.filter(pl.col("step") == pl.col("step").max())))
    found = [depth for tower in towers(last, "delta_frobenius_norm") if (depth := depth_of(tower))]
    return visible_third(found, ALPHA / runs)


def _halfway(updates: pl.DataFrame, places: int) -> float | None:
    """How much of the run a layer must come before the others, or after them."""
    found, table, last = halfway_table(updates)
    if last is None or len(found) < LEAST_LAYERS or table.shape[1] < LEAST_KINDS:
        return None
    shares = table / last

    def told(row: int, size: float, gate: float) -> bool:
        planted = shares.copy()
        # To the side of the run on which there is more room.
        planted[row] += size if shares[row].mean() < 0.5 else -size
        rows = rows_differ(planted, gate)
        return tells(spread_of(planted, rows), rows, places)

    # Layers are exchanged only at the end, for a few sizes.
    size = _least(len(found), lambda row, size: told(row, size, 0.0), 0.5)
    size = None if size is None else size * upper_scale((len(found) - 1) * (table.shape[1] - 1))
    while size is not None and size <= 0.5:
        if all(told(row, size, 0.05) for row in _places(len(found))):
            return size
        size *= 1.25
    return None


def _still(updates: pl.DataFrame) -> float | None:
    """Over how much of the run's end a layer must stand still, as far as captures tell."""
    found, steps, *_ = plateau.distances(updates)
    before = steps[steps <= steps[-1] * (1 - plateau.SHARE)] if len(steps) else steps
    if not found or len(steps) < LEAST_CAPTURES or not len(before):
        return None
    return float(1 - before[-1] / steps[-1])


def _jump(by_step: pl.DataFrame, runs: int) -> float | None:
    known = seams.stretches_of(by_step)
    if known is None:
        return None
    stretches, gaps = known

    def told(at: int, size: float) -> bool:
        planted = stretches.copy()
        planted[at] += size * float(stretches.sum())
        where, share, p = seams.longest(planted, gaps, runs)
        return where == at and share >= seams.JUMP_SHARE and p <= seams.ALPHA

    return _least(len(stretches), told, 1.0)


def _loss(by_step: pl.DataFrame, states: Sequence[seams.SavedState], runs: int) -> float | None:
    values: NDArray[np.float64] = np.array(
        list(loss.logged_losses(by_step, states).values()), dtype=np.float64
    )
    factor = visible_rise(values[np.isfinite(values)], loss.ALPHA / runs, loss.LOSS_RATIO, loss.LOSS_RISE)
    return factor if math.isfinite(factor) else None


def _places(n: int) -> list[int]:
    return sorted({round(i) for i in np.linspace(0, n - 1, min(n, _PLACES))})


def _least(n: int, told: Callable[[int, float], bool], most: float) -> float | None:
    """The least size up to `most` that is told in all of ten places among n, by halving."""
    low, high = 0.0, most
    if not all(told(place, most) for place in _places(n)):
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if all(told(place, middle) for place in _places(n)):
            high = middle
        else:
            low = middle
    return high
