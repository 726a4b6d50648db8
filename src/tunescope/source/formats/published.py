"""A published table of norms as a source: drawn and compared as it is, never recomputed."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from tunescope.errors import BadInput, Notice, UsageError, encodable
from tunescope.source.files.disk import take_snapshot
from tunescope.source.files.sniff import read_head
from tunescope.source.files.suffixes import suffix_of
from tunescope.source.opened import Source
from tunescope.table import Table, read_parquet
from tunescope.tabular import read_csv, typed_columns

if TYPE_CHECKING:
    from tunescope.source.files.disk import Snapshot

_REQUIRED = ("layer", "module_type", "frobenius_norm")
_KEYS = {
    "model_id": pl.String(),
    "stack": pl.String(),
    "layer": pl.Int64(),
    "module_type": pl.String(),
    "expert": pl.Int64(),
    "component_name": pl.String(),
}
_LISTED = ("model_id", "layer", "module_type", "component_name", "frobenius_norm")
_TEXT = {"stack", "family", "method", "status", "component"}
_UNSCALED = {name: f"unscaled_{name}" for name in ("frobenius_norm", "frobenius_norm_normalized")}


def read_published(path: Path, label: str | None = None) -> list[Source]:
    """One source for each `model_id` of a `weight_norms*.csv` (or a norms Parquet file), rows as they stand.

    Raises `Missing` where there is no such file, `BadInput` where it is not a table of norms, and
    `UsageError` for a label that would have to name several models.
    """
    snapshot = take_snapshot(path)
    frame, meta = _read_frame(path, snapshot)
    missing = [name for name in _REQUIRED if name not in frame.columns]
    if missing or not frame.height:
        raise BadInput(
            "not-a-norm-table",
            "the file is not a table of norms",
            file=path,
            expected="columns " + ", ".join(_LISTED) + " and at least one row",
            found="no column " + ", ".join(missing) if missing else "no rows",
            fix="name a table that tunescope norms wrote, or the adapter itself",
        )
    frame = _beside_scale(_typed(frame, path))
    models = frame["model_id"].unique(maintain_order=True).to_list()
    if label is not None and len(models) > 1:
        raise UsageError(
            "several-models",
            "one label cannot name several models",
            file=path,
            expected="one model_id",
            found=", ".join(map(str, models)),
            fix="leave the label out",
        )
    return [_source(frame, model, label or str(model), snapshot, meta) for model in models]


def _read_frame(path: Path, snapshot: "Snapshot") -> tuple[pl.DataFrame, Mapping[str, object]]:
    if ".parquet" in (path.suffix.lower(), suffix_of(path)):
        table = read_parquet(path)
        return table.frame, table.meta
    read_head(snapshot, "CSV table")
    # Norms spread over decades and layers may be empty, so types are found over the whole file.
    return read_csv(path), {}


def _typed(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    if "model_id" not in frame.columns:
        frame = frame.with_columns(pl.lit(path.stem.removeprefix("weight_norms_")).alias("model_id"))
    norms = {c: pl.Float64() for c in frame.columns if "norm" in c and c not in _TEXT}
    frame = typed_columns(frame, {**_KEYS, **norms}, path)
    for column in ("model_id", "module_type"):
        if frame[column].null_count():
            raise BadInput(
                "bad-table",
                f"rows of the table have no {column}",
                file=path,
                expected=f"a {column} in every row",
                found="an empty one",
                fix="correct the table",
            )
    return frame


def _beside_scale(frame: pl.DataFrame) -> pl.DataFrame:
    """With the norms once more as ‖BA‖, where `effective_scale` holds them times alpha/r or alpha/√r.

    Such a column is the norm with its scale, so the norm itself has none.
    """
    needed = ("effective_scale", "lora_alpha", "lora_rank")
    if {"scale", *_UNSCALED.values()} & set(frame.columns) or not set(needed) <= set(frame.columns):
        return frame
    with_scale, alpha, rank = (pl.col(name).cast(pl.Float64, strict=False) for name in needed)
    norm = pl.col("frobenius_norm")
    for scale in (alpha / rank, alpha / rank.sqrt()):
        off = (with_scale - scale * norm).abs() > 1e-3 * scale * norm
        if not frame.select(off.fill_null(True).any()).item():
            stated = [name for name in _UNSCALED if name in frame.columns]
            return frame.with_columns(pl.col(name).alias(_UNSCALED[name]) for name in stated)
    return frame


def _as_they_stand(rows: pl.DataFrame) -> str:
    """What is said of norms that are taken from a table, and of the scale in them."""
    text = "norms are taken from the table as they stand; nothing is recomputed"
    if "scale" in rows.columns and not rows["scale"].null_count():
        return text
    if "unscaled_frobenius_norm" not in rows.columns:
        return f"{text}, and the table does not say whether an adapter's scale is in them"
    if "effective_scale" in rows.columns:
        return f"{text}. They are ‖BA‖, without the adapter's scale, which another column of it has applied"
    return text


def _source(
    frame: pl.DataFrame, model: str, label: str, snapshot: "Snapshot", meta: Mapping[str, object]
) -> Source:
    rows = frame.filter(pl.col("model_id") == model).with_columns(pl.lit(label).alias("model_id"))
    said = Notice("published-norms", f"{label}: {_as_they_stand(rows)}")
    return Source(
        label=label,
        location=encodable(str(snapshot.path)),
        format="published-norms",
        deltas=(),
        coverage=(),
        notices=(said,),
        files=(snapshot.path,),
        published=Table(rows, "norms", dict(meta)),
        verify_unchanged=snapshot.verify,
    )
