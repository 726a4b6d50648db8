"""One tidy frame with units and provenance: what every measure returns and every picture is drawn from."""

import io
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from tunescope.errors import BadInput, Exhausted, Missing

SCHEMA_VERSION = 1
_META_KEY = "tunescope"


@dataclass(frozen=True, eq=False)
class Table:
    """A measured table: `frame` (polars), its `kind`, and `meta` (units, arguments, sources, versions).

    >>> table = Table(pl.DataFrame({"layer": [0, 1], "frobenius_norm": [0.5, 0.25]}), kind="norms")
    >>> table.to_polars().height
    2
    """

    frame: pl.DataFrame
    kind: str
    meta: Mapping[str, Any] = field(default_factory=dict)

    def to_polars(self) -> pl.DataFrame:
        """The rows as a polars frame."""
        return self.frame

    def to_pandas(self) -> Any:
        """The rows as a pandas frame; pandas must be installed."""
        try:
            import pandas as pd
        except ImportError:
            raise Missing("no-pandas", "pandas is not installed", fix="pip install pandas") from None
        return pd.DataFrame({name: self.frame[name].to_list() for name in self.frame.columns})

    def __len__(self) -> int:
        return self.frame.height

    def __repr__(self) -> str:
        return f"Table(kind={self.kind!r}, rows={self.frame.height}, columns={self.frame.columns})"

    def _repr_html_(self) -> str:
        return self.frame._repr_html_()

    def write_parquet(self, path: str | Path) -> Path:
        """Write the table with its kind, schema version and meta in the file's own metadata."""
        metadata = file_metadata(self.kind, self.meta)
        return write_atomically(path, lambda out: self.frame.write_parquet(out, metadata=metadata))

    def write_csv(self, path: str | Path) -> Path:
        """Write plain CSV: null is empty, a NaN is `NaN`."""
        return write_csv(self.frame, path)


def read_parquet(path: str | Path) -> Table:
    """Read a table written by `Table.write_parquet`, kind and meta included."""
    if not Path(path).exists():
        raise Missing("not-found", "there is no such table", file=path)
    try:
        raw = pl.read_parquet_metadata(path).get(_META_KEY)
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadInput("bad-table", "the Parquet file cannot be read", file=path, found=error) from error
    record: dict[str, Any] = json.loads(str(raw)) if raw else {"kind": "unknown", "meta": {}}
    if record.get("schema_version", SCHEMA_VERSION) > SCHEMA_VERSION:
        raise BadInput(
            "newer-schema",
            "the table was written by a newer tunescope",
            file=path,
            expected=f"schema version {SCHEMA_VERSION} or older",
            found=record["schema_version"],
            fix="upgrade tunescope",
        )
    return Table(frame, record["kind"], record["meta"])


def sink_parquet(rows: pl.LazyFrame, path: str | Path, kind: str, meta: Mapping[str, Any]) -> Path:
    """Write rows that need not fit in memory as `Table.write_parquet` would, block by block."""
    metadata = file_metadata(kind, meta)
    return write_atomically(path, lambda out: rows.sink_parquet(out, metadata=metadata))


def file_metadata(kind: str, meta: Mapping[str, Any]) -> dict[str, str]:
    """The entry of a Parquet file's own metadata that `read_parquet` takes kind and meta from."""
    record = {"kind": kind, "schema_version": SCHEMA_VERSION, "meta": dict(meta)}
    return {_META_KEY: json.dumps(record, sort_keys=True, default=str)}


def write_csv(frame: pl.DataFrame, path: str | Path) -> Path:
    """Write a frame as CSV, atomically; floats keep every digit needed to read them back."""
    return write_atomically(path, frame.write_csv)


def square(
    labels: Sequence[str], values: Sequence[Sequence[float | None]], corner: str = "model_id"
) -> pl.DataFrame:
    """A labelled square matrix: labels as first column and as header."""
    while corner in labels:
        corner += "_"
    columns: dict[str, Any] = {corner: list(labels)}
    for j, label in enumerate(labels):
        columns[label] = pl.Series([row[j] for row in values], dtype=pl.Float64)
    return pl.DataFrame(columns)


def write_atomically(path: str | Path, write: Callable[[BinaryIO], Any]) -> Path:
    """Write through a temporary neighbour and rename, so a half-written file never has the final name."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".part", dir=path.parent)
    try:
        with io.FileIO(handle, "wb") as raw, io.BufferedWriter(raw) as out:
            write(out)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise Exhausted("cannot-write", "writing failed", file=path, found=error) from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def write_text(path: str | Path, text: str) -> Path:
    """Write a UTF-8 text file atomically."""
    return write_atomically(path, lambda out: out.write(text.encode()))


def write_json(path: str | Path, document: Any) -> Path:
    """Write strict JSON (a NaN becomes null), atomically."""
    return write_text(path, strict_json(document) + "\n")


def strict_json(document: Any) -> str:
    """JSON text without NaN or infinity, which JSON does not have; they become null."""
    return json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def spreadsheet_safe(frame: pl.DataFrame) -> pl.DataFrame:
    """Strings that a spreadsheet would run as a formula get an apostrophe in front."""
    text = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    risky = pl.col(text).str.contains(r"^[=+\-@\t\r]")
    return frame.with_columns(
        pl.when(risky).then(pl.lit("'") + pl.col(text)).otherwise(pl.col(text)).name.keep()
    )
