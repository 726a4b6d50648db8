"""From single matrices to layers and to whole runs: what the figures of a training run are drawn from."""

from collections.abc import Iterable
from typing import Any

import polars as pl

from tunescope.table import KEYS, Column, Schema, Table, described, dtypes

_WEIGHTS, _LOSS = "unit of the weights", "nats/token"
# One row per run, step, weight and factor.
SCHEMA: Schema = {
    "run": Column(pl.String, "label of the run"),
    "domain": Column(pl.String, "data that the run was trained on"),
    "learning_rate": Column(pl.Float64, "the run's peak rate"),
    "seed": Column(pl.Int64, "seed of the run"),
    "step": Column(pl.Int64, "optimizer step"),
    "epoch": Column(pl.Float64, "passes over the training rows", "epochs"),
    "stack": Column(pl.String, "stack of blocks or tower that the layer is counted in"),
    "layer": Column(pl.Int64, "index of the block in its stack, from 0; null outside blocks"),
    "module_type": Column(pl.String, "name of the module inside its block"),
    "expert": Column(pl.Int64, "number of the expert, from 0; null where there are none"),
    "family": Column(pl.String, "attention, mlp, norm, embedding or other"),
    "component_name": Column(pl.String, "short name of layer and module"),
    "factor": Column(pl.String, "A, B or W; all where they are pooled"),
    "reference": Column(pl.String, "what Δ counts from: start, zero or first_checkpoint"),
    "mean": Column(pl.Float64, "mean of Δ", _WEIGHTS),
    "variance": Column(pl.Float64, "population variance of Δ", "square of it"),
    "abs_mean": Column(pl.Float64, "mean of |Δ|", _WEIGHTS),
    "abs_variance": Column(pl.Float64, "population variance of |Δ|", "square of it"),
    "numel": Column(pl.Int64, "entries of the matrix"),
    "delta_frobenius_norm": Column(
        pl.Float64, "‖ΔW‖_F, the root of the sum of squares, scale included", _WEIGHTS
    ),
    "cosine_to_previous": Column(pl.Float64, "cosine of ΔW with the previous checkpoint's", "[-1, 1]"),
    "cosine_to_last": Column(pl.Float64, "cosine of ΔW with the last checkpoint's", "[-1, 1]"),
    "changed_fraction": Column(
        pl.Float64, "share of values that differ from the reference's; null but for whole weights", "[0, 1]"
    ),
    "schedule_learning_rate": Column(pl.Float64, "the rate at this step"),
    "loss": Column(pl.Float64, "training loss", _LOSS),
}
# What the tables by layer and by step have besides.
_POOLED: Schema = {
    "mean_std": Column(pl.Float64, "population deviation of the means over the layer's matrices", _WEIGHTS),
    "abs_mean_std": Column(pl.Float64, "the same of the means of |Δ|", _WEIGHTS),
    "n_matrices": Column(pl.Int64, "matrices of the layer"),
    "finite": Column(pl.Boolean, "whether every Δ of the step is finite"),
}
RUN_KEYS = ("run", "domain", "learning_rate", "seed")
BY_LAYER = (
    *RUN_KEYS,
    "step",
    "epoch",
    "layer",
    "factor",
    "mean",
    "mean_std",
    "abs_mean",
    "abs_mean_std",
    "variance",
    "abs_variance",
    "n_matrices",
    "reference",
)
# Of all values together; null where some are not known.
_CHANGED = (
    pl.when(pl.col("changed_fraction").is_not_null().all())
    .then((pl.col("changed_fraction") * pl.col("numel")).sum() / pl.col("numel").sum())
    .alias("changed_fraction")
)


def by_tower(motion: pl.DataFrame) -> pl.DataFrame:
    """The rows with `run` made `run/stack` where blocks of several stacks share layer numbers."""
    inside = pl.col("layer").is_not_null()
    several = pl.col("stack").filter(inside).n_unique().over("run") > 1
    name = pl.when(several & inside).then(pl.col("run") + "/" + pl.col("stack")).otherwise(pl.col("run"))
    return motion.with_columns(run=name)


def matrices(motion: pl.DataFrame) -> pl.DataFrame:
    """The rows that belong to matrices: biases and norm weights are vectors and stay out of layer means."""
    vector = pl.col("module_type").str.ends_with(".bias") | (pl.col("family") == "norm")
    return motion.filter(~vector)


def by_layer(motion: pl.DataFrame) -> pl.DataFrame:
    """One row per run, step, layer and factor (`all`, `A`, `B`, `W`).

    Every statistic is the unweighted mean over the layer's matrices; `mean_std` and `abs_mean_std` are
    the population standard deviation across them. `reference` is `mixed` where matrices of a row count
    from different origins.
    """
    rows = matrices(motion)
    single = _layer_means(rows)
    together = _layer_means(rows.with_columns(factor=pl.lit("all")))
    order = pl.col("factor").replace_strict({"all": 0, "A": 1, "B": 2, "W": 3}, return_dtype=pl.Int64)
    out = pl.concat([together, single]).with_columns(order=order)
    out = out.sort("run", "step", "layer", "order", nulls_last=True, maintain_order=True)
    return out.select(BY_LAYER)


def _layer_means(rows: pl.DataFrame) -> pl.DataFrame:
    keys = [*RUN_KEYS, "step", "epoch", "layer", "factor"]
    return rows.group_by(keys, maintain_order=True).agg(
        pl.col("mean").mean(),
        pl.col("mean").std(ddof=0).alias("mean_std"),
        pl.col("abs_mean").mean(),
        pl.col("abs_mean").std(ddof=0).alias("abs_mean_std"),
        pl.col("variance").mean(),
        pl.col("abs_variance").mean(),
        pl.len().cast(pl.Int64).alias("n_matrices"),
        pl.when(pl.col("reference").n_unique() == 1)
        .then(pl.col("reference").first())
        .otherwise(pl.lit("mixed"))
        .alias("reference"),
    )


def updates(motion: pl.DataFrame) -> pl.DataFrame:
    """One row per run, step and weight: ‖ΔW‖_F and its cosines, which both factors carry alike.

    A module saved whole beside an adapter is left out where it counts from the first checkpoint while the
    adapter counts from zero: the two do not add up to one ΔW.
    """
    keys = ["run", "step", "stack", "layer", "module_type", "expert"]
    from_first = (pl.col("factor") == "W") & (pl.col("reference") == "first_checkpoint")
    return motion.filter(~from_first | from_first.all().over("run")).unique(
        keys, keep="first", maintain_order=True
    )


def frame(rows: Any) -> pl.DataFrame:
    """Rows as a frame with the columns, order and types of `SCHEMA`; absent columns are null."""
    return pl.DataFrame(rows, schema=dtypes(SCHEMA))


def published(frame: pl.DataFrame, kind: str) -> Table:
    """A frame of motion as a table of a study: the keys that all studies share come first."""
    columns = published_columns(frame.columns)
    named = frame.rename({"run": "model_id"})
    return Table(named.select(*columns), kind, {"columns": described(columns)})


def published_columns(names: Iterable[str] = SCHEMA) -> Schema:
    """What a study's table calls the columns of a frame of motion, in its order."""
    known = {**SCHEMA, **_POOLED, "model_id": SCHEMA["run"]}
    named = ["model_id" if name == "run" else name for name in names]
    first = [name for name in KEYS if name in named]
    return {name: known[name] for name in (*first, *(name for name in named if name not in first))}


def followed(table: Table) -> pl.DataFrame:
    """The frame of motion that a table of a study was made from."""
    return table.frame.rename({"model_id": "run"})


def norms_by_layer(motion: pl.DataFrame) -> pl.DataFrame:
    """`√Σ‖ΔW‖_F²` over the matrices of each layer, per run and step, and the number of matrices."""
    rows = updates(matrices(motion)).filter(pl.col("layer").is_not_null())
    return (
        rows.group_by("run", "step", "layer", maintain_order=True)
        .agg(
            (pl.col("delta_frobenius_norm") ** 2).sum().sqrt().alias("delta_frobenius_norm"),
            pl.len().cast(pl.Int64).alias("n_matrices"),
            pl.col("delta_frobenius_norm").null_count().alias("_unknown"),
        )
        .with_columns(
            delta_frobenius_norm=pl.when(pl.col("_unknown") == 0).then(pl.col("delta_frobenius_norm"))
        )
        .drop("_unknown")
        .sort("run", "step", "layer")
    )


def by_step(motion: pl.DataFrame) -> pl.DataFrame:
    """One row per run and step: whole ‖ΔW‖_F, cosine of the whole ΔW to the previous and the last checkpoint.

    The inner product of whole updates is the sum over weights, so the cosines follow from those of the
    single weights; a weight that has not moved contributes nothing.
    """
    rows = updates(motion).sort("run", "step", maintain_order=True)
    weight = ["run", "stack", "layer", "module_type", "expert"]
    norm = pl.col("delta_frobenius_norm")
    rows = rows.with_columns(_before=norm.shift(1).over(weight), _last=norm.last().over(weight))
    keys = [*RUN_KEYS, "step", "epoch"]
    out = rows.group_by(keys, maintain_order=True).agg(
        pl.when(norm.count() > 0).then((norm**2).sum().sqrt()).alias("delta_frobenius_norm"),
        (pl.col("cosine_to_previous").fill_nan(0) * norm * pl.col("_before")).sum().alias("_to_previous"),
        (pl.col("cosine_to_last").fill_nan(0) * norm * pl.col("_last")).sum().alias("_to_last"),
        pl.col("cosine_to_last").is_not_null().any().alias("_known"),
        _CHANGED,
        pl.col("loss").first(),
        pl.col("schedule_learning_rate").first(),
    )
    finite = motion.group_by("run", "step").agg(pl.col("abs_mean").is_finite().all().alias("finite"))
    return _with_cosines(out.join(finite, on=["run", "step"], how="left", maintain_order="left"))


def _with_cosines(out: pl.DataFrame) -> pl.DataFrame:
    norm = pl.col("delta_frobenius_norm")
    before, last = norm.shift(1).over("run"), norm.last().over("run")
    return out.with_columns(
        cosine_to_previous=pl.when(pl.col("_known") & (norm * before > 0)).then(
            (pl.col("_to_previous") / (norm * before)).clip(-1, 1)
        ),
        cosine_to_last=pl.when(pl.col("_known") & (norm * last > 0)).then(
            (pl.col("_to_last") / (norm * last)).clip(-1, 1)
        ),
    ).drop("_to_previous", "_to_last", "_known")
