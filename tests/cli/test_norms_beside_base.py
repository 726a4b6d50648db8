"""`tunescope norms ADAPTER --base BASE`: bases that do not fit, and bases whose weights are codes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

import tunescope

Run = Callable[..., Any]
D, UP, RANK = 16, 24, 4
SHAPES = {"self_attn.q_proj": (D, D), "mlp.up_proj": (UP, D)}
MODULES = {f"model.layers.{k}.{m}": shape for k in range(3) for m, shape in SHAPES.items()}


def base(folder: Path) -> Path:
    draw = np.random.default_rng(0)
    folder.mkdir()
    weights = {f"{m}.weight": draw.standard_normal(s).astype(np.float32) for m, s in MODULES.items()}
    save_file(weights, folder / "model.safetensors")
    return folder


def adapter(folder: Path, modules: dict[str, tuple[int, int]]) -> Path:
    draw, tensors = np.random.default_rng(1), {}
    for module, (d_out, d_in) in modules.items():
        for name, shape in (("lora_A", (RANK, d_in)), ("lora_B", (d_out, RANK))):
            tensors[f"base_model.model.{module}.{name}.weight"] = draw.standard_normal(shape).astype("f4")
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 8, "target_modules": ["q_proj", "up_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_57_shapes_that_contradict_the_base_are_a_finding_with_names(run: Run, tmp_path: Path) -> None:
    wrong = {"model.layers.1.self_attn.q_proj": (2 * D, D), "model.layers.2.mlp.up_proj": (D, UP)}
    place = adapter(tmp_path / "odd", MODULES | wrong)
    done = run("norms", place, "--base", base(tmp_path / "base"), "--json")
    assert done.code == 0, done.err
    (found,) = [f for f in json.loads(done.out)["findings"] if f["kind"] == "not_attached"]
    assert found["severity"] == "warning"
    assert found["components"] == ["L1_ATTN_Q", "L2_MLP_UP"]
    assert found["evidence"]["value"] == found["evidence"]["other_shape"] == 2
    assert "L1_ATTN_Q is 32×16, the base's weight is 16×16" in found["text"]
    assert "L2_MLP_UP is 16×24, the base's weight is 24×16" in found["text"]


def test_modules_that_the_base_lacks_are_a_finding_and_have_no_relative_norm(tmp_path: Path) -> None:
    deeper = MODULES | {"model.layers.7.mlp.up_proj": (UP, D)}
    study = tunescope.norms(adapter(tmp_path / "deep", deeper), base=base(tmp_path / "base"))
    (found,) = [f for f in study.readout["findings"] if f["kind"] == "not_attached"]
    assert found["components"] == ["L7_MLP_UP"]
    assert "not in the base: L7_MLP_UP" in found["text"]
    rows = {row["component_name"]: row for row in study.table.frame.iter_rows(named=True)}
    assert rows["L7_MLP_UP"]["relative_norm"] is None
    assert rows["L7_MLP_UP"]["status"] == "not in the base"
    assert rows["L0_MLP_UP"]["relative_norm"] > 0


@pytest.mark.parametrize(
    "modules",
    [
        {module: (2 * out, 2 * inner) for module, (out, inner) in MODULES.items()},
        {module.replace("_proj", "_lin"): shape for module, shape in MODULES.items()},
    ],
    ids=["another width", "other names"],
)
def test_62_an_adapter_of_another_base_is_refused_with_what_differs(
    run: Run, tmp_path: Path, modules: dict[str, tuple[int, int]]
) -> None:
    done = run("norms", adapter(tmp_path / "other", modules), "--base", base(tmp_path / "base"))
    assert done.code == 3
    assert "other-base" in done.err
    assert next(iter(modules)) in done.err


def test_an_adapter_that_fits_has_no_such_finding(tmp_path: Path) -> None:
    study = tunescope.norms(adapter(tmp_path / "fits", MODULES), base=base(tmp_path / "base"))
    assert "not_attached" not in {f["kind"] for f in study.readout["findings"]}


def _packed(kind: str, module: str) -> dict[str, np.ndarray]:
    codes = np.zeros((D, D // 8), np.int32)
    float8 = {f"{module}.weight": np.ones((D, D), ml_dtypes.float8_e4m3fn)}
    return {
        "float8 with a scale of another shape": float8 | {f"{module}.weight_scale": np.ones((3, 5), "f4")},
        "float8 or integers with a scale": {
            f"{module}.weight": np.ones((D, D), np.int8), f"{module}.weight_scale": np.ones(1, np.float32)
        },
        "GPTQ or AWQ": {
            f"{module}.qweight": codes, f"{module}.qzeros": codes, f"{module}.scales": np.ones((1, D), "f2")
        },
        "compressed-tensors": {f"{module}.weight_packed": codes, f"{module}.weight_shape": np.array([D, D])},
    }[kind]  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    [
        "float8 with a scale of another shape",
        "float8 or integers with a scale",
        "GPTQ or AWQ",
        "compressed-tensors",
    ],
)
def test_64_beside_a_quantised_base_only_what_needs_no_base_is_stated(tmp_path: Path, kind: str) -> None:
    """Codes are numbers too, but without a scale that fits them they are no weights."""
    module = "model.layers.0.self_attn.q_proj"
    (tmp_path / "base").mkdir()
    save_file(_packed(kind, module), tmp_path / "base" / "model.safetensors")
    place = adapter(tmp_path / "a", {module: (D, D)})
    alone = tunescope.norms(place).table.frame.row(0, named=True)
    study = tunescope.norms(place, base=tmp_path / "base")
    row = study.table.frame.row(0, named=True)
    assert row["frobenius_norm"] == alone["frobenius_norm"]
    assert row["relative_norm"] is row["merge_error_bf16"] is None
    assert row["status"] == f"quantised ({kind}): its numbers are codes, not weights"
    assert "not_attached" not in {f["kind"] for f in study.readout["findings"]}


EMBED = "model.embed_tokens"


def _saved_table(tmp_path: Path, tokens: int) -> tuple[Path, Path]:
    """A base with a table of 40 tokens, and an adapter that saved one of so many, each value 0.1 larger."""
    table = np.random.default_rng(2).standard_normal((40, D)).astype(np.float32)
    rows = np.concatenate([table + np.float32(0.1), np.ones((max(tokens - 40, 0), D), np.float32)])[:tokens]
    place, root = adapter(tmp_path / "a", MODULES), base(tmp_path / "base")
    for file, name, values in (
        (root / "model.safetensors", f"{EMBED}.weight", table),
        (place / "adapter_model.safetensors", f"base_model.model.{EMBED}.modules_to_save.weight", rows),
    ):
        save_file(load_file(file) | {name: values}, file)
    return place, root


@pytest.mark.parametrize("tokens", [43, 37])
def test_69_a_saved_table_of_another_length_is_a_row_with_a_status(tmp_path: Path, tokens: int) -> None:
    place, root = _saved_table(tmp_path, tokens)
    why = f"shapes differ: 40×16 in the base, {tokens}×16 here"
    study = tunescope.norms(place, base=root)
    row = study.table.frame.row(-1, named=True)
    assert (row["component_name"], row["status"]) == ("EMBED", why)
    assert row["frobenius_norm"] is row["changed_fraction"] is None
    ledger = study.tables["coverage"].frame
    assert ledger.filter(pl.col("status") != "used")["reason"].to_list() == [why]

    aligned = tunescope.norms(place, base=root, align_vocab=True).table.frame.row(-1, named=True)
    common = min(tokens, 40)
    assert aligned["status"] == f"the first {common} rows; {why}"
    assert aligned["frobenius_norm"] == pytest.approx(0.1 * np.sqrt(common * D), rel=1e-5)
    assert aligned["changed_fraction"] == 1


def test_what_was_saved_whole_and_is_not_in_the_base_is_said_so(tmp_path: Path) -> None:
    place, root = adapter(tmp_path / "a", MODULES), base(tmp_path / "base")
    file = place / "adapter_model.safetensors"
    save_file(
        load_file(file) | {"base_model.model.score.modules_to_save.weight": np.ones((2, D), "f4")}, file
    )
    ledger = tunescope.norms(place, base=root).tables["coverage"].frame
    assert ledger.filter(pl.col("status") != "used")["reason"].to_list() == ["saved whole; not in the base"]


def test_a_merge_of_a_table_of_another_length_cannot_be_read(tmp_path: Path) -> None:
    place, root = _saved_table(tmp_path, 43)
    study = tunescope.verify(root, place, base=root)
    (found,) = [f for f in study.readout["findings"] if f["kind"] == "unread"]
    assert "EMBED (shapes differ: 40×16 in the base, 43×16 here)" in found["text"]
