"""Which of the changes made by fine-tuning bought the gain: integrated gradients from base to tuned."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import polars as pl
from torch import nn

from tunescope.errors import UsageError
from tunescope.lm.batches import checked
from tunescope.lm.device import named_memory
from tunescope.lm.parameters import is_sharded
from tunescope.questions.attribution.cells import Changes
from tunescope.questions.attribution.convergence import per_token
from tunescope.questions.attribution.integral import MOST_NODES, Progress, integrate
from tunescope.questions.attribution.path import Path, opened_path
from tunescope.questions.attribution.subject import Place, Subject, open_subject
from tunescope.questions.attribution.summary import (
    agreement,
    cell_frame,
    checked_frame,
    ordered,
    sums,
)
from tunescope.questions.attribution.verify import choose, verify

Batches = Iterable[Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Attribution:
    """The attribution on one data set: a row per cell, the sums, and the cells that were put back."""

    frame: pl.DataFrame
    summary: Mapping[str, Any]
    verification: pl.DataFrame | None = None


def attribute_batches(
    model: Place | nn.Module,
    batches: Batches,
    *,
    base: Place | nn.Module | None = None,
    nodes: int = 9,
    put_back: int = 0,
    seed: int = 0,
    dtype: str = "auto",
    device: str = "cpu",
    scale: float | None = None,
    progress: Progress | None = None,
) -> Attribution:
    """How much of L(tuned) − L(base) each changed weight accounts for, in nats per token.

    Integrated gradients along W₀ + αΔW [Sundararajan et al. 2017, arXiv 1703.01365]: cell c is given
    ∫₀¹⟨∇L, ΔW_c⟩dα, and the cells add up to the change of the loss. Negative means that the cell's ΔW
    lowered the loss. Nested sets of at least `nodes` points are
    taken until the cells agree between two of them and add up.

    `model` is an adapter, a checkpoint, a module or a live `PeftModel` (then without `base`); `batches` an
    iterable of mappings `input_ids`, `attention_mask`, `labels` (−100 ignored). `put_back` puts the so many
    largest cells, and as many random ones, back to the base one at a time and measures what happens.

    Raises `BadInput` where the two models do not belong together or no token has a label.
    """
    subject = open_subject(model, base, dtype=dtype, device=device, scale=scale)
    with path_of(subject, seed) as path:
        return attribute_data(
            path, subject.changes, batches, nodes=nodes, verified=put_back, seed=seed, progress=progress
        )


@contextmanager
def path_of(subject: Subject, seed: int = 0) -> Iterator[Path]:
    """The path from base to tuned, open for any number of data sets."""
    if is_sharded(subject.model):
        raise UsageError(
            "sharded-model",
            "the model is split over processes",
            expected="a whole model",
            fix="attribute on one process; `device_map` may spread it over devices",
        )
    with subject.switched_off(), opened_path(subject.model, subject.changes, seed) as path, named_memory():
        yield path


def attribute_data(
    path: Path,
    changes: Changes,
    batches: Batches,
    *,
    nodes: int = 9,
    most: int = MOST_NODES,
    verified: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
    state: FilePath | None = None,
) -> Attribution:
    """The attribution on one data set along an open path; a killed run goes on from the folder `state`."""
    taken = list(checked(batches, path.vocabulary))
    if not taken:
        raise UsageError("no-batches", "there are no batches", expected="one batch or more")
    integral = integrate(path, taken, nodes=nodes, most=most, progress=progress, state=state)
    mean, error = per_token(integral.parts, integral.tokens)
    frame = cell_frame(changes, mean, error)
    summary = {**sums(integral, frame, changes), "dtype": path.dtype}
    if not verified or not changes.cells:
        return Attribution(ordered(frame), summary)
    checks = verify(path, taken, integral, choose(mean, verified, seed), progress)
    rows = checked_frame(frame, checks)
    return Attribution(ordered(frame), {**summary, "verification": agreement(rows), "seed": seed}, rows)
