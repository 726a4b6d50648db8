"""Captures on disk: one part file a capture while a run goes on, one `capture.parquet` when it has ended.

Every file appears under its name only when it is whole, so what was recorded before a kill is readable.
`capture.parquet` is there if and only if the recording was brought to its end.
"""

import logging
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from tunescope.errors import Exhausted, Missing, UsageError, disk_is_full
from tunescope.source.training_run import read_json
from tunescope.table import Table, file_metadata, read_parquet
from tunescope.tabular import prove_parquet
from tunescope.writing import write_atomically, write_json

logger = logging.getLogger("tunescope")

FILE = "capture.parquet"
# The trainable weights as they were at step zero.
START = "capture.start.safetensors"
PARTS = "capture.parts"
KIND = "capture"
# Below the parts: what a resumed run takes over from the finished file, and why a recording stopped.
_EARLIER = "earlier.parquet"
_STOPPED = "stopped.json"
# Bytes of captures that wait in memory for room on the disk.
_LARGEST_BACKLOG = 1 << 28

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
        self._backlog: dict[int, pl.DataFrame] = {}
        # Parts that this process has written itself, which nobody has to prove to it.
        self._own: set[Path] = set()

    def begin(self, step: int, overwrite: bool = False) -> None:
        """Continue after `step`: what was recorded later is replaced by what comes now.

        At step zero another training begins: one that was captured here before is refused with `UsageError`,
        or given up where `overwrite` says so.
        """
        if step == 0 and not overwrite:
            refuse_captured(self._folder)
        self._parts.mkdir(parents=True, exist_ok=True)
        if step > 0:
            self._take_over(step)
        for path in [self._folder / FILE, *self._parts.iterdir()]:
            if step == 0 or _step(path) > step:
                path.unlink(missing_ok=True)

    def _take_over(self, step: int) -> None:
        """Turn the finished file into a part again, without the rows behind `step`."""
        if (path := _merged(self._folder)) is not None:
            table = read_parquet(path)
            kept = Table(table.frame.filter(pl.col("step") <= step), KIND, table.meta)
            kept.write_parquet(self._parts / _EARLIER)

    def __contains__(self, step: int) -> bool:
        if step in self._backlog or self._part(step).exists():
            return True
        merged = _merged(self._folder)
        return merged is not None and step in read_parquet(merged).frame["step"]

    @property
    def behind(self) -> bool:
        """Whether captures wait in memory, because the disk did not take them."""
        return bool(self._backlog)

    def append(self, step: int, frame: pl.DataFrame) -> None:
        """Write the rows of one capture; on a full disk they wait for the next one.

        Raises `Exhausted` where too much waits.
        """
        self._backlog[step] = frame
        try:
            self._write_backlog()
        except (Exhausted, pl.exceptions.ComputeError) as problem:
            if not (isinstance(problem, Exhausted) or disk_is_full(problem)):
                raise
            if sum(waiting.estimated_size() for waiting in self._backlog.values()) > _LARGEST_BACKLOG:
                raise
            if len(self._backlog) == 1:
                text = "tunescope: a capture cannot be written yet and is kept in memory: %s"
                logger.warning(text, problem)

    def _write_backlog(self) -> None:
        for step in sorted(self._backlog):
            write_atomically(self._part(step), partial(self._write_part, self._backlog[step]))
            self._own.add(self._part(step))
            del self._backlog[step]

    def _write_part(self, rows: pl.DataFrame, out: BinaryIO) -> None:
        # Uncompressed, for a part is small and soon merged: its cost is a part of every captured step.
        rows.write_parquet(out, compression="uncompressed", statistics=False, metadata=self._metadata)

    def finish(self) -> None:
        """Merge all parts into one file, then remove them.

        Raises `Exhausted` where the disk does not take them; what it took before stays readable.
        """
        self._write_backlog()
        Table(_recorded(self._folder, self._own), KIND, self._meta).write_parquet(self._folder / FILE)
        for path in self._parts.iterdir():
            path.unlink()
        self._parts.rmdir()

    def _part(self, step: int) -> Path:
        return self._parts / f"step-{step:09d}.parquet"

    def stop(self, reason: str) -> None:
        """Say beside the parts why no more will come; raises `Exhausted` where that cannot be written."""
        if self._parts.is_dir():
            self._write_backlog()
            write_json(self._parts / _STOPPED, {"reason": reason})


def refuse_captured(folder: Path) -> None:
    """Raise `UsageError` where the folder holds a training's capture."""
    if holds_capture(folder):
        raise UsageError(
            "capture-exists",
            "this folder holds the capture of another training, which is kept",
            file=folder,
            found=", ".join(path.relative_to(folder).as_posix() for path in _files(folder)[:3]),
            fix="another folder; or resume that training from a checkpoint; or overwrite=True",
        )


def holds_capture(folder: Path) -> bool:
    """Whether a training left captures here, whole or in parts."""
    return bool(_files(folder))


def _files(folder: Path) -> list[Path]:
    return [*folder.glob(FILE), *sorted((folder / PARTS).glob("*.parquet"))]


def _step(path: Path) -> float:
    """The step of a part file; a temporary file left by a kill counts as the latest of all."""
    found = re.fullmatch(r"step-(\d{1,18})\.parquet", path.name)
    return int(found.group(1)) if found else 0 if path.name == _EARLIER else float("inf")


def recorded(folder: Path) -> pl.DataFrame:
    """All rows recorded in a run's folder so far, in the order of steps, each step once."""
    return _recorded(folder, frozenset())


def _recorded(folder: Path, own: Set[Path]) -> pl.DataFrame:
    """As `recorded`; what is this process's `own` is read as it lies there."""
    frames = [pl.DataFrame(schema=SCHEMA)]
    parts = sorted((folder / PARTS).glob("step-*.parquet"))
    if (merged := _merged(folder)) is not None:
        # A kill between merging and removing the parts leaves steps in both.
        in_parts = pl.col("step").is_in([int(_step(path)) for path in parts])
        frames.append(read_parquet(merged).frame.filter(~in_parts.fill_null(False)))
    # By one process: a process for each of thousands would keep a training that has ended waiting.
    prove_parquet([path for path in parts if path not in own])
    frames += [read_parquet(path, sealed=path in own).frame for path in parts]
    return pl.concat(frames).sort("step", maintain_order=True)


def _merged(folder: Path) -> Path | None:
    """The file of many steps: the finished one, or what a resumed run took over from it."""
    return next((path for path in (folder / FILE, folder / PARTS / _EARLIER) if path.exists()), None)


def read_capture(folder: str | Path) -> Table:
    """The captures of a run, finished or not, as a table of kind `capture`.

    Raises `Missing` where nothing was recorded.
    """
    folder = Path(folder)
    newest = _newest(folder)
    return Table(recorded(folder), KIND, read_parquet(newest).meta)


def _newest(folder: Path) -> Path:
    files = _files(folder)
    if not files:
        raise Missing(
            "capture-missing",
            "there are no captures in this folder",
            file=folder,
            fix="name the folder of a run that was trained with TrainingCapture or tunescope finetune",
        )
    return files[-1]


@dataclass(frozen=True)
class Progress:
    """How far a recording came: whether it was brought to its end, and if not, what it says of that.

    `planned` are the steps that the training was to take, `reason` why the recording stopped; both may be
    unknown.
    """

    finished: bool
    planned: int | None = None
    reason: str | None = None


def progress(folder: Path) -> Progress:
    """How far the recording in a run's folder came.

    Raises `Missing` where nothing was recorded.
    """
    planned = read_parquet(_newest(folder)).meta.get("planned_steps")
    planned = planned if isinstance(planned, int) else None
    parts = {_step(path) for path in (folder / PARTS).glob("step-*.parquet")}
    whole = folder / FILE
    # A kill while the parts were removed leaves some that the whole file holds as well.
    if whole.exists() and (not parts or parts <= set(read_parquet(whole).frame["step"].to_list())):
        return Progress(True, planned)
    stopped = folder / PARTS / _STOPPED
    reason = read_json(stopped).get("reason") if stopped.is_file() else None
    return Progress(False, planned, None if reason is None else str(reason))
