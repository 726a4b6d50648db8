"""Names of tensors and labels of models that would hide, run or collide, through the commands."""

import csv
import io
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

Run = Callable[..., Any]

# Pairs that a file system, a font or an escape might take for one; each stands for another model.
ALIKE = [
    "a:b", "a_b", "a\\b", "A_b", "a\nb", "a\\nb", "a b", "a\u00a0b", "a\u202eb", "all_models",
    "readout",
    "caf\u00e9", "cafe\u0301", "\u6a21\u578b", "\u6a21\u578b2", "\U0001f600", "\U0001f601",
    "$\\frac{1}{2}$", "$x$",
    "<b>x", "&lt;b&gt;x", "@1+1", "'@1+1", "x" * 10_000, "x" * 9_999 + "y", "con", "CON", "..b", "~",
]  # fmt: skip
HOSTILE_MODULES = [
    "=cmd()|'x'!A1", "<script>alert(1)</script>", "$\\frac{q}{", "up\nproj", "up\\nproj", "Q_proj", "q_proj",
    "\u202eevil\x1b[31m", "\u6a21\u578b", "\U0001f600", "x" * 10_000, "x" * 9_999 + "y",
    "| a | b |", "`code`",
    "[link](http://x)", "-2+3", "caf\u00e9",
    "cafe\u0301", " ", "\u3000",
]  # fmt: skip


def _adapter(folder: Path, modules: list[str], scale: float = 1.0) -> Path:
    rng = np.random.default_rng(0)
    tensors = {
        f"base_model.model.model.layers.{layer}.{module}.lora_{factor}.weight": rng.normal(size=shape).astype(
            "f4"
        )
        for layer in range(2)
        for module in modules
        for factor, shape in (("A", (2, 6)), ("B", (4, 2)))
    }
    folder.mkdir(parents=True)
    save_file(
        {name: scale * tensor for name, tensor in tensors.items()}, folder / "adapter_model.safetensors"
    )
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4}))
    return folder


def _shown(text: str) -> list[str]:
    """Signs of a text for people that act instead of being seen."""
    kept = "\n\t"
    return [sign for sign in text if unicodedata.category(sign) in ("Cc", "Cf", "Cs") and sign not in kept]


def _tables(folder: Path) -> dict[str, pl.DataFrame]:
    return {path.name: pl.read_parquet(path) for path in folder.rglob("*.parquet")}


@pytest.mark.parametrize("figures", ["none", "all"])
def test_no_two_of_labels_that_look_alike_share_a_file_a_row_or_a_picture(
    run: Run, tmp_path: Path, figures: str
) -> None:
    labels = ALIKE if figures == "none" else ALIKE[::3]
    places = [_adapter(tmp_path / str(i), ["q_proj"], i + 1.0) for i in range(len(labels))]
    out = tmp_path / "out"
    sources = [f"{label}={place}" for label, place in zip(labels, places, strict=True)]
    ran = run("norms", *sources, "-o", out, "--figures", figures)
    assert ran.code == 0, ran.err[-500:]
    tables = [
        p for p in (out / "tables").glob("weight_norms_*.csv") if p.name != "weight_norms_all_models.csv"
    ]
    assert len({p.name.casefold() for p in tables}) == len(labels)
    found = [pl.read_csv(p)["frobenius_norm"][0] for p in tables]
    assert len(set(found)) == len(labels), "each table is of another model"
    assert set(_tables(out)["norms.parquet"]["model_id"]) == set(labels)
    assert json.loads((out / "tables" / "readout.json").read_text())["models"].keys() == set(labels)
    assert not _shown((out / "readout.md").read_text() + ran.out + ran.err)
    assert "<b>x" not in (out / "readout.md").read_text().replace("\\<b>x", "")
    assert max(len(path.name.encode()) for path in out.rglob("*")) <= 255
    assert {p.name for p in tmp_path.iterdir()} == {*map(str, range(len(labels))), "out"}
    for picture in out.rglob("*.svg"):
        ElementTree.fromstring(picture.read_text())


@pytest.mark.parametrize("verb", ["norms", "subspace", "check", "verify", "trajectory"])
def test_no_two_of_modules_that_look_alike_become_one_and_none_acts(
    run: Run, tmp_path: Path, verb: str
) -> None:
    adapter = _adapter(tmp_path / "run" / "checkpoint-1", HOSTILE_MODULES)
    weights = {
        f"model.layers.{layer}.{module}.weight": np.ones((4, 6), "f4")
        for layer in range(2)
        for module in HOSTILE_MODULES
    }
    (tmp_path / "base").mkdir()
    save_file(weights, tmp_path / "base" / "model.safetensors")
    (adapter / "trainer_state.json").write_text(json.dumps({"global_step": 1, "log_history": []}))
    given = {
        "norms": [adapter, "--base", tmp_path / "base"],
        "subspace": [f"a={adapter}", f"b={_adapter(tmp_path / 'b', HOSTILE_MODULES, 2.0)}"],
        "check": [adapter, "--base", tmp_path / "base"],
        "verify": [tmp_path / "base", adapter, "--base", tmp_path / "base"],
        "trajectory": [tmp_path / "run"],
    }
    out = tmp_path / "out"
    ran = run(verb, *given[verb], "-o", out, "--spreadsheet-safe", "--figures", "none")
    assert ran.code in (0, 1), ran.err[-500:]
    spoken = ran.out + ran.err + "".join(p.read_text() for p in out.rglob("*.md"))
    assert not _shown(spoken)
    assert "<script>alert" not in spoken.replace("\\<script>", "")
    assert "<script>alert(1)" not in (out / "report.html").read_text()
    for table in out.rglob("*.csv"):
        cells = [cell for row in csv.reader(io.StringIO(table.read_text())) for cell in row]
        assert not [c for c in cells if c[:1] in tuple("=+@\t\r") or (c[:1] == "-" and not _is_number(c))], (
            table
        )
    kinds = {name: frame for name, frame in _tables(out).items() if "module_type" in frame.columns}
    assert kinds or verb in ("check", "verify")
    for name, frame in kinds.items():
        if name != "coverage.parquet":
            assert frame.select("layer", "module_type").n_unique() == 2 * len(HOSTILE_MODULES), name
        if "component_name" in frame.columns:
            assert frame["component_name"].n_unique() == 2 * len(HOSTILE_MODULES), name
    assert max(len(path.name.encode()) for path in out.rglob("*")) <= 255


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
