"""One tidy frame with units and provenance: what every measure returns and every picture is drawn from."""

import errno
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl

from tunescope import tabular
from tunescope.documents import DocumentError, parse_json
from tunescope.errors import BadInput, Missing
from tunescope.extras import advice
from tunescope.writing import plain, write_atomically

SCHEMA_VERSION = 1
_META_KEY = "tunescope"


# What says where a row belongs; these columns come first in every table that has them.
KEYS = ("model_id", "model_a", "model_b", "data", "step", "stack", "layer", "module_type", "expert")


@dataclass(frozen=True, slots=True)
class Column:
    """What one column holds: its type, its unit or range, and its meaning in a few words."""

    dtype: Any
    meaning: str
    unit: str = ""


Schema = Mapping[str, Column]

# Columns and rows of a table that a terminal shows.
_GLANCE = 8
# What a component's name says already.
_OF_COMPONENT = ("stack", "layer", "module_type", "expert", "family")


def dtypes(schema: Schema) -> dict[str, Any]:
    """Name and type of every column, in order."""
    return {name: column.dtype for name, column in schema.items()}


def described(schema: Schema) -> dict[str, dict[str, str]]:
    """Unit and meaning of every column, as they stand in a table's own metadata."""
    return {name: {"unit": column.unit, "meaning": column.meaning} for name, column in schema.items()}


class Table:
    """A measured table: `frame` (polars), its `kind`, and `meta` (units, meanings, arguments, sources).

    Rows that need not fit in memory may be given as a lazy frame; `frame` collects them.

    >>> table = Table(pl.DataFrame({"layer": [0, 1], "frobenius_norm": [0.5, 0.25]}), kind="norms")
    >>> table.to_polars().height
    2
    """

    def __init__(
        self,
        frame: pl.DataFrame | pl.LazyFrame,
        kind: str,
        meta: Mapping[str, Any] | None = None,
        keep: object = None,
    ) -> None:
        self._rows = frame
        # What must live as long as the rows do, such as the folder that lazy ones are read from.
        self._keep = keep
        self.kind = kind
        self.meta: Mapping[str, Any] = plain(meta or {})

    @property
    def frame(self) -> pl.DataFrame:
        """The rows."""
        return self._rows.collect() if isinstance(self._rows, pl.LazyFrame) else self._rows

    @property
    def lazy(self) -> pl.LazyFrame:
        """The rows, not collected."""
        return self._rows.lazy()

    def with_rows(self, frame: pl.DataFrame) -> "Table":
        """The same kind of table with other rows."""
        return Table(frame, self.kind, self.meta)

    def equals(self, other: "Table") -> bool:
        """Whether both have the same kind, meta, columns with dtypes, and cells; a NaN equals a NaN."""
        if (self.kind, self.meta) != (other.kind, other.meta):
            return False
        mine, theirs = self.frame, other.frame
        return mine.schema == theirs.schema and mine.equals(theirs, null_equal=True)

    def to_polars(self) -> pl.DataFrame:
        """The rows as a polars frame, with every column of the schema, also those without a value here."""
        return self.frame

    def shown(self) -> pl.DataFrame:
        """The rows as they are looked at: without columns that say nothing here.

        Left out are columns without a value, names and counts that are one in all rows, and what the name of
        a component says already.

        >>> rows = {"layer": [0, 1], "component_name": ["L0_Q", "L1_Q"], "rank": [4, 4], "norm": [0.5, 1.0]}
        >>> Table(pl.DataFrame(rows), kind="norms").shown().columns
        ['component_name', 'norm']
        """
        frame = self.frame
        told = [column.name for column in frame if _tells(column)]
        parts = _OF_COMPONENT if "component_name" in told else ()
        return frame.select(name for name in told if name not in parts)

    def to_pandas(self) -> Any:
        """The rows as a pandas frame; pandas must be installed."""
        try:
            import pandas as pd
        except ImportError:
            raise Missing("no-pandas", "pandas is not installed", fix=advice("pandas")) from None
        frame = self.frame
        return pd.DataFrame({name: frame[name].to_list() for name in frame.columns})

    def __len__(self) -> int:
        return int(self.lazy.select(pl.len()).collect().item())

    def __repr__(self) -> str:
        columns = self.lazy.collect_schema().names()
        text = f"Table(kind={self.kind!r}, rows={len(self)}, columns={columns})"
        if isinstance(self._rows, pl.LazyFrame):
            # Rows that need not fit in memory are not looked through for the sake of a glance.
            return text
        shown = self.shown()
        with pl.Config(tbl_cols=_GLANCE, tbl_rows=_GLANCE, tbl_hide_dataframe_shape=True):
            return f"{shown[:, :_GLANCE]}\n{text}"

    def _repr_html_(self) -> str:
        with pl.Config(tbl_cols=-1):
            return self.shown()._repr_html_()

    def write_parquet(self, path: str | Path) -> Path:
        """Write the table with its kind, schema version and meta in the file's own metadata."""
        metadata = file_metadata(self.kind, self.meta)
        if isinstance(self._rows, pl.LazyFrame):
            rows = self._rows
            return _write(path, lambda out: rows.sink_parquet(out, metadata=metadata))
        # One chunk, so that equal rows give equal bytes however they came together.
        frame = self._rows.rechunk()
        return _write(path, lambda out: frame.write_parquet(out, metadata=metadata))

    def write_csv(self, path: str | Path) -> Path:
        """Write plain CSV: null is empty, a NaN is `NaN`."""
        return write_csv(self.frame, path)


def _tells(column: pl.Series) -> bool:
    """Whether a reader learns anything of a column: not where it is empty, or names one thing throughout."""
    if len(column) < 2 or column.dtype.is_float():
        return bool(column.is_not_null().any())
    return column.drop_nulls().n_unique() > 1


def read_parquet(path: str | Path, sealed: bool = False) -> Table:
    """Read a table written by `Table.write_parquet`, kind and meta included; see `tabular.read_parquet`."""
    if not os.path.lexists(path):
        raise Missing("not-found", "there is no such table", file=path, fix="check the path")
    frame, texts = tabular.read_parquet(path, sealed=sealed)
    record = _record(texts.get(_META_KEY), Path(path))
    if record["schema_version"] > SCHEMA_VERSION:
        raise BadInput(
            "newer-schema",
            "the table was written by a newer tunescope",
            file=path,
            expected=f"schema version {SCHEMA_VERSION} or older",
            found=record["schema_version"],
            fix="upgrade tunescope",
        )
    return Table(frame, record["kind"], record["meta"])


def _record(text: str | None, path: Path) -> dict[str, Any]:
    """Kind, schema version and meta as the file's own metadata state them."""
    if text is None:
        return {"kind": "unknown", "schema_version": SCHEMA_VERSION, "meta": {}}
    try:
        found = parse_json(text)
    except DocumentError as error:
        found = error
    match found:
        case {"kind": str(), "schema_version": int(), "meta": dict()}:
            return dict(found)
    raise BadInput(
        "bad-table",
        "what the Parquet file says about itself cannot be read",
        file=path,
        expected="an object with kind, schema_version and meta",
        found=str(found)[:200],
        fix="copy or download the file again",
    )


def file_metadata(kind: str, meta: Mapping[str, Any]) -> dict[str, str]:
    """The entry of a Parquet file's own metadata that `read_parquet` takes kind and meta from."""
    record = {"kind": kind, "schema_version": SCHEMA_VERSION, "meta": dict(meta)}
    return {_META_KEY: json.dumps(record, sort_keys=True, default=str)}


def write_csv(frame: pl.DataFrame, path: str | Path) -> Path:
    """Write a frame as CSV, atomically; floats keep every digit needed to read them back."""
    return _write(path, frame.write_csv)


def _write(path: str | Path, write: Callable[[BinaryIO], Any]) -> Path:
    def writing(out: BinaryIO) -> None:
        try:
            write(out)
        except pl.exceptions.ComputeError as problem:
            # What polars makes of a failed write; of rows that are there already nothing else can fail.
            raise OSError(errno.EIO, str(problem)) from problem

    return write_atomically(path, writing)


def square(labels: Sequence[str], values: Any, corner: str = "model_id") -> pl.DataFrame:
    """A labelled square matrix: labels as first column and as header; NaN or `None` is empty."""
    while corner in labels:
        corner += "_"
    columns = np.array(values, dtype=np.float64).reshape(len(labels), len(labels)).T
    return pl.DataFrame(
        {corner: list(labels)}
        | {label: pl.Series(column, nan_to_null=True) for label, column in zip(labels, columns, strict=True)}
    )


def spreadsheet_safe(frame: pl.DataFrame) -> pl.DataFrame:
    """Strings that a spreadsheet would run as a formula get an apostrophe in front."""
    text = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    risky = pl.col(text).str.contains(r"^[=+\-@\t\r]")
    return frame.with_columns(
        pl.when(risky).then(pl.lit("'") + pl.col(text)).otherwise(pl.col(text)).name.keep()
    )
