"""A training run as an animation: which lines, over which layers, at which steps, between which limits."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.picture.cells import number
from tunescope.picture.views import Grid, limits_of

Float64 = NDArray[np.float64]
# statistic -> (column of the spread, axis label)
STATISTICS = {"mean": ("mean_std", "mean of Δ"), "abs_mean": ("abs_mean_std", "mean of |Δ|")}
# Runs up to which every line has its band.
BANDS = 2
# Room above and below the largest and smallest value, as a share of their distance.
_MARGIN = 0.06


@dataclass(frozen=True, eq=False)
class Track:
    """One run's statistic over layers, capture by capture.

    `centre` and `spread` have shape `(captures, layers)`: the mean over a layer's matrices and the
    population standard deviation across them; `broken` says where a layer was captured with a mean that is
    not finite. `key` decides the colour; tracks of one key share it.
    """

    label: str
    key: str
    layers: NDArray[np.int64]
    steps: NDArray[np.int64]
    epochs: Float64
    centre: Float64
    spread: Float64
    broken: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame: what its title says, how far the run is (0 to 1), which capture of each track it shows."""

    caption: str
    progress: float
    captures: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Animation:
    """An animated layer profile; `limits` hold for all frames."""

    name: str
    title: str
    subtitle: str
    label: str
    tracks: tuple[Track, ...]
    moments: tuple[Moment, ...]
    limits: tuple[float, float]

    @property
    def banded(self) -> bool:
        """Whether spreads are drawn: more than two bands would lie on one another."""
        return len(self.tracks) <= BANDS

    def thinned(self, most: int) -> "Animation":
        """At most so many moments, evenly spaced, the first and the last among them."""
        if len(self.moments) <= most:
            return self
        kept = np.unique(np.linspace(0, len(self.moments) - 1, most).round().astype(int))
        return replace(self, moments=tuple(self.moments[int(k)] for k in kept))

    def alt(self) -> str:
        """The picture in words, from its numbers."""
        lead = self.moments[-1]
        parts = []
        for track, capture in zip(self.tracks, lead.captures, strict=True):
            values = np.where(track.broken[capture], np.nan, track.centre[capture])
            known = values[np.isfinite(values)]
            if len(known) > 1 and (known == known[0]).all():
                parts.append(f"{track.label} the same in every layer ({number(known[0])})")
            elif len(known):
                top = int(np.nanargmax(np.abs(values)))
                largest = "largest in size" if (known < 0).any() else "largest"
                parts.append(f"{track.label} {largest} at layer {track.layers[top]} ({number(values[top])})")
            else:
                parts.append(f"{track.label} is not finite in any layer")
        count = len(self.moments)
        captures = f"{count} capture{'' if count == 1 else 's'}"
        return f"{self.label} by layer, {captures}; at {lead.caption}: {'; '.join(parts)}."


def track(by_layer: pl.DataFrame, statistic: str, *, label: str, key: str) -> Track | None:
    """The track of one run from its rows of `motion_by_layer` (one factor); `None` without any layer."""
    rows = by_layer.filter(pl.col("layer").is_not_null())
    if not rows.height:
        return None
    steps = rows.select("step", "epoch").unique("step").sort("step")
    layers = rows["layer"].unique().sort().to_numpy()
    row = {step: i for i, step in enumerate(steps["step"].to_list())}
    column = {int(layer): j for j, layer in enumerate(layers)}
    centre = np.full((len(row), len(column)), np.nan)
    spread = np.full_like(centre, np.nan)
    broken = np.zeros(centre.shape, dtype=bool)
    wanted = rows.select("step", "layer", statistic, STATISTICS[statistic][0])
    for step, layer, value, deviation in wanted.iter_rows():
        at = row[step], column[layer]
        centre[at] = math.nan if value is None else value
        broken[at] = not math.isfinite(centre[at])
        spread[at] = math.nan if deviation is None else deviation
    epochs = steps["epoch"].cast(pl.Float64).fill_null(math.nan).to_numpy()
    return Track(label, key, layers, steps["step"].to_numpy(), epochs, centre, spread, broken)


def animation(name: str, title: str, subtitle: str, statistic: str, tracks: Sequence[Track]) -> Animation:
    """An animation of one or several tracks; the one with most captures leads, one frame for each.

    The others show their capture nearest in epoch (in step where an epoch is unknown).
    """
    return Animation(
        name=name,
        title=title,
        subtitle=subtitle,
        label=STATISTICS[statistic][1],
        tracks=tuple(tracks),
        moments=tuple(_moments(tracks)),
        limits=_limits(tracks, len(tracks) <= BANDS, zero_based=statistic == "abs_mean"),
    )


def _moments(tracks: Sequence[Track]) -> Iterable[Moment]:
    lead = max(tracks, key=lambda t: len(t.steps))
    by_epoch = all(np.isfinite(t.epochs).all() for t in tracks)
    last = max(int(lead.steps[-1]), 1)
    for i in range(len(lead.steps)):
        captures = tuple(_nearest(t, lead, i, by_epoch) for t in tracks)
        steps = [int(t.steps[c]) for t, c in zip(tracks, captures, strict=True)]
        yield Moment(_caption(steps, float(lead.epochs[i])), int(lead.steps[i]) / last, captures)


def _nearest(track: Track, lead: Track, i: int, by_epoch: bool) -> int:
    if track is lead:
        return i
    here, there = (lead.epochs[i], track.epochs) if by_epoch else (lead.steps[i], track.steps)
    return int(np.argmin(np.abs(there - here)))


def _caption(steps: Sequence[int], epoch: float) -> str:
    low, high = min(steps), max(steps)
    step = f"step {high:,}" if low == high else f"steps {low:,}–{high:,}"
    return step if math.isnan(epoch) else f"{step} · epoch {epoch:.2f}"


def _limits(tracks: Sequence[Track], banded: bool, zero_based: bool) -> tuple[float, float]:
    """Limits over all that is drawn in any frame: the lines, and their bands where there are some."""
    edges = [
        t.centre + sign * np.where(np.isfinite(t.spread), t.spread, 0.0)
        for t in tracks
        for sign in ((-1.0, 1.0) if banded else (0.0,))
    ]
    values = np.concatenate([edge[np.isfinite(edge)] for edge in edges])
    if not values.size:
        return (0.0, 1.0)
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    room = (high - low) * _MARGIN
    if room == 0:
        return (0.0, 1.0) if zero_based else (-1.0, 1.0)
    return (0.0, high + room) if zero_based else (low - room, high + room)


def norm_grid(norms: pl.DataFrame, title: str) -> Grid | None:
    """Layer × step of `√Σ‖ΔW‖_F²` over a layer's matrices; `None` where no norm is known."""
    rows = norms.filter(pl.col("delta_frobenius_norm").is_not_null())
    if not rows.height:
        return None
    layers, steps = rows["layer"].unique().sort().to_list(), rows["step"].unique().sort().to_list()
    values = np.full((len(layers), len(steps)), np.nan)
    for layer, step, norm in rows.select("layer", "step", "delta_frobenius_norm").iter_rows():
        values[layers.index(layer), steps.index(step)] = norm
    return Grid(
        title=title,
        rows=tuple(f"L{layer}" for layer in layers),
        columns=tuple(f"{step:,}" for step in steps),
        values=np.where(np.isfinite(values), values, np.nan),
        broken=np.isinf(values) | (np.isnan(values) & _present(rows, layers, steps)),
        label="‖ΔW‖ of the layer (unit of the weights)",
        limits=limits_of([values]),
        across="step",
        numbered=True,
    )


def _present(rows: pl.DataFrame, layers: list[int], steps: list[int]) -> NDArray[np.bool_]:
    present = np.zeros((len(layers), len(steps)), dtype=bool)
    for layer, step in rows.select("layer", "step").iter_rows():
        present[layers.index(layer), steps.index(step)] = True
    return present


def rate_text(rate: float) -> str:
    """A learning rate as it is written on a command line and in file names.

    >>> [rate_text(r) for r in (2e-4, 1e-3, 1.5e-5, 0.1)]
    ['2e-4', '1e-3', '1.5e-5', '1e-1']
    """
    mantissa, exponent = f"{rate:.6e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def panel_name(*parts: str) -> str:
    """Parts as one file name: letters, digits, `.`, `+` and `-` stay, anything else becomes `-`.

    >>> panel_name("2e-4", "math solutions", "mean")
    '2e-4_math-solutions_mean'
    """
    cleaned = (re.sub(r"[^\w.+-]+|\.{2,}", "-", part).strip("-.") or "run" for part in parts)
    return "_".join(part[:80] for part in cleaned)
