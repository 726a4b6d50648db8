"""A table keeps its rows, kind and provenance; files are whole or absent."""

import json
import math
from pathlib import Path

import polars as pl
import pytest

from tunescope.errors import BadInput, Exhausted, Missing
from tunescope.table import Table, read_parquet, square
from tunescope.writing import strict_json, write_atomically, write_json

FRAME = pl.DataFrame({"layer": [0, None], "norm": [0.1, math.nan], "name": ["a", "b"]})


def test_parquet_round_trip_keeps_rows_kind_and_meta(tmp_path: Path) -> None:
    table = Table(FRAME, "norms", {"units": {"norm": "‖ΔW‖"}, "arguments": ["x"]})
    back = read_parquet(table.write_parquet(tmp_path / "t.parquet"))
    assert back.frame.equals(FRAME, null_equal=True)
    assert (back.kind, dict(back.meta)) == ("norms", dict(table.meta))


def test_csv_spells_null_and_nan_one_way(tmp_path: Path) -> None:
    path = Table(FRAME, "norms").write_csv(tmp_path / "t.csv")
    assert path.read_text() == "layer,norm,name\n0,0.1,a\n,NaN,b\n"


def test_to_pandas_has_the_same_columns_and_shows_in_a_notebook() -> None:
    table = Table(FRAME, "norms")
    assert list(table.to_pandas().columns) == FRAME.columns
    assert "<table" in table._repr_html_()


def test_a_first_look_has_no_column_that_is_empty_or_names_one_thing_and_the_frame_has_all() -> None:
    rows = {
        "model_id": ["a", "a"], "stack": ["model", "model"], "layer": [0, 1], "step": [None, None],
        "component_name": ["L0_Q", "L1_Q"], "rank": [4, 4], "coefficient": [1.0, 1.0],
        "norm": [0.5, math.nan],
    }  # fmt: skip
    table = Table(pl.DataFrame(rows, schema_overrides={"step": pl.Int64}), "norms")
    assert table.shown().columns == ["component_name", "coefficient", "norm"]
    assert table.to_polars().columns == list(rows)
    seen, last = repr(table).rsplit("\n", 1)
    assert last == f"Table(kind='norms', rows=2, columns={list(rows)})"
    assert {"component_name", "norm", "0.5"} <= set(seen.replace("│", " ").split())
    assert "null" not in seen
    assert "step" not in table._repr_html_()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    record = json.dumps({"kind": "norms", "schema_version": 99, "meta": {}})
    FRAME.write_parquet(tmp_path / "t.parquet", metadata={"tunescope": record})
    with pytest.raises(BadInput, match="newer-schema"):
        read_parquet(tmp_path / "t.parquet")


def test_unreadable_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="not-found"):
        read_parquet(tmp_path / "absent.parquet")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(BadInput, match="bad-table"):
        read_parquet(tmp_path / "t.parquet")


def test_json_has_no_nan(tmp_path: Path) -> None:
    assert json.loads(strict_json({"x": [math.nan, 1.5, math.inf]})) == {"x": [None, 1.5, None]}
    assert json.loads(write_json(tmp_path / "x.json", {"y": (1, math.nan)}).read_text()) == {"y": [1, None]}


def test_square_has_labels_as_first_column_and_header() -> None:
    frame = square(["a", "b"], [[1.0, None], [None, 1.0]])
    assert frame.columns == ["model_id", "a", "b"]
    assert frame["model_id"].to_list() == ["a", "b"]


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    target = tmp_path / "t.txt"
    target.write_text("old")

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(Exhausted, match="cannot-write"):
        write_atomically(target, full)
    assert [p.name for p in tmp_path.iterdir()] == ["t.txt"]
    assert target.read_text() == "old"


def test_a_disk_that_fails_while_a_table_is_written_is_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polars calls a failed write of its file object a failed computation."""

    def failing(*_: object, **__: object) -> None:
        raise pl.exceptions.ComputeError("No space left on device (os error 28)")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", failing)
    with pytest.raises(Exhausted, match="No space left"):
        Table(pl.DataFrame({"x": [1]}), "t").write_parquet(tmp_path / "t.parquet")
    assert not list(tmp_path.iterdir())
