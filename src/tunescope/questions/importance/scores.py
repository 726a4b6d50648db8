"""The scores of every parameter of a model as one table."""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from torch import nn

from tunescope.linalg.ranks import spearman
from tunescope.questions.importance.bypass import DIFFERENCES
from tunescope.questions.importance.measurement import UNITS, Measurement, measure
from tunescope.questions.importance.setting import Array
from tunescope.questions.importance.streaming import Options
from tunescope.questions.importance.views import size_spearman
from tunescope.table import Column, Schema, Table, described, dtypes

LAYER_IMPORTANCE = "Layer Importance"
SCHEMA: Schema = {
    "stack": Column(pl.String, "stack of blocks or tower that the layer is counted in"),
    "layer": Column(pl.Int64, "index of the block in its stack, from 0; null outside blocks"),
    "parameter": Column(pl.String, "name of the parameter inside its block, or Layer Importance"),
    "expert": Column(pl.Int64, "number of the expert, from 0; null where there are none"),
    "method": Column(pl.String, "how it was scored; bypass: the whole block left out"),
    "score": Column(pl.Float64, "sum over the parameter's weights", "as the column unit says"),
    "stderr": Column(pl.Float64, "standard error of the score over n independent samples", "the score's"),
    "n": Column(pl.Int64, "independent samples"),
    "unit": Column(pl.String, "unit of the score"),
    "share": Column(pl.Float64, "score over the sum of all absolute scores of the method", "[-1, 1]"),
    "normalized": Column(
        pl.Float64, "score over the largest inside the layers", "at most 1 inside the layers"
    ),
    "numel": Column(pl.Int64, "weights of the parameter"),
}


def score_parameters(
    model: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    methods: Iterable[str] = ("taylor",),
    *,
    layer_importance: bool = True,
    shift: bool | None = None,
    seed: int = 0,
    noise_scale: float = 0.05,
    precision: float | None = None,
    state: str | Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Table:
    """Score every parameter of a model: which ones its predictions on these data depend on.

    `batches`: mappings `input_ids`, `attention_mask`, `labels` (−100 ignored), all (batch, seq). `methods`
    as in `docs/importance.md`; unless `layer_importance` is off, rows of method `bypass` tell what the loss
    rises by without a whole block. One row per tensor or expert: the score, summed over its weights, with a
    standard error over `n` independent samples; the meta's `summary` says how far to trust the map.

    `shift`: position t predicts token t+1 (told from the model's class by default). `precision` stops once
    every error is below that part of the largest score; in the folder `state` a killed run finds itself
    again. Mode, gradients and random state of the model are restored. Raises `UsageError` for unknown
    methods or a sharded model, `BadInput` for data without scored tokens or a loss that is not finite.

    >>> ids = [[0, 1, 2, 1]]
    >>> model = nn.Sequential(nn.Embedding(3, 3))
    >>> model.forward = lambda input_ids: model[0](input_ids)
    >>> score_parameters(model, [{"input_ids": ids, "labels": ids}]).frame["method"].to_list()
    ['taylor']
    """
    place, wanted = None if state is None else Path(state), _named(methods)
    options = Options(
        wanted, layer_importance, shift, seed, noise_scale, precision, state=place, progress=progress
    )
    return table(measure(model, batches, options), options)


def _named(methods: Iterable[str]) -> tuple[str, ...]:
    return (methods,) if isinstance(methods, str) else tuple(dict.fromkeys(methods))


def table(found: Measurement, options: Options) -> Table:
    """A measurement as a table, one row per method and parameter."""
    frames = [_frame(found, method) for method in options.methods]
    if found.blocks:
        frames.append(_layer_frame(found))
    frame = pl.concat(frames)
    meta = {"columns": described(SCHEMA), "summary": _summary(found, options, frame)}
    return Table(frame, "importance", meta)


def _frame(found: Measurement, method: str) -> pl.DataFrame:
    rows = found.parameters.rows
    score, stderr, n = _scores(found, method)
    inside = np.array([row.layer is not None for row in rows])
    return _assembled(
        method,
        {
            "stack": [row.stack for row in rows],
            "layer": [row.layer for row in rows],
            "parameter": [row.parameter for row in rows],
            "expert": [row.expert for row in rows],
            "numel": [row.numel for row in rows],
        },
        (score, stderr, n),
        inside,
    )


def _layer_frame(found: Measurement) -> pl.DataFrame:
    blocks = found.blocks
    moments = found.moments("bypass")
    return _assembled(
        "bypass",
        {
            "stack": [block.stack for block in blocks],
            "layer": [block.layer for block in blocks],
            "parameter": [LAYER_IMPORTANCE] * len(blocks),
            "expert": [None] * len(blocks),
            "numel": [block.numel for block in blocks],
        },
        (moments.mean, moments.stderr(), moments.n),
        np.ones(len(blocks), dtype=bool),
    )


def _assembled(
    method: str, keys: dict[str, list[Any]], scores: tuple[Array, Array, int], inside: Any
) -> pl.DataFrame:
    score, stderr, n = scores
    total = float(np.nansum(np.abs(score)))
    within = np.abs(score[inside]) if inside.any() else np.abs(score)
    top = float(np.nanmax(within)) if np.isfinite(within).any() else 0.0
    columns: dict[str, Any] = {
        **keys,
        "method": [method] * len(score),
        "score": score,
        "stderr": stderr,
        "n": [n] * len(score),
        "unit": [UNITS[method]] * len(score),
        # Of a method that finds nothing everywhere, every share is zero, not unknown.
        "share": score / (total or 1.0),
        "normalized": score / (top or 1.0),
    }
    frame = pl.DataFrame(
        {name: pl.Series(columns[name], dtype=dtype) for name, dtype in dtypes(SCHEMA).items()}
    )
    return frame.with_columns(pl.col("score", "stderr", "share", "normalized").fill_nan(None))


def _scores(found: Measurement, method: str) -> tuple[Array, Array, int]:
    if method == "magnitude":
        assert found.magnitude is not None
        return found.magnitude, np.zeros_like(found.magnitude), 0
    moments = found.moments(method)
    return moments.mean, moments.stderr(), moments.n


def _summary(found: Measurement, options: Options, frame: pl.DataFrame) -> dict[str, Any]:
    loss = found.moments("loss")
    kinds = sorted({str(e.parameter.dtype).removeprefix("torch.") for e in found.parameters.scored})
    return {
        "sequences": found.sequences,
        "sequences_skipped": found.skipped,
        "tokens": int(loss.weight),
        "data_hash": found.data_hash,
        "dtype": kinds[0] if len(kinds) == 1 else kinds,
        "seed": options.seed,
        "loss": float(loss.mean[0]),
        "loss_stderr": _number(loss.stderr()[0]),
        "noise_scale": options.noise_scale if "noise" in options.methods else None,
        "methods": {method: _reliability(found, frame, method) for method in options.methods},
        "layers": _layers(found, frame),
        "parameters": len(found.parameters),
        "parameters_not_scored": found.parameters.left_out,
        "parameters_without_gradient": found.unreached,
        "notices": [{"slug": notice.slug, "text": notice.text} for notice in found.notices],
    }


def _reliability(found: Measurement, frame: pl.DataFrame, method: str) -> dict[str, Any]:
    """How far a map can be trusted: split halves, tensor size, and the measured damages where they ran."""
    rows = frame.filter((pl.col("method") == method) & pl.col("score").is_not_null())
    numbers: dict[str, Any] = {
        "split_half_spearman": _split_half(found, method),
        "spearman_numel": size_spearman(frame, method),
    }
    for truth in ("ablation", "noise"):
        other = frame.filter(pl.col("method") == truth)
        if other.height and truth != method:
            keys = ["stack", "layer", "parameter", "expert"]
            both = rows.join(other, on=keys, nulls_equal=True, suffix="_truth")
            numbers[f"spearman_{truth}"] = correlation(both["score"], both["score_truth"])
    return numbers


def _split_half(found: Measurement, method: str) -> float | None:
    if method == "magnitude":
        return None
    halves = found.found[method]
    if not halves.even.n or not halves.odd.n:
        return None
    return correlation(pl.Series(halves.even.mean), pl.Series(halves.odd.mean))


def correlation(a: pl.Series, b: pl.Series) -> float | None:
    """Spearman's correlation where both are finite; `None` for fewer than three pairs or a constant side."""
    x, y = a.cast(pl.Float64).to_numpy(), b.cast(pl.Float64).to_numpy()
    finite = np.isfinite(x) & np.isfinite(y)
    return _number(spearman(x[finite], y[finite])) if finite.sum() >= 3 else None


def _layers(found: Measurement, frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Layer Importance with its standard error beside the sum of every method, layer by layer."""
    inside = frame.filter(pl.col("layer").is_not_null())
    sums = (
        inside.group_by("stack", "layer", "method", maintain_order=True)
        .agg(pl.col("score").sum())
        .pivot(on="method", index=["stack", "layer"], values="score")
    )
    if "bypass" not in sums.columns:
        return sums.to_dicts()
    errors, behind = found.moments("bypass").stderr(), _behind(found)
    of = {(block.stack, block.layer): k for k, block in enumerate(found.blocks)}
    rows = sums.rename({"bypass": "layer_importance"}).to_dicts()
    for row in rows:
        k = of[row["stack"], row["layer"]]
        row["layer_importance_stderr"] = _number(errors[k])
        row["layer_importance_behind_stderr"] = _number(behind[k])
    return rows


def _behind(found: Measurement) -> Array:
    """Standard errors of how far each block's rise is behind the largest, (blocks,); NaN for that block."""
    blocks = len(found.blocks)
    apart = np.full((blocks, blocks), np.nan)
    first, second = np.triu_indices(blocks, 1)
    if blocks > 1:
        apart[first, second] = apart[second, first] = found.moments(DIFFERENCES).stderr()
    largest: Array = apart[int(np.argmax(found.moments("bypass").mean))]
    return largest


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
