"""Which layers move first: half-way steps, with the weights of a layer as replicates of it.

Half-way is half of the way from checkpoint to checkpoint where directions are known, so that it can be
measured. ‖ΔW‖ alone says less: of a walk that hardly gains ground it comes to half its last value at chance.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.statistics.replicates import Rows, rows_differ
from tunescope.statistics.two_way import common_block
from tunescope.study.finding import Finding
from tunescope.words import named

# Half-way steps of the first and last layer that lie closer than this share of the run are one.
HALFWAY_SPREAD = 0.1
# Fewer captures, layers or kinds of weight say nothing about what comes first.
LEAST_CAPTURES, LEAST_LAYERS, LEAST_KINDS = 5, 4, 2
ALPHA, EXCHANGED = 0.02, 0.05


def moves_first(run: str, updates: pl.DataFrame, runs: int = 1) -> Iterator[Finding]:
    """Layers that have half of their way behind them before the others, or after them.

    Where directions are not known it is half of their final ‖ΔW‖. A layer's kinds of weight are its
    replicates: without two of them in every layer nothing is said. `runs` is how many runs (towers counted
    one by one) the study looks at.
    """
    layers, table, last = halfway_table(updates)
    if last is None or len(layers) < LEAST_LAYERS or table.shape[1] < LEAST_KINDS:
        return
    found = rows_differ(table / last)
    spread, p, mean = spread_of(table / last, found), min(found.p * runs, 1.0), table.mean(axis=1)
    if not tells(spread, found, runs):
        return
    first, late = _told(found, layers)
    way = knows_way(updates)
    evidence = {
        "statistic": "spread of the layers' half-way steps over the run, scatter taken off",
        "value": spread,
        "threshold": HALFWAY_SPREAD,
        "null": "layers exchanged within every kind of weight",
        "p": p,
        "n": len(layers),
        "p_exchanged": found.p_exchanged,
        "kinds": table.shape[1],
        "halfway_step": {str(layer): float(step) for layer, step in zip(layers, mean, strict=True)},
        "first_layers": first,
        "last_layers": late,
        "half_of": "way between captures" if way else "last ‖ΔW‖",
        "places_looked_at": runs,
    }
    text = _text(run, layers, mean, first, late, way)
    yield Finding(
        "moves_first", text, (run,), step=round(float(mean.min())), evidence=evidence,
        strength=spread / HALFWAY_SPREAD,
    )  # fmt: skip


def spread_of(shares: NDArray[np.float64], found: Rows) -> float:
    """Between the first and the last layer's mean half-way step, in shares of the run, scatter taken off."""
    mean = shares.mean(axis=1)
    return float(mean.max() - mean.min()) * found.real


def tells(spread: float, found: Rows, runs: int) -> bool:
    """Whether half-way steps lie far enough apart, and surely so in a study of so many runs."""
    return spread >= HALFWAY_SPREAD and found.p * runs <= ALPHA and found.p_exchanged <= EXCHANGED


def _told(found: Rows, layers: list[int]) -> tuple[list[int], list[int]]:
    """The layers whose own deviation is clear, earliest and latest first; else those at the ends."""
    order = np.argsort(found.deviations, kind="stable")
    clear = np.abs(found.deviations) > 3 * found.error
    first = [layers[i] for i in order if clear[i] and found.deviations[i] < 0][:6]
    late = [layers[i] for i in order[::-1] if clear[i] and found.deviations[i] > 0][:6]
    return (first, late) if first or late else ([layers[order[0]]], [layers[order[-1]]])


def _text(
    run: str, layers: list[int], mean: NDArray[np.float64], first: list[int], late: list[int], way: bool
) -> str:
    step = dict(zip(layers, mean.tolist(), strict=True))
    middle = f"half of the {len(layers)} layers are there by step {np.median(mean):,.0f}"
    parts = []
    if first:
        parts.append(f"first by {_layers(first)} (step {step[first[0]]:,.0f})")
    if late:
        parts.append(f"last by {_layers(late)} (step {step[late[0]]:,.0f})")
    half = "the way that its ΔW goes from capture to capture" if way else "its final ‖ΔW‖"
    return f"Half of {half} is reached {' and '.join(parts)} of {run}; {middle}."


def _layers(layers: list[int]) -> str:
    return f"layer{'s' if len(layers) > 1 else ''} {named(map(str, layers))}"


def knows_way(updates: pl.DataFrame) -> bool:
    """Whether the direction of every weight against the capture before is known: so is its way."""
    later = updates.filter(pl.col("layer").is_not_null() & (pl.col("step") > pl.col("step").min()))
    return later.height > 0 and later["cosine_to_previous"].null_count() == 0


def halfway_table(updates: pl.DataFrame) -> tuple[list[int], NDArray[np.float64], float | None]:
    """Half-way steps `(layers, kinds)` of the kinds that all layers have, and the last step.

    Half of the way Σ‖ΔW_t − ΔW_t'‖ over captures t' before t; of ‖ΔW_t‖ where directions are not known.
    """
    rows = updates.filter(pl.col("layer").is_not_null())
    if not rows.height or rows["step"].n_unique() < LEAST_CAPTURES:
        return [], np.zeros((0, 0)), None
    way = knows_way(updates)
    wide = _squares(rows, way).pivot(
        on="step", index=["layer", "module_type"], values="square", aggregate_function="sum"
    )
    steps = np.array([int(c) for c in wide.columns[2:]], dtype=np.float64)
    order = np.argsort(steps)
    norms = np.sqrt(wide.drop("layer", "module_type").to_numpy().astype(np.float64)[:, order])
    gone = np.cumsum(norms, axis=1) if way else norms
    layers = sorted(wide["layer"].unique().to_list())
    kinds = wide["module_type"].unique(maintain_order=True).to_list()
    table = np.full((len(layers), len(kinds)), np.nan)
    for layer, kind, row in zip(wide["layer"], wide["module_type"], gone, strict=True):
        if np.isfinite(row).all() and row[-1] > 0:
            table[layers.index(layer), kinds.index(kind)] = halfway(steps[order], row)
    chosen, columns = common_block(np.isfinite(table))
    return [layers[i] for i in chosen], table[np.ix_(chosen, columns)], float(steps.max())


def _squares(rows: pl.DataFrame, way: bool) -> pl.DataFrame:
    """‖ΔW‖² of every row, or with `way` ‖ΔW − ΔW'‖² with ΔW' of the capture before, zero before the first."""
    norm = pl.col("delta_frobenius_norm")
    if not way:
        return rows.with_columns(square=norm**2)
    before = norm.shift(1).over("layer", "module_type", "expert")
    # A weight that has not moved has no direction.
    inner = pl.when(norm * before > 0).then(pl.col("cosine_to_previous") * norm * before).otherwise(0.0)
    square = (norm**2 + before.fill_null(0.0) ** 2 - 2 * inner).clip(lower_bound=0.0)
    return rows.sort("step", maintain_order=True).with_columns(square=square)


def halfway(steps: NDArray[np.float64], norms: NDArray[np.float64]) -> float:
    """The first step at which the norm reaches half its last value, between captures by a straight line.

    >>> halfway(np.array([10.0, 20.0]), np.array([2.0, 8.0]))
    13.333333333333334
    """
    x, y = np.concatenate([[0.0], steps]), np.concatenate([[0.0], norms])
    target = y[-1] / 2
    i = max(int(np.argmax(y >= target)), 1)
    rise = y[i] - y[i - 1]
    return float(x[i] if rise <= 0 else x[i - 1] + (x[i] - x[i - 1]) * (target - y[i - 1]) / rise)
