"""The rows of one capture: what names a matrix, and what was measured of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.training.recording import SCHEMA
from tunescope.training.replay import Reading, numbers
from tunescope.training.trainable import Trainable

LABELS = ("stack", "layer", "module_type", "expert", "component_name", "factor", "numel")
MEASURES = ("mean", "variance", "abs_mean", "abs_variance", "delta_frobenius_norm")


def labels(parts: Trainable) -> pl.DataFrame:
    """The columns that name a matrix, the same in every capture, and whether its module's ΔW is `known`."""
    names = parts.component_names()
    rows = [
        {
            "stack": matrix.address.stack,
            "layer": matrix.address.layer,
            "module_type": matrix.address.module_type,
            "expert": matrix.address.expert,
            "component_name": names[index],
            "factor": matrix.factor,
            "numel": parts.parameters[matrix.parameter].numel() // matrix.experts,
            "known": module.scale is not None,
        }
        for index, module in enumerate(parts.modules)
        for matrix in module.matrices
    ]
    return pl.DataFrame(rows, schema={name: SCHEMA[name] for name in LABELS} | {"known": pl.Boolean})


def capture_rows(
    labels: pl.DataFrame,
    values: NDArray[np.float64],
    step: int,
    epoch: float,
    learning_rate: float | None,
    loss: float | None,
) -> pl.DataFrame:
    """One capture as rows: `values (n, 5)` beside their labels.

    A norm that does not follow from the factors alone is null; a diverged one stays "not a number".
    """
    measured = dict(zip(MEASURES, values.T, strict=True))
    columns: dict[str, Any] = {name: labels[name] for name in LABELS}
    columns |= {name: pl.Series(name, np.ascontiguousarray(column)) for name, column in measured.items()}
    if not labels["known"].all():
        columns["delta_frobenius_norm"] = pl.select(
            pl.when(labels["known"]).then(columns["delta_frobenius_norm"])
        ).to_series()
    same = {"step": step, "epoch": epoch, "learning_rate": learning_rate, "loss": loss}
    columns |= {
        name: pl.repeat(value, len(labels), dtype=SCHEMA[name], eager=True) for name, value in same.items()
    }
    return pl.DataFrame({name: columns[name] for name in SCHEMA})


def metadata(parts: Trainable) -> dict[str, Any]:
    """What travels with the table: what Δ counts from, the weights' types, units, and what was skipped."""
    dtypes = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in parts.parameters.values()})
    return {
        "reference": "start",
        "dtypes": dtypes,
        "skipped": dict(sorted(parts.skipped.items())),
        "units": dict.fromkeys(("mean", "abs_mean", "delta_frobenius_norm"), "weight units")
        | dict.fromkeys(("variance", "abs_variance"), "weight units squared"),
    }


@dataclass(frozen=True, eq=False)
class Pending:
    """A capture that waits for the loss of its step."""

    step: int
    epoch: float
    learning_rate: float | None
    values: NDArray[np.float64] | Reading

    def frame(self, labels: pl.DataFrame, loss: float | None) -> pl.DataFrame:
        """Its rows, with the loss."""
        return capture_rows(labels, numbers(self.values), self.step, self.epoch, self.learning_rate, loss)
