"""φ grids that go to disk in parts read back as one table, whatever was held in memory."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import tunescope
from tunescope.errors import BadInput, UsageError
from tunescope.linalg.overlap import chance_grid
from tunescope.questions.subspace import study
from tunescope.questions.subspace.measure import GRID_SCHEMA, SUMMARY_SCHEMA
from tunescope.source import Source
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
    grids = study._Grids()
    for layer in range(5):
        grids.add(grid(layer))
    table = grids.table()
    assert len(table) == 20
    table.write_parquet(tmp_path / "subspace.parquet")
    back = read_parquet(tmp_path / "subspace.parquet")
    assert back.frame.equals(pl.concat([grid(layer) for layer in range(5)]))
    assert dict(back.frame.schema) == GRID_SCHEMA
    assert back.equals(table)
    assert back.meta["columns"]["phi"]["unit"] == "[0, 1]"


def test_no_grids_at_all_are_an_empty_table() -> None:
    assert study._Grids().table().frame.height == 0


def weights(seed: int, layer: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
    return {
        f"{name}.lora_A.weight": random.standard_normal((3, 20)).astype(np.float32),
        f"{name}.lora_B.weight": random.standard_normal((30, 3)).astype(np.float32),
    }


def opened(label: str, seed: int, layer: int = 0) -> Source:
    config = {"peft_type": "LORA", "r": 3, "lora_alpha": 3, "target_modules": ["q_proj"]}
    return tunescope.open_source(weights(seed, layer), label=label, config=config)


def test_the_summary_and_the_grids_hold_what_a_dense_computation_gives() -> None:
    a, b = opened("a", 1), opened("b", 2)
    found = tunescope.subspace(a, b, of=("delta",))
    summary, grids = found.table, found.tables["subspace"]
    assert (summary.kind, grids.kind) == ("subspace_summary", "subspace")
    assert dict(summary.frame.schema) == SUMMARY_SCHEMA
    assert dict(grids.frame.schema) == GRID_SCHEMA
    assert (len(summary), len(grids)) == (1, 2 * 9)
    factors = [weights(seed) for seed in (1, 2)]
    spans = [np.linalg.qr(next(t for n, t in f.items() if "lora_B" in n).astype(float))[0] for f in factors]
    overlap = np.linalg.norm(spans[0].T @ spans[1]) ** 2 / 3
    assert summary.frame["overlap_output"][0] == pytest.approx(overlap)
    assert summary.frame["overlap_output_chance"][0] == chance_grid(3, 3, 30)[0][-1, -1]


def test_what_cannot_be_compared_is_refused_as_on_the_command_line() -> None:
    with pytest.raises(UsageError, match="one-source"):
        tunescope.subspace(opened("a", 1))
    with pytest.raises(BadInput, match="in other layers"):
        tunescope.subspace(opened("a", 1), opened("b", 2, layer=4))
    with pytest.raises(UsageError, match="no-such-side"):
        tunescope.subspace(opened("a", 1), opened("b", 2), of=("A",), sides=("output",))
