"""The layers of a map tensor for tensor: what each scores, the tensors' own levels apart."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.statistics.two_way import common_block

Floats = NDArray[np.float64]
FEWEST_LAYERS = 7


def grid(part: pl.DataFrame) -> tuple[list[int], list[str], Floats]:
    """Layers, parameters and scores `(layers, parameters)`, experts summed, NaN where there is none."""
    cells = part.group_by("layer", "parameter", maintain_order=True).agg(pl.col("score").sum())
    layers, names = sorted(set(cells["layer"].to_list())), list(dict.fromkeys(cells["parameter"].to_list()))
    values = np.full((len(layers), len(names)), np.nan)
    row, column = {v: i for i, v in enumerate(layers)}, {v: i for i, v in enumerate(names)}
    for layer, name, score in cells.iter_rows():
        values[row[layer], column[name]] = score
    return layers, names, values


def levels_of(part: pl.DataFrame) -> tuple[list[int], list[int], Floats] | None:
    """Layers with the same tensors, all layers, and each one's mean log score, tensors' levels taken off."""
    layers, _, values = grid(part)
    logs = np.log(np.where(values > 0, values, np.nan))
    kept, kinds = common_block(np.isfinite(logs))
    if len(kept) < FEWEST_LAYERS:
        return None
    block = logs[np.ix_(kept, kinds)]
    return [int(i) for i in kept], layers, (block - block.mean(axis=0)).mean(axis=1)
