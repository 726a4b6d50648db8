"""φ grids that go to disk in parts read back as one table, whatever was held in memory."""

from pathlib import Path

import polars as pl
import pytest

from tunescope.questions.subspace import study
from tunescope.questions.subspace.measure import GRID_SCHEMA
from tunescope.table import read_parquet


def grid(layer: int) -> pl.DataFrame:
    keys = {
        "model_a": "a",
        "model_b": "b",
        "stack": "model",
        "layer": layer,
        "module_type": "q",
        "expert": None,
    }
    numbers = {"of": "A", "side": "input", "phi": 0.5, "phi_chance": 0.1, "z": None, "unique": True}
    return pl.DataFrame([keys | numbers | {"i": i, "j": 1} for i in range(1, 5)], GRID_SCHEMA)


@pytest.mark.parametrize("held", [1, 6, 1000])
def test_parts_and_memory_give_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr(study, "_HELD_ROWS", held)
    sink = study.GridSink(tmp_path / "parts")
    for layer in range(5):
        sink.add(grid(layer))
    sink.finish(tmp_path / "subspace.parquet", {"units": {"phi": "share"}})
    table = read_parquet(tmp_path / "subspace.parquet")
    assert table.frame.equals(pl.concat([grid(layer) for layer in range(5)]))
    assert dict(table.frame.schema) == GRID_SCHEMA
    assert (table.kind, table.meta["units"]["phi"]) == ("subspace", "share")
    assert [path.name for path in tmp_path.iterdir()] == ["subspace.parquet"]


def test_no_grids_at_all_are_an_empty_table(tmp_path: Path) -> None:
    study.GridSink(tmp_path / "parts").finish(tmp_path / "subspace.parquet", {})
    assert read_parquet(tmp_path / "subspace.parquet").frame.height == 0
