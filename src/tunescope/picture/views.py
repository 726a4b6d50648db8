"""Layer × component grids, layer profiles and rankings, as arrays with labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.address import Address, rank_of_kind
from tunescope.picture.clipping import clipped

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Grid:
    """Values `(rows, columns)` with labels; NaN where there is no module or no number.

    `broken` marks cells whose module is there but whose number is not finite. `limits` are those of the
    colour scale; `label` names the scale with its unit, `down` and `across` what rows and columns are.
    `numbered` columns (heads, experts, steps) need not all be labelled. `model` is whose map it is.
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: NDArray[np.float64]
    broken: NDArray[np.bool_]
    label: str
    limits: tuple[float, float]
    down: str = "layer"
    across: str = "module"
    numbered: bool = False
    model: str = ""

    @property
    def outside(self) -> bool:
        """Whether the map is of weights outside the layers, which have one row without a name."""
        return self.rows == ("",)

    @property
    def beyond(self) -> NDArray[np.int64]:
        """Row and column of every cell whose value lies beyond the upper end of the scale, `(n, 2)`."""
        low, high = self.limits
        with np.errstate(invalid="ignore"):
            return np.argwhere(self.values > high + 1e-9 * (high - low))

    def with_cells(
        self, rows: tuple[str, ...], columns: tuple[str, ...], values: Float64, broken: NDArray[np.bool_]
    ) -> "Grid":
        """The same map with other rows and columns."""
        return replace(self, rows=rows, columns=columns, values=values, broken=broken)


@dataclass(frozen=True, eq=False)
class Line:
    """One line of a profile: `label`, and values along the layers."""

    label: str
    layers: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """A line along whole numbers `x`, with the band between `low` and `high`."""

    label: str
    x: NDArray[np.int64]
    middle: Float64
    low: Float64
    high: Float64


@dataclass(frozen=True, eq=False)
class Profile:
    """Lines over the layers of one family and stack; colours follow the order of `models`."""

    title: str
    lines: tuple[Line, ...]
    label: str
    models: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Ranking:
    """Names with values, largest first."""

    title: str
    names: tuple[str, ...]
    values: NDArray[np.float64]
    families: tuple[str, ...]
    label: str


# Signs up to which a part of a component's name is letters, such as QKV, not a word.
_LETTERS = 3


def short(component: str) -> str:
    """A component as a column label: `MLP_GATE` → `Gate`, `ATTN_Q` → `Q`, `XATTN_K` → `cross K`.

    >>> [short(c) for c in ("MLP_GATE", "ATTN_QKV", "XATTN_V", "Q_NORM", "ATTN_PROJ_IN")]
    ['Gate', 'QKV', 'cross V', 'Q norm', 'Proj in']
    """
    for prefix, lead in (("MLP_", ""), ("XATTN_", "cross "), ("ATTN_", "")):
        if component.startswith(prefix):
            tail = component.removeprefix(prefix)
            letters = all(len(part) <= _LETTERS for part in tail.split("_"))
            return lead + (tail if letters and prefix != "MLP_" else _words(tail))
    return _words(component)


def _words(text: str) -> str:
    return text.replace("_", " ").capitalize()


def with_component(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with a column `column`: the short label of each row's module."""
    kinds = {m: short(Address("", 0, m).component) for m in sorted(frame["module_type"].unique().to_list())}
    names = {
        module: label if len(rivals) == 1 else shortest_suffix(module, rivals)
        for module, label in kinds.items()
        for rivals in [[m for m, other in kinds.items() if other == label]]
    }
    return frame.with_columns(
        pl.col("module_type").replace_strict(names, return_dtype=pl.String).alias("column")
    )


def shortest_suffix(module: str, rivals: Sequence[str]) -> str:
    """The shortest end of a dotted path that no rival shares.

    >>> shortest_suffix("blocks.0.attn.to_q", ["blocks.0.attn.to_q", "blocks.1.attn.to_q"])
    '0.attn.to_q'
    """
    parts = module.split(".")
    for k in range(1, len(parts)):
        tail = "." + ".".join(parts[-k:])
        if sum(f".{rival}".endswith(tail) for rival in rivals) == 1:
            return tail[1:]
    return module


def column_order(frame: pl.DataFrame) -> list[str]:
    """Column labels: gate, up, down, q, k, v, o, then whatever else, by family and name."""
    ranks = {
        column: rank_of_kind(module)
        for column, module in frame.select("column", "module_type").unique().iter_rows()
    }
    return sorted(ranks, key=lambda column: (*ranks[column], column))


def limits_of(values: Sequence[Float64], begin: str = "zero") -> tuple[float, float]:
    """Limits over the finite values of several arrays, from zero or from the `data`; (0, 1) without any.

    >>> limits_of([np.array([2.0, 3.0])]), limits_of([np.array([2.0, 3.0])], "data")
    ((0.0, 3.0), (2.0, 3.0))
    """
    finite = np.concatenate([v[np.isfinite(v)].ravel() for v in values]) if values else np.array([])
    low, top = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if begin == "data" and low < top:
        return low, top
    return (min(low, 0.0), top) if top > 0 else (low, 0.0) if low < 0 else (0.0, 1.0)


def shared(maps: Sequence[Grid], begin: str = "zero") -> list[Grid]:
    """The same maps on one scale for all that measure the same thing, blocks and what is outside apart.

    What is outside is on the scale of the blocks where nothing of it is above zero. From `zero`, a few values
    far beyond all others lie beyond the end of the scale; `largest` ends at the largest, `data` begins at the
    smallest.
    """
    still = {label: _nothing_outside(maps, label) for label in {grid.label for grid in maps}}
    kinds = [(grid.label, grid.outside and not still[grid.label]) for grid in maps]
    limits = {
        kind: _ends([g.values for g, k in zip(maps, kinds, strict=True) if k == kind], begin)
        for kind in kinds
    }
    return [replace(grid, limits=limits[kind]) for grid, kind in zip(maps, kinds, strict=True)]


def _ends(values: Sequence[Float64], begin: str) -> tuple[float, float]:
    low, high = limits_of(values, begin)
    apart = clipped(values) if begin == "zero" and low == 0 else None
    return (low, high) if apart is None else (low, apart.limit)


def _nothing_outside(maps: Sequence[Grid], label: str) -> bool:
    outside = [g.values for g in maps if g.label == label and g.outside]
    return not any(np.nan_to_num(values).any() for values in outside)


def grids(frame: pl.DataFrame, metric: str, title: str, label: str) -> list[Grid]:
    """One grid per stack (rows are layers), and one more for modules outside blocks.

    Where a layer has several rows for a column (experts), the cell is their mean and the column says so.
    """
    out = []
    for stack in frame["stack"].unique(maintain_order=True).to_list():
        part = frame.filter(pl.col("stack") == stack)
        several = frame["stack"].n_unique() > 1
        inside, outside = part.filter(pl.col("layer").is_not_null()), part.filter(pl.col("layer").is_null())
        name = f"{title} · {stack}" if several else title
        if inside.height:
            out.append(_grid(inside, metric, name, label))
        if outside.height:
            out.append(
                _grid(
                    outside.with_columns(pl.lit(-1).alias("layer")), metric, f"{name} · outside blocks", label
                )
            )
    return out


def _grid(part: pl.DataFrame, metric: str, title: str, label: str) -> Grid:
    part = with_component(part)
    columns = column_order(part)
    layers = sorted(part["layer"].unique().to_list())
    row, column = {v: i for i, v in enumerate(layers)}, {v: i for i, v in enumerate(columns)}
    totals = np.zeros((len(layers), len(columns)))
    counts = np.zeros_like(totals)
    broken = np.zeros(totals.shape, dtype=bool)
    for layer, name, value in part.select("layer", "column", metric).iter_rows():
        at = row[layer], column[name]
        if value is None:
            continue
        if not np.isfinite(value):
            broken[at] = True
            continue
        totals[at] += value
        counts[at] += 1
    values = np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)
    values[broken] = np.nan
    labels = tuple("" if v < 0 else f"L{v}" for v in layers)
    heads = tuple(c + (" (mean)" if counts[:, column[c]].max() > 1 else "") for c in columns)
    return Grid(title, labels, heads, values, broken, label, limits_of([values]))
