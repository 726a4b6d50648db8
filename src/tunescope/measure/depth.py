"""Means of a metric over the layers of a model, and whether the thirds of its depth differ."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tunescope.measure.towers import Tower
from tunescope.statistics.groups import Parts, parts_differ, smooth_levels, smooth_p, visible_lead
from tunescope.statistics.multiplicity import holm
from tunescope.statistics.neighbours import cuts
from tunescope.statistics.two_way import common_block

NAMES = ("early", "middle", "late")
# Thirds differ when the mean of one is this many times that of another.
THIRDS_RATIO = 1.25
# The share of studies without any effect that may be given a leading third.
ALPHA = 0.04
# Random orders of fewer layers reach no p of 5 %: 2 + 2 + 2 layers can be cut in 15 ways.
LEAST_LAYERS = 7
EXCHANGED = 0.05
# Where only an effect larger than this would be seen, too little is known to tell of one.
MOST_VISIBLE = 30.0


def main_stack(rows: pl.DataFrame) -> str:
    """The stack with the most components in blocks, whose layers the readout speaks of."""
    counts = rows.filter(pl.col("layer").is_not_null()).group_by("stack", maintain_order=True).len()
    return (
        str(counts.sort("len", descending=True, maintain_order=True)["stack"][0])
        if counts.height
        else "model"
    )


def layer_means(rows: pl.DataFrame, metric: str) -> pl.DataFrame:
    """Mean of the metric over each layer's components: columns `layer`, `mean`, ordered by layer."""
    inside = rows.filter(pl.col("layer").is_not_null())
    return (
        inside.group_by("layer", maintain_order=True).agg(pl.col(metric).mean().alias("mean")).sort("layer")
    )


def thirds(layers: pl.DataFrame) -> dict[str, float | None]:
    """Mean of the layer means in each third of the n layers, cut at ⌈n/3⌉ and ⌈2n/3⌉."""
    n, edges = layers.height, cuts(layers.height)
    return {
        name: _mean(layers["mean"][edges[i] : edges[i + 1]]) if n else None for i, name in enumerate(NAMES)
    }


def third_layers(layers: pl.DataFrame) -> dict[str, list[int] | None]:
    """The first and the last layer of each third, as `thirds` cuts them; `None` for one without any."""
    numbers, edges = layers["layer"].to_list(), cuts(layers.height)
    parts = [numbers[edges[i] : edges[i + 1]] if numbers else [] for i in range(len(NAMES))]
    return {name: [part[0], part[-1]] if part else None for name, part in zip(NAMES, parts, strict=True)}


def _mean(values: pl.Series) -> float | None:
    return float(values.mean()) if len(values) else None  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Depth:
    """The thirds of one tower's layers, over the kinds of weight that all these layers have.

    `means` are geometric means in the unit of the measure; `ratio` is the largest over the smallest. `p` is
    that of the F test, adjusted for all towers of the study once `leading_thirds` has seen them.
    """

    tower: Tower
    layers: tuple[int, ...]
    kinds: int
    means: dict[str, float]
    parts: Parts
    p: float

    @property
    def most(self) -> str:
        """The third with the largest mean."""
        return max(self.means, key=lambda name: self.means[name])

    @property
    def span(self) -> str:
        """The first and the last layer of the leading third."""
        edges, third = cuts(len(self.layers)), NAMES.index(self.most)
        return f"{self.layers[edges[third]]} to {self.layers[edges[third + 1] - 1]}"

    @property
    def least(self) -> str:
        """The third with the smallest mean."""
        return min(self.means, key=lambda name: self.means[name])

    @property
    def ratio(self) -> float:
        """The largest mean over the smallest, at least 1."""
        return self.means[self.most] / self.means[self.least]


def depth_of(tower: Tower) -> Depth | None:
    """The thirds of a tower, `None` where fewer than seven layers carry the same kinds of weight."""
    rows, columns = common_block(np.isfinite(tower.logs))
    if len(rows) < LEAST_LAYERS:
        return None
    # A kind's own level moves all layers alike, so the means over kinds differ only as the layers do.
    parts = parts_differ(tower.logs[np.ix_(rows, columns)].mean(axis=1))
    means = dict(zip(NAMES, np.exp(parts.means).tolist(), strict=True))
    return Depth(tower, tuple(tower.layers[i] for i in rows), len(columns), means, parts, parts.p)


def leading_thirds(found: Sequence[Depth], alpha: float = ALPHA) -> list[tuple[int, Depth]]:
    """Which of a study's towers have a third that leads, with their index: in size, and against chance.

    The F test, of layers as alike to their neighbours as the profiles of all towers show, adjusted by Holm,
    must stay below `alpha`, and fewer than 5 % of random orders of the layers may differ as much.
    """
    adjusted = holm(smooth_p([depth.parts for depth in found]))
    told = []
    for i, (depth, p) in enumerate(zip(found, adjusted.tolist(), strict=True)):
        if depth.ratio >= THIRDS_RATIO and p <= alpha and depth.parts.p_exchanged <= EXCHANGED:
            told.append((i, Depth(depth.tower, depth.layers, depth.kinds, depth.means, depth.parts, p)))
    return told


def visible_thirds(found: Sequence[Depth], alpha: float = ALPHA) -> list[float]:
    """For each tower the least factor between thirds that `leading_thirds` finds nine times in ten."""
    levels = smooth_levels([d.parts for d in found], alpha / max(len(found), 1))
    return [
        visible_lead(len(d.layers), d.parts.spread, level, THIRDS_RATIO)
        for d, level in zip(found, levels, strict=True)
    ]


def visible_third(found: Sequence[Depth], alpha: float = ALPHA) -> float | None:
    """The same of the tower in which least is seen.

    `None` where there is no tower, or nothing below thirtyfold would be seen.
    """
    largest = max(visible_thirds(found, alpha), default=math.inf)
    return largest if largest < MOST_VISIBLE else None


def depth_evidence(depth: Depth, towers: int) -> dict[str, object]:
    """The numbers behind a leading third, of a study that looked at this many towers."""
    return {
        "statistic": "largest over smallest geometric mean of a third of the layers",
        "value": depth.ratio,
        "threshold": THIRDS_RATIO,
        "null": "layers exchanged, all kinds of weight of a layer together; neighbours alike as they are",
        "p": depth.p,
        "n": len(depth.layers),
        "p_exchanged": depth.parts.p_exchanged,
        "spread_of_layers": depth.parts.spread,
        "kinds": depth.kinds,
        "places_looked_at": towers,
        **depth.means,
        "ratio": depth.ratio,
        "leading_layers": depth.span,
        "stack": depth.tower.stack,
    }
