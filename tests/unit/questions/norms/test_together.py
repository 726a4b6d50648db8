"""Whole models on one base: every file is read once, and all that is told of them is NumPy's own."""

import json
import os
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import tunescope
from tunescope.linalg.changed import common_changes
from tunescope.questions.norms import sampled
from tunescope.questions.norms.sampled import Sampled
from tunescope.questions.norms.squares import Squares

BF16 = np.dtype(ml_dtypes.bfloat16)
ATTENTION = "model.layers.0.self_attn."
# Neither rows nor tensors end where a unit does.
SHAPES = {f"{ATTENTION}{part}_proj.weight": (600, 600) for part in "qo"} | {
    "model.layers.0.mlp.up_proj.weight": (700, 600), "model.norm.weight": (600,)
}  # fmt: skip
Tensors = dict[str, np.ndarray]


def save(folder: Path, tensors: Tensors) -> Path:
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    config = {"model_type": "llama", "num_attention_heads": 6, "num_key_value_heads": 6, "hidden_size": 600}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def models(root: Path, count: int, shapes: dict[str, tuple[int, ...]]) -> tuple[Tensors, list[Tensors]]:
    draw = np.random.default_rng(0)
    base = {name: (0.02 * draw.standard_normal(shape)).astype(BF16) for name, shape in shapes.items()}
    tuned = [
        {n: (w.astype("f4") + 1e-4 * draw.standard_normal(w.shape)).astype(BF16) for n, w in base.items()}
        for _ in range(count)
    ]
    for name, tensors in {"base": base, **{f"m{i}": t for i, t in enumerate(tuned)}}.items():
        save(root / name, tensors)
    return base, tuned


def study_of(root: Path, count: int) -> Any:
    return tunescope.norms(*(root / f"m{i}" for i in range(count)), base=root / "base")


def changes(base: Tensors, tuned: Tensors) -> np.ndarray:
    return np.concatenate([(tuned[n].astype(float) - w.astype(float)).ravel() for n, w in base.items()])


def test_every_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside headers, the first values of tensors that may be tied, and the sha256 of the files."""
    models(tmp_path, 3, SHAPES)
    read, preadv = [], os.preadv

    def counted(descriptor: int, buffers: list[Any], offset: int) -> int:
        read.append(preadv(descriptor, buffers, offset))
        return read[-1]

    monkeypatch.setattr(os, "preadv", counted)
    study = study_of(tmp_path, 3)
    assert {"heads", "similarity_changed"} <= set(study.tables)
    size = sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors"))
    assert size <= sum(read) < 1.02 * size


@pytest.mark.parametrize("count", [3, 10])
def test_cosines_of_models_read_together_or_not_are_numpys(count: int, tmp_path: Path) -> None:
    base, tuned = models(tmp_path, count, {"model.layers.0.mlp.up_proj.weight": (40, 30)})
    rows = study_of(tmp_path, count).tables["similarity"].to_polars()
    moved = [changes(base, tensors) for tensors in tuned]
    wanted = [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in combinations(moved, 2)]
    assert rows["delta_cosine"].to_list() == pytest.approx(wanted, rel=1e-12, abs=1e-15)


def test_values_that_moved_in_both_are_those_of_the_whole_tensors(tmp_path: Path) -> None:
    base, (a, b) = models(tmp_path, 2, SHAPES)
    rows = study_of(tmp_path, 2).tables["similarity_changed"].to_polars().to_dicts()
    assert len(rows) == len(SHAPES)
    for name, row in zip(SHAPES, sorted(rows, key=lambda r: list(SHAPES).index(_name(r))), strict=True):
        w = base[name].astype(float).reshape(len(base[name]), -1)
        moved = [tensors[name].astype(float).reshape(w.shape) != w for tensors in (a, b)]
        found = common_changes(*moved, np.abs(w))
        assert row["values"] == w.size
        assert row["common"] == found.both / w.size
        assert row["common_chance_given_weight"] == found.given_weight / w.size


def _name(row: dict[str, Any]) -> str:
    return next(name for name in SHAPES if row["module_type"].split(".")[-1] in name)


def test_stretches_of_a_large_weight_are_what_reading_them_alone_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampled, "_MOST", 3 * 64 * 100)
    draw = np.random.default_rng(1)
    W = draw.standard_normal((2000, 100)).astype("f4")
    after = [np.where(draw.random(W.shape) < 0.1, W + 1, W) for _ in range(2)]
    whole = Sampled(2, W.shape, W.dtype)
    for start, stop in ((150_000, W.size), (0, 50_000), (50_000, 150_000)):
        whole(start, W.ravel()[start:stop], [v.ravel()[start:stop] for v in after])
    rows = np.r_[0:64, 960:1024, 1920:1984]
    found = whole.common(0, 1)
    assert found == common_changes(*(v[rows] != W[rows] for v in after), np.abs(W[rows]).astype(float))


@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("columns", [7, 1000, 40_000])
def test_squares_of_rows_and_columns_are_numpys(columns: int, by_column: bool) -> None:
    draw = np.random.default_rng(2)
    W, V, U = draw.standard_normal((3, 200_000 // columns, columns))
    sums = Squares(2, W.shape, by_column)
    cuts = [0, 3, 90_001, 150_000, W.size]
    for start, stop in reversed(list(pairwise(cuts))):
        sums(start, W.ravel()[start:stop], [V.ravel()[start:stop], U.ravel()[start:stop]])
    for number, after in enumerate((V, U)):
        wanted = ((after - W) ** 2).sum(axis=0 if by_column else 1)
        assert sums.of(number) == pytest.approx(wanted, rel=1e-12)
