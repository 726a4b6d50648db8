"""Weights that bitsandbytes packed: bitsandbytes' numbers, whole and in parts, and what is named instead."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.torch import save_file

import tunescope
from tunescope.errors import BadInput
from tunescope.source import dequantised as module
from tunescope.source.whole import open_whole

torch = pytest.importorskip("torch")
functional = pytest.importorskip("bitsandbytes.functional")

Q, NORM = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.input_layernorm.weight"


def weight(shape: tuple[int, ...] = (96, 130), dtype: Any = torch.bfloat16) -> Any:
    return (0.02 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).to(dtype)


def saved(folder: Path, tensors: dict[str, Any]) -> Path:
    folder.mkdir()
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return folder


def four_bits(W: Any, kind: str = "nf4", nested: bool = True) -> tuple[dict[str, Any], Any]:
    codes, state = functional.quantize_4bit(W, quant_type=kind, compress_statistics=nested, blocksize=64)
    parts = {f"{Q}.{name}": value for name, value in state.as_dict(packed=True).items()}
    return {Q: codes} | parts, functional.dequantize_4bit(codes, state)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(("kind", "dtype"), [("nf4", "bfloat16"), ("fp4", "float16"), ("nf4", "float32")])
def test_four_bits_are_read_as_bitsandbytes_reads_them(
    kind: str, dtype: str, nested: bool, tmp_path: Path
) -> None:
    tensors, wanted = four_bits(weight(dtype=getattr(torch, dtype)), kind, nested)
    found = open_whole(saved(tmp_path / "base", tensors)).tensors[Q]
    exact = wanted.double().numpy()
    assert (found.shape, found.dtype) == ((96, 130), {"b": "BF16", "f": f"F{dtype[5:]}"}[dtype[0]])
    assert (found.read().astype(np.float64) == exact).all()
    for start, stop in ((0, 1), (63, 65), (101, 4097), (12_400, 12_480), (5, 5)):
        assert (found.part(start, stop).astype(np.float64) == exact.ravel()[start:stop]).all()


def test_int8_is_read_as_bitsandbytes_reads_it(tmp_path: Path) -> None:
    codes, scales, _ = functional.int8_vectorwise_quant(weight(dtype=torch.float16))
    tensors = {Q: codes, Q.replace("weight", "SCB"): scales}
    found = open_whole(saved(tmp_path / "base", tensors)).tensors[Q]
    wanted = functional.int8_vectorwise_dequant(codes, scales).numpy()
    assert (found.read() == wanted).all()
    assert (found.part(100, 517) == wanted.ravel()[100:517]).all()


def test_norms_against_a_packed_base_are_those_against_its_numbers(tmp_path: Path) -> None:
    packed, numbers = four_bits(weight())
    norm = {NORM: torch.ones(130, dtype=torch.bfloat16)}
    tuned = saved(tmp_path / "tuned", {Q: weight() + 1e-3} | norm)
    bases = [saved(tmp_path / "packed", packed | norm), saved(tmp_path / "plain", {Q: numbers} | norm)]
    one, other = (tunescope.norms(tuned, base=base) for base in bases)
    assert one.table.frame.equals(other.table.frame)
    assert set(one.table.frame["status"]) == {"ok"}
    reasons = one.tables["coverage"].frame.filter(one.tables["coverage"].frame["model_id"] == "base")
    assert set(reasons["tensor"]) == {*packed, NORM}
    assert reasons.filter(reasons["tensor"] == f"{Q}.absmax")["reason"].item() == "part of a quantised weight"


def test_without_bitsandbytes_codes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    packed, _ = four_bits(weight())
    norm = {NORM: torch.ones(130, dtype=torch.bfloat16)}
    tuned = saved(tmp_path / "tuned", {Q: weight()} | norm)
    frame = tunescope.norms(tuned, base=saved(tmp_path / "base", packed | norm)).table.frame
    row = frame.filter(frame["module_type"] == "self_attn.q_proj").row(0, named=True)
    assert row["frobenius_norm"] is None
    assert "with bitsandbytes installed they are read" in row["status"]


@pytest.mark.parametrize("damage", ["shape", "dtype", "absmax", "text"])
def test_a_state_that_is_not_that_of_the_codes_leaves_codes(damage: str, tmp_path: Path) -> None:
    packed, _ = four_bits(weight(), nested=False)
    key = f"{Q}.quant_state.bitsandbytes__nf4"
    said = json.loads(bytes(packed[key].numpy()))
    said |= {"shape": {"shape": [7, 7]}, "dtype": {"dtype": "int4"}}.get(damage, {})
    text = b"\xff{" if damage == "text" else json.dumps(said).encode()
    packed[key] = torch.tensor(list(text), dtype=torch.uint8)
    if damage == "absmax":
        packed[f"{Q}.absmax"] = packed[f"{Q}.absmax"][:-1]
    found = open_whole(saved(tmp_path / "base", packed)).tensors[Q]
    assert found.dtype == "U8"


def test_scales_that_cannot_be_unpacked_are_refused(tmp_path: Path) -> None:
    packed, _ = four_bits(weight())
    del packed[f"{Q}.nested_quant_map"]
    found = open_whole(saved(tmp_path / "base", packed)).tensors[Q]
    with pytest.raises(BadInput, match="bad-quant-state"):
        found.read()


def test_the_numbers_have_the_dtype_that_they_are_computed_with(tmp_path: Path) -> None:
    packed, _ = four_bits(weight())
    assert open_whole(saved(tmp_path / "base", packed)).tensors[Q].part(0, 3).dtype == ml_dtypes.bfloat16
