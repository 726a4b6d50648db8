"""Captures on disk: one part file a capture while a run goes on, one `capture.parquet` when it has ended.

Every file appears under its name only when it is whole, so what was recorded before a kill is readable.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from tunescope.errors import Missing
from tunescope.table import Table, file_metadata, read_parquet

FILE = "capture.parquet"
PARTS = "capture.parts"
KIND = "capture"

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "step": pl.Int64,
    "epoch": pl.Float64,
    "stack": pl.String,
    "layer": pl.Int64,
    "module_type": pl.String,
    "expert": pl.Int64,
    "component_name": pl.String,
    "factor": pl.String,
    "mean": pl.Float64,
    "variance": pl.Float64,
    "abs_mean": pl.Float64,
    "abs_variance": pl.Float64,
    "numel": pl.Int64,
    "delta_frobenius_norm": pl.Float64,
    "learning_rate": pl.Float64,
    "loss": pl.Float64,
}


class Recording:
    """The captures of the run in `folder`; `meta` travels in every file."""

    def __init__(self, folder: Path, meta: Mapping[str, Any]) -> None:
        self._folder, self._meta = folder, meta
        self._parts = folder / PARTS
        self._metadata = file_metadata(KIND, meta)

    def begin(self, step: int) -> None:
        """Continue after `step`: what was recorded later (all of it, at step zero) is dropped."""
        self._parts.mkdir(parents=True, exist_ok=True)
        for path in self._parts.iterdir():
            if step == 0 or _step(path) > step:
                path.unlink()
        merged = self._folder / FILE
        if step == 0:
            merged.unlink(missing_ok=True)
        elif merged.exists():
            earlier = read_parquet(merged).frame.filter(pl.col("step") <= step)
            if earlier.height:
                self._table(earlier).write_parquet(merged)
            else:
                merged.unlink()

    def __contains__(self, step: int) -> bool:
        if self._part(step).exists():
            return True
        merged = self._folder / FILE
        return merged.exists() and step in read_parquet(merged).frame["step"]

    def append(self, step: int, frame: pl.DataFrame) -> None:
        """Write the rows of one capture."""
        path = self._part(step)
        temporary = path.with_suffix(".part")
        # Uncompressed, for a part is small and soon merged: its cost is a part of every captured step.
        frame.write_parquet(temporary, compression="uncompressed", statistics=False, metadata=self._metadata)
        temporary.replace(path)

    def finish(self) -> None:
        """Merge all parts into one file, then remove them."""
        self._table(recorded(self._folder)).write_parquet(self._folder / FILE)
        for path in self._parts.glob("step-*.parquet"):
            path.unlink()
        self._parts.rmdir()

    def _part(self, step: int) -> Path:
        return self._parts / f"step-{step:09d}.parquet"

    def _table(self, frame: pl.DataFrame) -> Table:
        return Table(frame, KIND, self._meta)


def _step(path: Path) -> float:
    """The step of a part file; a temporary file left by a kill counts as the latest of all."""
    found = re.fullmatch(r"step-(\d+)\.parquet", path.name)
    return int(found.group(1)) if found else float("inf")


def recorded(folder: Path) -> pl.DataFrame:
    """All rows recorded in a run's folder so far, in the order of steps, each step once."""
    frames = [pl.DataFrame(schema=SCHEMA)]
    parts = sorted((folder / PARTS).glob("step-*.parquet"))
    if (folder / FILE).exists():
        merged = read_parquet(folder / FILE).frame
        # A kill between merging and removing the parts leaves steps in both.
        in_parts = pl.col("step").is_in([int(_step(path)) for path in parts])
        frames.append(merged.filter(~in_parts.fill_null(False)))
    frames += [read_parquet(path).frame for path in parts]
    return pl.concat(frames).sort("step", maintain_order=True)


def read_capture(folder: str | Path) -> Table:
    """The captures of a run, finished or not, as a table of kind `capture`.

    Raises `Missing` where nothing was recorded.
    """
    folder = Path(folder)
    files = [*sorted((folder / PARTS).glob("step-*.parquet")), *folder.glob(FILE)]
    if not files:
        raise Missing("capture-missing", "there are no captures in this folder", file=folder)
    return Table(recorded(folder), KIND, read_parquet(files[-1]).meta)
