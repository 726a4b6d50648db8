"""The rows of a capture, refused where they are not what TrainingCapture writes."""

from pathlib import Path
from typing import NoReturn

import polars as pl

from tunescope.errors import BadInput, Notice
from tunescope.source.training_run import Run
from tunescope.tabular import prove_parquet, read_parquet_schema
from tunescope.training.recording import FILE, PARTS, SCHEMA, progress, read_capture

_FACTORS = ("A", "B", "W")
# What stands in every row.
_ALWAYS = ("step", "stack", "module_type", "component_name", "numel")
_ROW = ("step", "stack", "layer", "module_type", "expert", "component_name", "factor")


def recorded_rows(folder: Path) -> pl.DataFrame:
    """What a run recorded, finished or not: one row per step, weight and factor.

    Raises `BadInput` for other columns, for a step, weight or factor that is none, for a weight that a step
    holds twice, for a step in two epochs, and for a capture without rows.
    """
    prove_parquet(_files(folder), "bad-capture")
    try:
        frame = read_capture(folder).frame
    except pl.exceptions.PolarsError as error:
        _refuse(folder, "has other columns than TrainingCapture writes", ", ".join(SCHEMA),
                _strange(folder) or str(error).splitlines()[0])  # fmt: skip
    if not frame.height:
        raise BadInput(
            "empty-capture",
            "the capture holds no rows: was nothing trainable?",
            file=folder,
            expected="a row for each step and weight",
            found="no rows",
            fix="train with parameters that require gradients",
        )
    for name in _ALWAYS:
        if unknown := frame[name].null_count():
            _refuse(folder, f"holds rows without a {name}", f"a {name} in every row", f"{unknown} without")
    if unknown := frame.filter(~pl.col("factor").is_in(_FACTORS) | pl.col("factor").is_null()).height:
        _refuse(folder, "holds an unknown factor", ", ".join(_FACTORS), f"{unknown} rows with another")
    twice = frame.filter(frame.select(_ROW).is_duplicated())
    if twice.height:
        row = twice.row(0, named=True)
        _refuse(folder, "holds a weight twice in one step", "one row per step, weight and factor",
                f"{row['component_name']} ({row['factor']}) at step {row['step']}")  # fmt: skip
    _refuse_epochs(folder, frame)
    return frame


def _refuse_epochs(folder: Path, frame: pl.DataFrame) -> None:
    """Refuses a step that lies in two epochs; a training resumed with other batches may count them anew."""
    ends = (pl.col("epoch").min().alias("first"), pl.col("epoch").max().alias("last"))
    epochs = frame.drop_nulls("epoch").group_by("step").agg(*ends).sort("step")
    apart = epochs.filter(pl.col("first") != pl.col("last"))
    if apart.height:
        row = apart.row(0, named=True)
        _refuse(folder, "holds one step in two epochs", "one epoch for each step",
                f"epochs {row['first']:g} and {row['last']:g} at step {row['step']}")  # fmt: skip


def _files(folder: Path) -> list[Path]:
    return [*sorted((folder / PARTS).glob("*.parquet")), *folder.glob(FILE)]


def recording_notices(run: Run, steps: pl.Series) -> list[Notice]:
    """What a recording that was not brought to its end lacks, as far as that is known."""
    at = progress(run.folder)
    told = run.facts.get("capture")
    told = told if isinstance(told, dict) else {}
    stopped = told.get("status") == "stopped" or run.facts.get("status") == "capture_stopped"
    if at.finished and not stopped:
        return []
    of = f" of {at.planned:,}" if at.planned and at.planned > 0 else ""
    reason = told.get("reason") or at.reason
    why = (
        f"the capture stopped ({str(reason).splitlines()[0]})"
        if reason
        else "training was stopped, or it still goes on"
    )
    recorded = steps.unique().sort().to_list()
    captures = f"{len(recorded)} capture{'s' * (len(recorded) != 1)}"
    text = f"not recorded to its end: {captures}, up to step {recorded[-1]:,}{of}; {why}"
    return [Notice("capture-unfinished", text)]


def _refuse(folder: Path, text: str, expected: object, found: object) -> NoReturn:
    raise BadInput(
        "bad-capture",
        f"the capture {text}",
        file=folder,
        expected=expected,
        found=found,
        fix="copy the capture again, or capture the training anew",
    ) from None


def _strange(folder: Path) -> str:
    """Which columns a file of the capture lacks, has besides, or holds in another type."""
    for path in _files(folder):
        found = read_parquet_schema(path, "bad-capture")
        rows = [f"{name} is missing" for name in SCHEMA if name not in found]
        rows += [f"{name} is unknown" for name in found if name not in SCHEMA]
        rows += [f"{n} is {t}" for n, t in found.items() if n in SCHEMA and t != SCHEMA[n]]
        if rows:
            return f"{path.name}: {', '.join(rows)}"
    return ""
