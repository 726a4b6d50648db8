"""The pictures of an attribution as data: maps with sums, change against effect, measured effects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.address import Address
from tunescope.picture.grid import ends_text
from tunescope.picture.views import Grid, grids
from tunescope.study.finding import significant
from tunescope.words import counted

Floats = NDArray[np.float64]
ATTRIBUTION = "change of the loss (nats per token)"
CHANGE = "change ‖ΔW‖_F / √d_out (unit of the weights)"
DIFFERENCE = "difference (nats per token)"
SIDES = "blue: lowered · red: raised"
CELL = ("stack", "layer", "module_type", "expert")
# An effect is told from zero where it exceeds its standard error this many times.
CLEAR = 2.0
# A cell is an outlier when it is in the top quarter of one side and in the bottom quarter of the other.
QUARTER = 0.25
NAMED = 4


@dataclass(frozen=True, eq=False)
class Map:
    """A diverging grid of additive values, with the sums of its rows and columns.

    `sides` says what blue (below zero) and red (above) mean.
    """

    grid: Grid
    sides: str
    row_sums: Floats
    column_sums: Floats


@dataclass(frozen=True, eq=False)
class Scatter:
    """Change against |effect|, one point per cell; `named` are the outliers that get a label.

    `lowers` says which way a cell moved the loss, `clear` whether its effect can be told from zero.
    Cells without any change or effect have no place on logarithmic axes and are counted in `left_out`.
    """

    title: str
    names: tuple[str, ...]
    families: tuple[str, ...]
    change: Floats
    effect: Floats
    lowers: NDArray[np.bool_]
    clear: NDArray[np.bool_]
    named: tuple[int, ...]
    spearman: float | None
    left_out: int
    edges: tuple[float, float, float, float] | None


@dataclass(frozen=True, eq=False)
class Checks:
    """Measured against attributed effect of the cells that were put back, with standard errors."""

    title: str
    names: tuple[str, ...]
    attributed: Floats
    measured: Floats
    errors: tuple[Floats, Floats]
    largest: NDArray[np.bool_]


def maps(frame: pl.DataFrame, title: str) -> list[Map]:
    """One map per stack and one for modules outside blocks; experts of a layer are summed.

    Limits are centred on zero, each map's own, so that an embedding does not pale the blocks.
    """
    return _maps(frame, "attribution", title, ATTRIBUTION, SIDES)


def difference_maps(frame: pl.DataFrame, title: str, first: str, second: str) -> list[Map]:
    """As `maps`, of the attribution on data set `second` minus that on `first`."""
    return _maps(frame, "difference", title, DIFFERENCE, f"blue: lower on {second} · red: lower on {first}")


def _maps(frame: pl.DataFrame, value: str, title: str, label: str, sides: str) -> list[Map]:
    cells = frame.group_by("stack", "layer", "module_type", maintain_order=True).agg(pl.col(value).sum())
    return [_map(grid, sides) for grid in grids(cells, value, title, label)]


def _map(grid: Grid, sides: str) -> Map:
    top = float(np.nanmax(np.abs(grid.values), initial=0.0)) or 1.0
    known = np.nan_to_num(grid.values)
    return Map(replace(grid, limits=(-top, top)), sides, known.sum(1), known.sum(0))


def difference(first: pl.DataFrame, second: pl.DataFrame) -> pl.DataFrame:
    """`second` minus `first` cell by cell: `difference` and, for independent data, its `stderr`."""
    keys = [*CELL, "component_name"]
    joined = second.join(
        first, on=keys, how="inner", nulls_equal=True, suffix="_first", maintain_order="left"
    )
    return joined.select(
        *keys,
        pl.col("attribution_first").alias("attribution_a"),
        pl.col("attribution").alias("attribution_b"),
        (pl.col("attribution") - pl.col("attribution_first")).alias("difference"),
        (pl.col("stderr").pow(2) + pl.col("stderr_first").pow(2)).sqrt().alias("stderr"),
    )


def outliers(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with `outlier`: `moved_without_effect`, `effect_without_motion` or null.

    The first moved as far as the top quarter and has an effect in the bottom quarter, or none that can be
    told from zero; the second is the reverse, its effect clear of zero. Needs eight cells or more.
    """
    change, effect = pl.col("frobenius_norm_normalized"), pl.col("attribution").abs()
    clear = effect > CLEAR * pl.col("stderr").fill_null(0.0)
    high, low = 1 - QUARTER, QUARTER
    moved = (change >= change.quantile(high)) & ((effect <= effect.quantile(low)) | ~clear)
    mattered = (effect >= effect.quantile(high)) & clear & (change <= change.quantile(low))
    enough = frame.height >= 8 and frame["attribution"].abs().sum() > 0
    found = (
        pl.when(moved)
        .then(pl.lit("moved_without_effect"))
        .when(mattered)
        .then(pl.lit("effect_without_motion"))
    )
    return frame.with_columns((found if enough else pl.lit(None, pl.String)).alias("outlier"))


def ranked(frame: pl.DataFrame, kind: str) -> pl.DataFrame:
    """The outliers of one kind, those whose ranks in change and effect lie furthest apart first."""
    change = pl.col("frobenius_norm_normalized").rank()
    gap = (change - pl.col("attribution").abs().rank()).abs()
    return frame.with_columns(gap.alias("gap")).filter(pl.col("outlier") == kind).sort("gap", descending=True)


def scatter(frame: pl.DataFrame, title: str, spearman: float | None) -> Scatter:
    """Change against |effect| of every cell, the furthest outliers of each kind named."""
    frame = outliers(frame)
    shown = frame.filter((pl.col("frobenius_norm_normalized") > 0) & (pl.col("attribution") != 0))
    names = shown["component_name"].to_list()
    kinds = ("moved_without_effect", "effect_without_motion")
    named = [n for kind in kinds for n in ranked(frame, kind)["component_name"].head(NAMED).to_list()]
    return Scatter(
        title,
        tuple(names),
        tuple(Address("", 0, module).family for module in shown["module_type"].to_list()),
        shown["frobenius_norm_normalized"].to_numpy(),
        shown["attribution"].abs().to_numpy(),
        (shown["attribution"] < 0).to_numpy(),
        (shown["attribution"].abs() > CLEAR * shown["stderr"].fill_null(0.0)).to_numpy(),
        tuple(names.index(name) for name in named if name in names),
        spearman,
        frame.height - shown.height,
        _edges(frame),
    )


def _edges(frame: pl.DataFrame) -> tuple[float, float, float, float] | None:
    """Lower and upper quartile of change and of |effect|; `None` where no outliers are looked for."""
    if frame.height < 8:
        return None
    sides = (frame["frobenius_norm_normalized"], frame["attribution"].abs())
    low, high = ([float(side.quantile(q) or 0.0) for side in sides] for q in (QUARTER, 1 - QUARTER))
    return low[0], high[0], low[1], high[1]


def checks(rows: pl.DataFrame, title: str) -> Checks:
    """What was measured when cells were put back, beside what was attributed to them."""
    errors = (
        rows["attribution_stderr"].fill_null(0.0).to_numpy(),
        rows["measured_stderr"].fill_null(0.0).to_numpy(),
    )
    return Checks(
        title,
        tuple(rows["component_name"].to_list()),
        rows["attribution"].to_numpy(),
        rows["measured"].to_numpy(),
        errors,
        (rows["chosen"] == "largest").to_numpy(),
    )


def agreement(found: Mapping[str, Any]) -> str:
    """The rank correlations of a verification, for a figure's caption."""
    parts = [f"Spearman {significant(found['spearman'], 2)}"]
    parts += [f"{which} {significant(found[f'spearman_{which}'], 2)}" for which in ("largest", "random")]
    return f"{parts[0]} over {found['cells']} cells ({', '.join(parts[1:])})"


def of_change(points: Scatter) -> str:
    """The rank correlation of change and effect over all cells, for a figure's caption."""
    said = "n/a" if points.spearman is None else f"{points.spearman:.2f}"
    rest = f", {points.left_out} cells at zero not shown" if points.left_out else ""
    return f"Spearman {said} over {len(points.names) + points.left_out} cells{rest}"


def caption(summary: Mapping[str, Any], title: str, found: Sequence[Map]) -> str:
    """What a map shows, and what it rests on: losses, data, precision, how well halves of the data agree."""
    parts = [
        f"loss {summary['base_loss']:.4g} → {summary['tuned_loss']:.4g} nats per token",
        f"sum of all cells {significant(summary['sum'])}",
        f"residual {significant(summary['residual'], 2)} at {counted(summary['nodes'], 'node')}",
        f"{counted(summary['tokens'], 'token')}",
        f"data {summary['data_sha256'][:8]}",
        str(summary["dtype"]),
        f"Spearman between halves of the data {significant(summary['split_half_spearman'], 2)}",
        f"with the number of weights {significant(summary['spearman_numel'], 2)}",
    ]
    if (checked := summary.get("verification")) is not None:
        parts.append(f"with the measured effect {significant(checked['spearman'], 2)}")
    inside = [view.grid for view in found if not view.grid.outside]
    ends = f"; {ends_text(*inside)}" if inside else ""
    lead = f"How much of the change of the loss each weight's update made, {title}, and their sums"
    return f"{lead}{ends}. {' · '.join(parts)}"


def difference_caption(first: str, second: str) -> str:
    """What the colours of a difference mean."""
    return f"blue: lowered the loss more (or raised it less) on {second} than on {first}"
