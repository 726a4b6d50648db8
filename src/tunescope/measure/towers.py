"""A model's weights as tables of layers by kinds, one table for each tower."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tunescope.address import Address
from tunescope.statistics.types import Float64
from tunescope.words import tower_name

_FAMILIES = ("attention", "mlp", "other")
# Layer, kind, mean logarithm, component name.
_Cell = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Tower:
    """The logarithms of a positive measure over the layers and kinds of weight of one stack.

    `logs` is `(layers, kinds)`, NaN where a layer has no such weight or no finite positive value; experts of
    one layer and kind count as one weight with their geometric mean. `names` are the component names, empty
    where there is none or where experts were taken together. `one_shape` is true where all weights of every
    layer are known to have the same (d_out, d_in): no kind differs by its width there.
    """

    stack: str
    layers: tuple[int, ...]
    kinds: tuple[str, ...]
    families: tuple[str, ...]
    logs: Float64
    names: tuple[tuple[str, ...], ...]
    one_shape: bool = False

    @property
    def title(self) -> str:
        """The stack as a word before `layers`: empty where a model has one stack only."""
        return "" if self.stack == "model" else f"{tower_name(self.stack)} "


def towers(rows: pl.DataFrame, measure: str) -> list[Tower]:
    """The towers of one model's rows that have numbered layers; norms, biases and what lies outside stay out.

    `rows` has `stack, layer, module_type, expert, component_name` and the column `measure`.
    """
    found = towers_of_models(rows.with_columns(pl.lit("").alias("model_id")), measure)
    return next(iter(found.values()), [])


def towers_of_models(rows: pl.DataFrame, measure: str) -> dict[str, list[Tower]]:
    """As `towers`, of every `model_id` at once; a model without any has an empty list."""
    models = rows["model_id"].unique(maintain_order=True).to_list()
    inside = rows.filter(
        pl.col("layer").is_not_null()
        & pl.col(measure).is_finite()
        & (pl.col(measure) > 0)
        & ~pl.col("module_type").str.ends_with(".bias")
    )
    kinds = {kind: Address("", 0, kind).family for kind in inside["module_type"].unique().to_list()}
    inside = inside.filter(pl.col("module_type").is_in([k for k, f in kinds.items() if f in _FAMILIES]))
    cells = inside.group_by("model_id", "stack", "layer", "module_type", maintain_order=True).agg(
        pl.col(measure).log().mean(),
        pl.when(pl.len() == 1).then(pl.col("component_name").first()).otherwise(pl.lit("")),
    )
    found: dict[str, dict[str, list[_Cell]]] = {model: {} for model in models}
    for model, stack, *cell in cells.iter_rows():
        found[model].setdefault(stack, []).append(tuple(cell))
    alike = _of_one_shape(inside)
    return {
        model: [_tower(stack, its, kinds, (model, stack) in alike) for stack, its in stacks.items()]
        for model, stacks in found.items()
    }


def _of_one_shape(rows: pl.DataFrame) -> set[tuple[str, str]]:
    """The models and stacks in which the weights of each layer have one shape, where the rows tell shapes."""
    if not {"d_out", "d_in"} <= set(rows.columns):
        return set()
    shapes = rows.group_by("model_id", "stack", "layer").agg(pl.struct("d_out", "d_in").n_unique())
    most = shapes.group_by("model_id", "stack").agg(pl.col("d_out").max())
    return {(model, stack) for model, stack, count in most.iter_rows() if count == 1}


def _tower(stack: str, cells: Sequence[_Cell], families: dict[str, str], one_shape: bool) -> Tower:
    layers = sorted({layer for layer, *_ in cells})
    kinds = list(dict.fromkeys(kind for _, kind, *_ in cells))
    row = {layer: i for i, layer in enumerate(layers)}
    column = {kind: i for i, kind in enumerate(kinds)}
    logs = np.full((len(layers), len(kinds)), np.nan)
    names = [[""] * len(kinds) for _ in layers]
    for layer, kind, value, name in cells:
        logs[row[layer], column[kind]] = value
        names[row[layer]][column[kind]] = name
    return Tower(
        stack,
        tuple(layers),
        tuple(kinds),
        tuple(families[kind] for kind in kinds),
        logs,
        tuple(map(tuple, names)),
        one_shape,
    )
