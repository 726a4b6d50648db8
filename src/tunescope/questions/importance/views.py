"""The importance map: layers × parameters on a scale from 0 to 1, with the words beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.linalg.ranks import ranks, spearman
from tunescope.words import counted, named

Array = NDArray[np.float64]

LAYER_IMPORTANCE = "Layer Importance"
SCALES = ("linear", "log", "rank", "column")
ORDERS = ("score", "network")
# What the logarithmic scale spans below the largest score.
DECADES = 4

MEANING = {
    "taylor": "Σ|g·w| over weights w and the gradient g of a text's loss, mean over sequences: how strongly "
    "the loss pulls at the weights, each pull counted whatever its direction. It grows with the number of "
    "weights.",
    "curvature": "½Σw²F with the true Fisher information F: by how many nats the prediction moves when every "
    "weight of the tensor is jittered relative to its size. It predicts damage.",
    "fisher": "ΣF, the true Fisher information: how sharply the prediction depends on the weights, not on "
    "their size.",
    "magnitude": "Σ|w|: size alone, no data; a control.",
    "wanda": "Σ|w|·‖x‖: weights times the size of what they multiply; a control, linear layers only.",
    "ablation": "Increase of the loss when the tensor is set to zero.",
    "noise": "Measured movement of the prediction under relative noise on the tensor, per unit variance.",
}
OWN_MEANING = f"{LAYER_IMPORTANCE}: by how much the loss rises when a layer as a whole is left out."
# What a sentence says of a method where it names it, for a reader who meets it there.
FORMULAS = {
    "taylor": "Σ|gradient·weight|",
    "curvature": "½Σ weight²·Fisher",
    "fisher": "Σ Fisher",
    "magnitude": "Σ|weight|",
    "wanda": "Σ|weight|·‖input‖",
    "ablation": "loss with the tensor at zero",
    "noise": "what noise on the tensor moves",
}
_SCALE_LABELS = {
    "linear": "score ÷ largest score",
    "log": "score ÷ largest score, logarithmic",
    "rank": "rank of the score ÷ number of cells",
    "column": "score ÷ largest score of the column",
}


def said(method: str) -> str:
    """The method with its formula, which few readers know by its name.

    >>> said("taylor")
    'taylor (Σ|gradient·weight|)'
    """
    return f"{method} ({FORMULAS[method]})" if method in FORMULAS else method


@dataclass(frozen=True, eq=False)
class ImportanceMap:
    """Values in [0, 1], (layers, columns), NaN where a layer has no such parameter.

    `layers` are the rows from the top down. Where `own_scale` is set the first column is `Layer
    Importance` over its own largest size, below zero where leaving a block out lowers the loss; that text
    names its scale. `label` names the colour scale of the rest, `ticks` are its marks (place, text),
    `caption` says what the picture is worth. `even` scales are shares of a largest score.
    """

    title: str
    method: str
    layers: tuple[int, ...]
    columns: tuple[str, ...]
    values: Array
    own_scale: str
    label: str
    ticks: tuple[tuple[float, str], ...]
    caption: str
    even: bool = True

    def without_own(self) -> "ImportanceMap":
        """The map without the column `Layer Importance`, for a place beside one that has it."""
        if not self.own_scale:
            return self
        return replace(self, columns=self.columns[1:], values=self.values[:, 1:], own_scale="")


def importance_maps(
    frame: pl.DataFrame,
    method: str,
    *,
    order: str = "score",
    scale: str = "linear",
    summary: Mapping[str, Any] | None = None,
    first: str | None = None,
) -> list[ImportanceMap]:
    """One map per stack of blocks; experts of a layer are added up in its cell.

    `order`: columns by their total in the method `first` (left out, this one), largest first, or in
    `network` order. `scale`: one for all parameter columns (`linear`, `log`, `rank`), or `column` by column.
    """
    inside = frame.filter((pl.col("method") == method) & pl.col("layer").is_not_null())
    stacks = inside["stack"].unique(maintain_order=True).to_list()
    top = float(np.nanmax(_cells(inside)["score"].to_numpy(), initial=0.0))
    caption = " ".join([MEANING[method], *_worth(frame, method, summary or {})])
    found = []
    for stack in stacks:
        of_stack = frame.filter((pl.col("stack") == stack) & pl.col("layer").is_not_null())
        leading = _grid(of_stack.filter(pl.col("method") == (first or method)), order)[1]
        layers, columns, values = _grid(of_stack.filter(pl.col("method") == method), order, leading)
        scaled = _scaled(values, scale, top)
        bypass = of_stack.filter(pl.col("method") == "bypass")
        own, label = "", _SCALE_LABELS[scale] + _clipped(int((values < 0).sum()))
        if bypass.height:
            columns, column = (LAYER_IMPORTANCE, *columns), _own(bypass, layers)
            scaled, own = np.column_stack([column, scaled]), _own_label(column)
        title = f"Importance by {method}" + (f" · {stack}" if len(stacks) > 1 else "")
        even = scale in ("linear", "column")
        shown = title, method, layers, columns, scaled, own, label, _ticks(scale), caption, even
        found.append(ImportanceMap(*shown))
    return found


def _ticks(scale: str) -> tuple[tuple[float, str], ...]:
    if scale == "log":
        return tuple((1 - k / DECADES, f"10⁻{'⁰¹²³⁴'[k]}" if k else "1") for k in range(DECADES, -1, -1))
    return tuple((k / 5, f"{k / 5:.1f}") for k in range(6))


def _own_label(column: Array) -> str:
    below = int((column < 0).sum())
    return f"{LAYER_IMPORTANCE} ÷ its largest size" + (f" ({below} below 0, hatched)" if below else "")


def _clipped(count: int) -> str:
    return f" ({count} below 0 drawn as 0)" if count else ""


def _cells(inside: pl.DataFrame) -> pl.DataFrame:
    """One row per layer and parameter, experts added up."""
    known = inside.filter(pl.col("score").is_not_null())
    return known.group_by("stack", "layer", "parameter", maintain_order=True).agg(
        pl.col("score").sum(), pl.col("numel").sum()
    )


def _grid(
    part: pl.DataFrame, order: str, leading: Sequence[str] = ()
) -> tuple[tuple[int, ...], tuple[str, ...], Array]:
    """Layers, columns and scores; columns named in `leading` stand first and in that order."""
    cells = _cells(part)
    layers = sorted(cells["layer"].unique().to_list())
    columns = cells["parameter"].unique(maintain_order=True).to_list()
    values = np.full((len(layers), len(columns)), np.nan)
    row, column = {v: i for i, v in enumerate(layers)}, {v: i for i, v in enumerate(columns)}
    for layer, parameter, score in cells.select("layer", "parameter", "score").iter_rows():
        values[row[layer], column[parameter]] = score
    if order == "score":
        by_total = np.argsort(-np.nansum(values, axis=0), kind="stable")
        columns, values = [columns[i] for i in by_total], values[:, by_total]
    place = {name: k for k, name in enumerate(leading)}
    at = sorted(range(len(columns)), key=lambda k: place.get(columns[k], len(place)))
    columns, values = [columns[k] for k in at], values[:, at]
    return tuple(layers), tuple(columns), values


def _scaled(values: Array, scale: str, top: float) -> Array:
    """Values from 0 to 1; what lies below zero becomes 0."""
    clipped = np.clip(values, 0, None)
    if scale == "rank":
        out = np.full_like(values, np.nan)
        known = np.isfinite(values)
        out[known] = ranks(clipped[known]) / max(1, known.sum())
        return out
    if scale == "column":
        largest = np.nanmax(clipped, axis=0)
        return np.asarray(clipped / np.where(largest > 0, largest, 1))
    relative = clipped / (top or 1.0)
    if scale == "linear":
        return np.asarray(relative)
    floor = 10.0**-DECADES
    return np.asarray(1 + np.log10(np.maximum(relative, floor)) / DECADES)


def _own(bypass: pl.DataFrame, layers: Sequence[int]) -> Array:
    """Layer Importance over its largest size, in [-1, 1]: always linear, since it has both signs."""
    scores = dict(bypass.select("layer", "score").iter_rows())
    values = np.array([scores.get(layer, np.nan) for layer in layers], dtype=np.float64)
    return np.asarray(values / (float(np.nanmax(np.abs(values), initial=0.0)) or 1.0))


def size_spearman(frame: pl.DataFrame, method: str) -> float | None:
    """Spearman between a map's scores and the numbers of weights, over its cells.

    The cells are those inside layers with experts added up; of a model without layers, all parameters.
    """
    rows = frame.filter(pl.col("method") == method)
    inside = rows.filter(pl.col("layer").is_not_null())
    cells = _cells(inside if inside.height else rows)
    if cells.height < 3:
        return None
    found = spearman(cells["score"].to_numpy(), cells["numel"].cast(pl.Float64).to_numpy())
    return found if np.isfinite(found) else None


def _worth(frame: pl.DataFrame, method: str, summary: Mapping[str, Any]) -> list[str]:
    """Sentences on what explains the picture and how reliable it is."""
    sentences = []
    rho = size_spearman(frame, method)
    if rho is not None:
        sentences.append(
            f"Tensor size alone explains {rho**2:.0%} of the picture's order "
            f"(Spearman with the number of weights {rho:.2f})."
        )
    numbers = summary.get("methods", {}).get(method, {})
    if (halves := numbers.get("split_half_spearman")) is not None:
        sentences.append(
            f"Two halves of the {counted(summary['sequences'], 'sequence')} agree at {halves:.3f}."
        )
    outside = frame.filter((pl.col("method") == method) & pl.col("layer").is_null())
    if outside.height:
        shares = outside.sort("share", descending=True, nulls_last=True)
        parts = [f"{p} {s:.0%}" for p, s in shares.select("parameter", "share").iter_rows() if s is not None]
        if parts:
            sentences.append(f"Outside the layers: {named(parts)} of the sum.")
    return sentences
